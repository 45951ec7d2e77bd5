-- The replication slot: from now on the server retains the WAL that Highwater has not confirmed. It
-- must be younger than the publication. `highwater run` creates it when it is missing.
-- Placeholders: slot.
SELECT pg_create_logical_replication_slot(:'slot', 'pgoutput');
