-- The transaction that slot creation has to wait for, as a phrase: a new logical slot starts only
-- once every transaction that was writing has ended. The oldest first.
SELECT blocker
FROM (
  SELECT xact_start AS since, format(
    'process %s (user %s, application "%s", %s for %s s)', pid, usename, application_name, state,
    extract(epoch FROM now() - xact_start)::bigint) AS blocker
  FROM pg_stat_activity
  WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
  UNION ALL
  SELECT prepared, format('the prepared transaction "%s" of user %s', gid, owner)
  FROM pg_prepared_xacts
) AS blockers
ORDER BY since
LIMIT 1;
