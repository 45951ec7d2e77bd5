-- Announces changed definitions that a catalog refresh has found, so that every instance resets the
-- tables at the same position of the change stream. Writes nothing if no other slot could belong to
-- another instance, and on a standby, which is read-only.
SELECT pg_logical_emit_message(true, :'prefix', :'content')
WHERE NOT pg_is_in_recovery() AND EXISTS (
    SELECT FROM pg_replication_slots
    WHERE plugin = 'pgoutput' AND database = current_database() AND slot_name <> :'slot'
);
