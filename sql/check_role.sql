-- The connected role and its privileges. On Amazon RDS membership in rds_replication replaces REPLICATION.
SELECT
    role.rolname AS name,
    role.rolsuper AS superuser,
    role.rolreplication AS replication,
    EXISTS (
        SELECT FROM pg_roles AS rds
        WHERE rds.rolname = 'rds_replication' AND pg_has_role(role.oid, rds.oid, 'USAGE')
    ) AS rds_replication,
    has_database_privilege(current_database(), 'CONNECT') AS may_connect,
    has_database_privilege(current_database(), 'CREATE') AS may_create
FROM pg_roles AS role
WHERE role.rolname = current_user;
