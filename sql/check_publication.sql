-- The publication, if it exists. Columns that this version of PostgreSQL does not have are null.
-- Placeholders: publication.
SELECT
    publication.puballtables AS all_tables,
    publication.pubinsert AS inserts,
    publication.pubupdate AS updates,
    publication.pubdelete AS deletes,
    publication.pubtruncate AS truncates,
    coalesce((to_jsonb(publication) ->> 'pubviaroot')::boolean, false) AS via_partition_root,
    pg_get_userbyid(publication.pubowner) AS owner,
    pg_has_role(publication.pubowner, 'USAGE') AS may_alter
FROM pg_publication AS publication
WHERE publication.pubname = :'publication';
