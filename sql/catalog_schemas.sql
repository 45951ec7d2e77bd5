-- Schemas published as a whole (PostgreSQL 15 and newer), with a fingerprint of their membership.
--
-- psql variables: publication
SELECT n.nspname, concat(s.oid, ':', s.xmin) AS membership
FROM pg_publication_namespace s
JOIN pg_publication p ON p.oid = s.pnpubid
JOIN pg_namespace n ON n.oid = s.pnnspid
WHERE p.pubname = :'publication';
