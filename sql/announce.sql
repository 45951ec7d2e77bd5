-- Announces changed definitions that a look at the catalog has found, so that every instance resets the
-- tables at the same place in the change stream. Writes nothing where no other slot could be another
-- instance's, and on a standby, which can't be written to.
SELECT pg_logical_emit_message(true, :'prefix', :'content')
WHERE NOT pg_is_in_recovery() AND EXISTS (
    SELECT FROM pg_replication_slots
    WHERE plugin = 'pgoutput' AND database = current_database() AND slot_name <> :'slot'
);
