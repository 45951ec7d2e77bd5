-- Whether a role of that name exists.
-- Placeholders: role.
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') AS present;
