-- Which of the server's processes answers. Asked twice in one session: a pooler may answer from
-- another one the second time.
SELECT pg_backend_pid() AS backend_pid;
