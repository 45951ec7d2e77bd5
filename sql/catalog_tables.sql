-- Every table of a publication, with its identity key and two fingerprints, and the columns of those
-- that are configured for row caching or scope.
--
-- The fingerprints hold catalog rows' OIDs and xmin, so that a table that left the publication and
-- joined it again between two refreshes differs from before, although its definition is the same.
-- A root's membership names its partitions, since when they are attached, and the leaves' files:
-- attaching, detaching, dropping or truncating a leaf moves rows without events. A partition that came
-- and went between two refreshes leaves no trace in the catalog; but if it changed, the stream named it.
--
-- psql variables: publication
--   configured: names of tables as a JSON array, without quotes; more may match than are meant
--   definition: the query of table_definition.sql for the OID published.oid
WITH RECURSIVE base_type (oid, base, delimiter) AS (
  SELECT t.oid, t.oid, t.typdelim FROM pg_type t WHERE t.typtype <> 'd'
  UNION ALL
  SELECT d.oid, b.base, d.typdelim
  FROM pg_type d JOIN base_type b ON d.typbasetype = b.oid
  WHERE d.typtype = 'd'
), value_type AS (
  SELECT
    b.oid, b.base, t.typelem AS element, t.typsubscript = 'array_subscript_handler'::regproc AS is_array,
    json_build_object(
      'base', b.base::bigint,
      'class', t.typtype,
      'delimiter', b.delimiter,
      'is_array', t.typsubscript = 'array_subscript_handler'::regproc,
      -- to_jsonb uses such a cast only for types that are not built in.
      'has_json_cast', b.base >= 16384 AND b.base IN (
        SELECT k.castsource FROM pg_cast k WHERE k.casttarget = 'json'::regtype AND k.castmethod = 'f'
      )
    ) AS facts
  FROM base_type b JOIN pg_type t ON t.oid = b.base
), published AS MATERIALIZED (
  SELECT
    c.oid, n.nspname, c.relname, c.relkind, c.relreplident,
    p.oid AS publication, p.xmin AS publication_xmin,
    i.indkey::int2[] AS key, i.indnkeyatts AS key_length,
    -- Since PostgreSQL 15; without them the publication has no limit.
    to_jsonb(pt) -> 'attnames' AS listed,
    to_jsonb(pt) ->> 'rowfilter' AS row_filter,
    EXISTS (
      SELECT FROM json_array_elements_text(:'configured') AS configured (name)
      WHERE configured.name IN (
        translate(c.relname, '"', ''), translate(concat(n.nspname, '.', c.relname), '"', '')
      )
    ) AS is_configured
  FROM pg_publication p
  JOIN pg_publication_tables pt ON pt.pubname = p.pubname
  JOIN pg_namespace n ON n.nspname = pt.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = pt.tablename
  LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
    AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary END
  WHERE p.pubname = :'publication'
), shown AS (
  -- The columns of keys, and all published columns of configured tables.
  SELECT
    published.oid AS relation, a.attnum,
    array_position(published.key[0:published.key_length - 1], a.attnum) AS place_in_key,
    published.is_configured AND NOT a.attisdropped AND CASE
      WHEN a.attgenerated <> '' AND current_setting('server_version_num')::int < 180000 THEN false
      ELSE coalesce(published.listed ? a.attname, a.attgenerated = '')
    END AS is_published,
    a.attname, a.atttypid, a.atttypmod, a.attcollation
  FROM published JOIN pg_attribute a ON a.attrelid = published.oid AND a.attnum > 0
), described AS (
  SELECT
    shown.relation, shown.attnum, shown.place_in_key, shown.is_published,
    json_build_object(
      'name', shown.attname,
      'type_oid', shown.atttypid::bigint,
      'type_modifier', shown.atttypmod,
      'type_name', format_type(shown.atttypid, NULL),
      'has_exact_collation', coalesce(l.collisdeterministic, true),
      'value', v.facts,
      'element', CASE WHEN v.is_array THEN e.facts END
    ) AS described
  FROM shown
  JOIN value_type v ON v.oid = shown.atttypid
  LEFT JOIN value_type e ON e.oid = v.element
  LEFT JOIN pg_collation l ON l.oid = shown.attcollation
  WHERE shown.place_in_key IS NOT NULL OR shown.is_published
), columns AS (
  SELECT
    relation,
    json_agg(described ORDER BY place_in_key) FILTER (WHERE place_in_key IS NOT NULL) AS key,
    json_agg(described ORDER BY attnum) FILTER (WHERE is_published) AS published
  FROM described GROUP BY relation
)
SELECT
  published.oid::bigint AS oid,
  published.nspname,
  published.relname,
  published.relreplident,
  coalesce(columns.key, '[]') AS key,
  concat_ws(' ', published.publication, published.publication_xmin,
    (SELECT string_agg(concat(r.oid, ':', r.xmin), ',' ORDER BY r.oid)
     FROM pg_publication_rel r
     WHERE r.prpubid = published.publication
       AND (r.prrelid = published.oid OR r.prrelid IN (SELECT relid FROM pg_partition_ancestors(published.oid)))),
    (SELECT string_agg(concat(t.relid::oid, ':', h.xmin, ':', pg_relation_filenode(t.relid)), ',' ORDER BY t.relid)
     FROM pg_partition_tree(published.oid) t JOIN pg_inherits h ON h.inhrelid = t.relid
     WHERE published.relkind = 'p' AND t.relid <> published.oid)
  ) AS membership,
  defined.definition,
  least(age(published.publication_xmin), defined.changed_transactions_ago,
    (SELECT min(age(r.xmin)) FROM pg_publication_rel r
     WHERE r.prpubid = published.publication AND r.prrelid = published.oid),
    CASE WHEN published.relkind = 'p' THEN least(
      (SELECT min(age(c.xmin)) FROM pg_partition_tree(published.oid) t JOIN pg_class c ON c.oid = t.relid),
      -- Since both triggers exist, every such change is announced in the stream.
      coalesce((SELECT min(age(e.xmin)) FROM pg_event_trigger e
                WHERE e.evtname IN ('highwater_changed', 'highwater_dropped') AND e.evtenabled <> 'D'
                HAVING count(*) = 2), 1)
    ) END) AS changed_transactions_ago,
  coalesce(columns.published, '[]') AS columns,
  published.relkind = 'p' AS is_partitioned,
  published.row_filter,
  -- For a root, the replica identity of its leaves counts.
  published.relreplident = 'f' AND NOT EXISTS (
    SELECT FROM pg_partition_tree(published.oid) AS tree JOIN pg_class AS leaf ON leaf.oid = tree.relid
    WHERE published.relkind = 'p' AND tree.isleaf AND leaf.relreplident <> 'f'
  ) AS sends_old_rows,
  (SELECT coalesce(json_agg(t.relid::oid::bigint), '[]')
   FROM pg_partition_tree(published.oid) t WHERE published.relkind = 'p' AND t.isleaf) AS leaves
FROM published
LEFT JOIN columns ON columns.relation = published.oid
CROSS JOIN LATERAL (:definition) AS defined
ORDER BY published.nspname, published.relname;
