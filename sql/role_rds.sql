-- The role Highwater connects as, on Amazon RDS and Aurora: there no role may grant REPLICATION, and
-- membership in rds_replication replaces it.
-- Set its password in psql with \password, so that no file or log ever contains it.
-- Placeholders: role, database.
CREATE ROLE :"role" WITH LOGIN;
GRANT rds_replication TO :"role";
GRANT CONNECT ON DATABASE :"database" TO :"role";
