-- The replication slot, if it exists, and the WAL that the server retains for it. Columns that this
-- version of PostgreSQL does not have are null.
-- Placeholders: slot.
SELECT
    slot.plugin AS plugin,
    slot.slot_type AS kind,
    slot.database AS database,
    current_database() AS connected_database,
    slot.temporary AS temporary,
    slot.active AS active,
    slot.active_pid AS active_pid,
    slot.wal_status AS wal_status,
    to_jsonb(slot) ->> 'invalidation_reason' AS invalidation_reason,
    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - slot.restart_lsn)::bigint AS retained_bytes,
    slot.safe_wal_size AS safe_wal_bytes,
    (to_jsonb(slot) ->> 'failover')::boolean AS failover,
    (SELECT string_agg(slot_name, ', ' ORDER BY slot_name) FROM pg_replication_slots WHERE slot_type = 'physical') AS standby_slots,
    current_setting('synchronized_standby_slots', true) AS synchronized_standby_slots
FROM pg_replication_slots AS slot
WHERE slot.slot_name = :'slot';
