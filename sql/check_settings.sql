-- The server's version and the settings that logical decoding depends on. A setting that this version
-- does not have is null.
SELECT
    current_setting('server_version') AS server_version,
    current_setting('server_version_num')::int AS version_number,
    current_database() AS database,
    pg_is_in_recovery() AS in_recovery,
    current_setting('wal_level') AS wal_level,
    current_setting('max_replication_slots')::int AS max_replication_slots,
    (SELECT count(*) FROM pg_replication_slots)::int AS slots_used,
    (SELECT string_agg(slot_name, ', ' ORDER BY slot_name) FROM pg_replication_slots WHERE NOT active) AS inactive_slots,
    current_setting('max_wal_senders')::int AS max_wal_senders,
    (SELECT count(*) FROM pg_stat_replication)::int AS senders_used,
    (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS max_slot_wal_keep_megabytes,
    (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout') AS wal_sender_timeout_milliseconds,
    (SELECT CASE unit WHEN 'min' THEN 60 ELSE 1 END * setting::bigint FROM pg_settings WHERE name = 'idle_replication_slot_timeout') AS idle_slot_timeout_seconds,
    current_setting('hot_standby_feedback')::boolean AS hot_standby_feedback,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('output_plugin_libraries', true) AS output_plugin_libraries,
    (SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolname IN (
        'rdsadmin', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin', 'azuresu', 'neon_superuser', 'supabase_admin', 'doadmin', 'avnadmin'
    )) AS provider_roles;
