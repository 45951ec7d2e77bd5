-- Drops the slot, so that the server retains no more WAL for it. Fails while the slot is in use.
-- Placeholders: slot.
SELECT pg_drop_replication_slot(:'slot');
