-- The definition of a table's key, columns and types as one text, and how many transactions ago any of
-- it last changed. The text differs whenever rows may be rendered differently although none changed.
--
-- A column's xmin shows an ALTER TYPE … USING that ends at the same type. Types that are not built in
-- are followed to their parts: labels of an enum, attributes of a composite type, the type beneath a
-- domain, a range or an array, and the cast to json that to_jsonb would use.
--
-- psql variables: oid
SELECT
  concat_ws(' ', c.relreplident, i.indexrelid, own.definition, used.facts[1]) AS definition,
  least(age(c.xmin), own.changed_transactions_ago, used.facts[2]::int) AS changed_transactions_ago
FROM pg_class c
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
  AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary END
CROSS JOIN LATERAL (
  SELECT
    string_agg(concat_ws(':', a.attname, a.atttypid, a.atttypmod, a.attnum, a.xmin), ',' ORDER BY a.attnum)
      FILTER (WHERE NOT a.attisdropped) AS definition,
    min(age(a.xmin)) AS changed_transactions_ago,
    -- Types that are not built in have OIDs from 16384.
    array_agg(a.atttypid) FILTER (WHERE a.atttypid >= 16384) AS types
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0
) own
-- Subqueries by OID, not joins: the planner overestimates the rows of a recursion and would scan the
-- catalog once for every table.
CROSS JOIN LATERAL (SELECT CASE WHEN own.types IS NOT NULL THEN (
  WITH RECURSIVE part (oid) AS (
    SELECT unnest(own.types)
    UNION
    SELECT next.oid FROM part CROSS JOIN LATERAL unnest(ARRAY(
      SELECT unnest(ARRAY[t.typbasetype, t.typelem]) FROM pg_type t WHERE t.oid = part.oid
      UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = part.oid
      UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngmultitypid = part.oid
      UNION ALL SELECT a.atttypid FROM pg_attribute a
        WHERE a.attrelid = (SELECT t.typrelid FROM pg_type t WHERE t.oid = part.oid) AND a.attnum > 0
    )) AS next (oid)
    WHERE next.oid >= 16384
  ), fact (of, changed_transactions_ago) AS (
    SELECT fact.of, fact.age FROM part CROSS JOIN LATERAL (
      SELECT concat_ws(':', 'type', part.oid, t.typbasetype, t.typtypmod, t.typelem), age(t.xmin)
      FROM pg_type t WHERE t.oid = part.oid
      UNION ALL
      SELECT concat_ws(':', 'label', part.oid, e.enumsortorder, e.oid, e.enumlabel), age(e.xmin)
      FROM pg_enum e WHERE e.enumtypid = part.oid
      UNION ALL
      SELECT concat_ws(':', 'attribute', part.oid, a.attname, a.atttypid, a.atttypmod, a.xmin), age(a.xmin)
      FROM pg_attribute a
      WHERE a.attrelid = (SELECT t.typrelid FROM pg_type t WHERE t.oid = part.oid) AND a.attnum > 0
      UNION ALL
      SELECT concat_ws(':', 'cast', part.oid, k.oid, k.castfunc), age(k.xmin)
      FROM pg_cast k WHERE k.castsource = part.oid AND k.casttarget = 'json'::regtype
    ) AS fact (of, age)
  )
  SELECT ARRAY[string_agg(of, ',' ORDER BY of COLLATE "C"), min(changed_transactions_ago)::text] FROM fact
) END AS facts) used
WHERE c.oid = :'oid';
