-- Lets the role read a table whose rows Highwater caches (rows = "lazy" or "preload").
-- Placeholders: role, schema, table.
GRANT USAGE ON SCHEMA :"schema" TO :"role";
GRANT SELECT ON TABLE :"schema".:"table" TO :"role";
