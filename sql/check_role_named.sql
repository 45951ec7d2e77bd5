-- Whether there is a role of a name.
-- Placeholders: role.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') AS there;
