-- The role Highwater connects as. It reads the change stream and nothing else: REPLICATION lets it
-- open one, CONNECT lets it into the database. It can change nothing.
-- Set its password in psql with \password, so that no file or log ever holds it.
-- Placeholders: role, database.
CREATE ROLE :"role" WITH LOGIN REPLICATION;
GRANT CONNECT ON DATABASE :"database" TO :"role";
