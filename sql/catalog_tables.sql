-- Every table of a publication, with its identity key and two fingerprints.
--
-- The fingerprints hold catalog rows' OIDs and xmin, so that a table that left the publication and
-- joined it again between two looks is seen to have done so, although it looks the same as before.
-- A root's membership names its leaves: attaching or detaching one moves rows without events.
--
-- psql variables: publication
WITH RECURSIVE base_type (oid, base, typtype) AS (
  -- An enum that has a cast to json is as unpredictable as a composite type.
  SELECT t.oid, t.oid,
    CASE WHEN t.typtype = 'e' AND EXISTS (
      SELECT FROM pg_cast WHERE castsource = t.oid AND casttarget = 'json'::regtype
    ) THEN 'c' ELSE t.typtype END
  FROM pg_type t WHERE t.typtype <> 'd'
  UNION ALL
  SELECT d.oid, b.base, b.typtype
  FROM pg_type d JOIN base_type b ON d.typbasetype = b.oid
  WHERE d.typtype = 'd'
)
SELECT
  c.oid,
  n.nspname,
  c.relname,
  c.relreplident,
  coalesce((
    SELECT json_agg(json_build_array(a.attname, a.atttypid::bigint, b.base::bigint, b.typtype, a.atttypid::regtype::text) ORDER BY k.place)
    FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    JOIN base_type b ON b.oid = a.atttypid
    WHERE k.place <= i.indnkeyatts
  ), '[]') AS key,
  concat_ws(' ', p.oid, p.xmin,
    (SELECT string_agg(concat(r.oid, ':', r.xmin), ',' ORDER BY r.oid)
     FROM pg_publication_rel r
     WHERE r.prpubid = p.oid
       AND (r.prrelid = c.oid OR r.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid)))),
    (SELECT string_agg(t.relid::oid::text, ',' ORDER BY t.relid)
     FROM pg_partition_tree(c.oid) t WHERE c.relkind = 'p' AND t.isleaf)
  ) AS membership,
  concat_ws(' ', c.relreplident, i.indexrelid,
    (SELECT string_agg(concat(a.attname, ':', a.atttypid, ':', a.atttypmod), ',' ORDER BY a.attnum)
     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
  ) AS definition,
  -- How many transactions ago any of this last changed.
  (SELECT min(age(x.xmin)) FROM (
     VALUES (p.xmin), (c.xmin),
       ((SELECT a.xmin FROM pg_attribute a WHERE a.attrelid = c.oid ORDER BY age(a.xmin) LIMIT 1)),
       ((SELECT r.xmin FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid))
   ) AS x (xmin)) AS changed_transactions_ago
FROM pg_publication p
JOIN pg_publication_tables pt ON pt.pubname = p.pubname
JOIN pg_namespace n ON n.nspname = pt.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = pt.tablename
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
  AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary END
WHERE p.pubname = :'publication'
ORDER BY n.nspname, c.relname;
