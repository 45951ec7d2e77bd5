-- The role Highwater connects as. It can read the change stream and nothing else: REPLICATION permits the
-- replication connection, CONNECT the connection to the database. It cannot change anything.
-- Set its password in psql with \password, so that no file or log ever contains it.
-- Placeholders: role, database.
CREATE ROLE :"role" WITH LOGIN REPLICATION;
GRANT CONNECT ON DATABASE :"database" TO :"role";
