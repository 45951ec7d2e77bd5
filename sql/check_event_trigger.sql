-- Whether the event trigger that announces changed definitions in the change stream exists and is enabled.
SELECT EXISTS (
    SELECT FROM pg_event_trigger WHERE evtname = 'highwater_changed' AND evtenabled <> 'D'
) AS present;
