-- The role Highwater connects as, on Amazon RDS and Aurora: there nobody may give REPLICATION, but
-- membership in rds_replication stands for it.
-- Set its password in psql with \password, so that no file or log ever holds it.
-- Placeholders: role, database.
CREATE ROLE :"role" WITH LOGIN;
GRANT rds_replication TO :"role";
GRANT CONNECT ON DATABASE :"database" TO :"role";
