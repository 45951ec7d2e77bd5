-- Drops the slot, so that the server keeps no more WAL for it. Refused while it is in use.
-- Placeholders: slot.
SELECT pg_drop_replication_slot(:'slot');
