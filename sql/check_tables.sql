-- Every table that can be published, whether it is published, and how its rows are identified. The rows
-- of a partitioned table are in its leaves: the replica identity of the leaf decides whether an UPDATE works.
-- Only an immediate and valid index identifies rows; a deferrable primary key does not.
-- Placeholders: publication.
WITH published AS (
    SELECT
        relation.oid,
        to_jsonb(entry) ->> 'rowfilter' AS row_filter
    FROM pg_publication_tables AS entry
    JOIN pg_namespace AS namespace ON namespace.nspname = entry.schemaname
    JOIN pg_class AS relation ON relation.relnamespace = namespace.oid AND relation.relname = entry.tablename
    WHERE entry.pubname = :'publication'
),
column_lists AS (
    SELECT member.prrelid AS oid
    FROM pg_publication_rel AS member
    JOIN pg_publication AS publication ON publication.oid = member.prpubid
    WHERE publication.pubname = :'publication' AND to_jsonb(member) ->> 'prattrs' IS NOT NULL
),
leaves AS (
    SELECT published.oid AS root, tree.relid::oid AS leaf
    FROM published
    JOIN pg_class AS relation ON relation.oid = published.oid AND relation.relkind = 'p'
    CROSS JOIN LATERAL pg_partition_tree(published.oid) AS tree
    WHERE tree.isleaf AND tree.relid <> published.oid
)
SELECT
    namespace.nspname AS schema,
    relation.relname AS name,
    relation.relkind::text AS kind,
    relation.relpersistence::text AS persistence,
    relation.relispartition AS is_partition,
    published.oid IS NOT NULL AS published,
    (SELECT root_namespace.nspname || '.' || root.relname
     FROM leaves
     JOIN pg_class AS root ON root.oid = leaves.root
     JOIN pg_namespace AS root_namespace ON root_namespace.oid = root.relnamespace
     WHERE leaves.leaf = relation.oid LIMIT 1) AS published_through,
    published.row_filter AS row_filter,
    column_lists.oid IS NOT NULL AS has_column_list,
    relation.relreplident::text AS replica_identity,
    EXISTS (
        SELECT FROM pg_index AS index
        WHERE index.indrelid = relation.oid AND index.indisprimary AND index.indimmediate AND index.indisvalid
    ) AS has_primary_key,
    EXISTS (
        SELECT FROM pg_index AS index
        WHERE index.indrelid = relation.oid AND index.indisreplident AND index.indisvalid
    ) AS has_identity_index,
    (SELECT candidate.relname
     FROM pg_index AS index
     JOIN pg_class AS candidate ON candidate.oid = index.indexrelid
     WHERE index.indrelid = relation.oid AND index.indisunique AND index.indimmediate AND index.indisvalid
        AND index.indpred IS NULL AND index.indexprs IS NULL
        AND NOT EXISTS (
            SELECT FROM unnest((index.indkey::int2[])[0:index.indnkeyatts - 1]) AS key(number)
            JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attnum = key.number
            WHERE NOT attribute.attnotnull
        )
     ORDER BY index.indnkeyatts, candidate.relname LIMIT 1) AS candidate_index,
    -- The columns of the key that identifies rows, then all columns.
    coalesce(
        (SELECT jsonb_agg(attribute.attname)
         FROM pg_index AS index
         CROSS JOIN unnest((index.indkey::int2[])[0:index.indnkeyatts - 1]) AS key(number)
         JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid AND attribute.attnum = key.number
         WHERE index.indrelid = relation.oid AND index.indimmediate AND index.indisvalid
            AND CASE relation.relreplident WHEN 'i' THEN index.indisreplident ELSE index.indisprimary END),
        '[]'
    ) AS key_columns,
    coalesce(
        (SELECT jsonb_agg(attribute.attname ORDER BY attribute.attnum)
         FROM pg_attribute AS attribute
         WHERE attribute.attrelid = relation.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped),
        '[]'
    ) AS columns,
    pg_has_role(relation.relowner, 'USAGE') AS owned,
    has_schema_privilege(namespace.oid, 'USAGE') AND has_table_privilege(relation.oid, 'SELECT') AS readable,
    row_security_active(relation.oid) AS row_security
FROM pg_class AS relation
JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
LEFT JOIN published ON published.oid = relation.oid
LEFT JOIN column_lists ON column_lists.oid = relation.oid
WHERE relation.relkind IN ('r', 'p')
    AND relation.relpersistence <> 't'
    AND namespace.nspname NOT IN ('pg_catalog', 'information_schema')
    AND namespace.nspname NOT LIKE 'pg\_%'
    AND NOT EXISTS (
        SELECT FROM pg_depend AS extension
        WHERE extension.classid = 'pg_class'::regclass AND extension.objid = relation.oid AND extension.deptype = 'e'
    )
ORDER BY namespace.nspname, relation.relname;
