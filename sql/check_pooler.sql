-- The process id of the server backend. The check runs it twice in one session: behind a pooler the two
-- results may come from different backends.
SELECT pg_backend_pid() AS backend_pid;
