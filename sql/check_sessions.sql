-- Open transactions that have written: the creation of a slot waits for them. Sessions of other roles are
-- visible only to members of pg_read_all_stats.
SELECT
    'session' AS kind,
    activity.pid::text AS name,
    coalesce(activity.application_name, '') AS application,
    activity.usename::text AS role,
    activity.datname::text AS database,
    activity.state AS state,
    extract(epoch FROM clock_timestamp() - activity.xact_start)::bigint AS open_seconds
FROM pg_stat_activity AS activity
WHERE activity.backend_xid IS NOT NULL AND activity.pid <> pg_backend_pid()
    AND activity.xact_start < clock_timestamp() - interval '5 seconds'
UNION ALL
SELECT
    'prepared', prepared.gid, '', prepared.owner::text, prepared.database::text, 'prepared',
    extract(epoch FROM clock_timestamp() - prepared.prepared)::bigint
FROM pg_prepared_xacts AS prepared
ORDER BY open_seconds DESC;
