-- Whether changed definitions are announced in the change stream.
SELECT EXISTS (
    SELECT FROM pg_event_trigger WHERE evtname = 'highwater_changed' AND evtenabled <> 'D'
) AS there;
