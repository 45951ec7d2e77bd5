-- The connected role and what it may do. rds_replication stands for REPLICATION on Amazon RDS.
SELECT
    role.rolname AS name,
    role.rolsuper AS superuser,
    role.rolreplication AS replication,
    EXISTS (
        SELECT FROM pg_roles AS provided
        WHERE provided.rolname = 'rds_replication' AND pg_has_role(role.oid, provided.oid, 'USAGE')
    ) AS rds_replication,
    has_database_privilege(current_database(), 'CONNECT') AS may_connect,
    has_database_privilege(current_database(), 'CREATE') AS may_create
FROM pg_roles AS role
WHERE role.rolname = current_user;
