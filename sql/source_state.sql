-- The positions of the server and of the slot. Read after the catalog: what the catalog contains was
-- committed at or before this position.
--
-- psql variables: publication, slot
SELECT
  CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END AS wal_end,
  (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid,
  EXISTS (SELECT 1 FROM pg_publication WHERE pubname = :'publication') AS publication_exists,
  s.slot_name IS NOT NULL AS slot_exists,
  s.plugin,
  s.database,
  s.active_pid,
  s.confirmed_flush_lsn,
  s.wal_status,
  pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,
    s.restart_lsn)::bigint AS retained_bytes,
  -- Every transaction older than this had ended before the slot's position.
  age(s.catalog_xmin) AS transactions_since_slot,
  -- Whether the walsender waits for new WAL or for its client. One that computes or reads may not
  -- answer for minutes and is healthy.
  (SELECT a.wait_event_type IN ('Activity', 'Client') FROM pg_stat_activity a
   WHERE a.pid = s.active_pid) AS walsender_waits,
  -- Before version 17 there is no such column.
  coalesce((to_jsonb(s) ->> 'failover')::boolean, false) AS survives_failover,
  pg_current_snapshot() AS snapshot
FROM (VALUES (1)) AS always_one_row
LEFT JOIN pg_replication_slots s ON s.slot_name = :'slot';
