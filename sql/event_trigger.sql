-- Announces changed definitions in the change stream, in commit order: an ALTER TABLE, a renamed
-- enum label, an attached partition, a table that joins or leaves a publication. Without it
-- Highwater finds such changes by refreshing the catalog, within seconds.
--
-- Creating event triggers requires a superuser. They write one logical message of the OIDs
-- concerned and nothing else, and an error inside them is a warning: none of your statements ever
-- fails because of them.
--
-- A table is named together with its partition ancestors and its own partitions; a type with every
-- table that has a column of it, however deep.
CREATE OR REPLACE FUNCTION public.highwater_tables_of(relations oid[], types oid[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
  WITH RECURSIVE user_type (oid) AS (
    SELECT unnest(types)
    UNION
    SELECT next.oid FROM user_type CROSS JOIN LATERAL (
      SELECT t.oid FROM pg_type t
      WHERE user_type.oid IN (t.typbasetype, t.typelem)
      UNION ALL
      SELECT unnest(ARRAY[r.rngtypid, r.rngmultitypid]) FROM pg_range r WHERE r.rngsubtype = user_type.oid
      UNION ALL
      SELECT c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      WHERE a.atttypid = user_type.oid AND a.attnum > 0 AND c.reltype <> 0
    ) AS next (oid)
  ), relation (oid) AS (
    SELECT unnest(relations)
    UNION
    SELECT a.attrelid FROM pg_attribute a JOIN user_type ON user_type.oid = a.atttypid WHERE a.attnum > 0
  ), family (oid) AS (
    SELECT oid FROM relation
    UNION
    SELECT a.relid FROM relation CROSS JOIN LATERAL pg_partition_ancestors(relation.oid) AS a (relid)
    UNION
    SELECT t.relid FROM relation CROSS JOIN LATERAL pg_partition_tree(relation.oid) AS t
  )
  SELECT string_agg(c.oid::text, ',' ORDER BY c.oid)
  FROM family JOIN pg_class c ON c.oid = family.oid
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
$$;

CREATE OR REPLACE FUNCTION public.highwater_announce() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
  relations oid[];
  types oid[];
  tables text;
  drops_tables boolean := false;
BEGIN
  IF tg_event = 'sql_drop' THEN
    -- Dropped objects are no longer in the catalog: casts and members of publications are found by
    -- name.
    SELECT
      array_agg(CASE dropped.object_type
        WHEN 'table column' THEN dropped.objid
        WHEN 'publication relation'
          THEN to_regclass(format('%I.%I', dropped.address_names[1], dropped.address_names[2]))
      END),
      array_agg(CASE dropped.object_type
        WHEN 'cast' THEN to_regtype(dropped.address_names[1])
        WHEN 'composite type column' THEN (SELECT c.reltype FROM pg_class c WHERE c.oid = dropped.objid)
      END),
      bool_or(dropped.object_type = 'table')
    INTO relations, types, drops_tables
    FROM pg_event_trigger_dropped_objects() AS dropped
    WHERE NOT dropped.is_temporary AND dropped.object_type IN ('table', 'table column', 'cast', 'publication',
      'publication relation', 'publication namespace', 'composite type column');
  ELSE
    SELECT array_agg(concerned.relation), array_agg(concerned.type)
    INTO relations, types
    FROM pg_event_trigger_ddl_commands() AS command
    CROSS JOIN LATERAL (
      SELECT c.oid, CASE WHEN c.relkind = 'c' THEN c.reltype END
      FROM pg_class c WHERE command.classid = 'pg_class'::regclass AND c.oid = command.objid
      UNION ALL
      SELECT NULL, command.objid WHERE command.classid = 'pg_type'::regclass
      UNION ALL
      SELECT NULL, k.castsource FROM pg_cast k
      WHERE command.classid = 'pg_cast'::regclass AND k.oid = command.objid
      UNION ALL
      SELECT r.prrelid, NULL FROM pg_publication_rel r
      WHERE command.classid = 'pg_publication_rel'::regclass AND r.oid = command.objid
      UNION ALL
      SELECT c.oid, NULL
      FROM pg_publication p
      JOIN pg_publication_tables t ON t.pubname = p.pubname
      JOIN pg_namespace n ON n.nspname = t.schemaname
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
      WHERE command.classid = 'pg_publication'::regclass AND p.oid = command.objid
    ) AS concerned (relation, type)
    WHERE command.schema_name IS DISTINCT FROM 'pg_temp';
  END IF;
  IF relations IS NULL AND types IS NULL THEN
    RETURN;
  END IF;
  tables := public.highwater_tables_of(array_remove(relations, NULL), array_remove(types, NULL));
  -- An empty message requests a catalog refresh, and means that a partition may be gone: its root
  -- is no longer known.
  IF tables IS NOT NULL THEN
    PERFORM pg_logical_emit_message(true, 'highwater', tables);
  END IF;
  IF tables IS NULL OR drops_tables THEN
    PERFORM pg_logical_emit_message(true, 'highwater', '');
  END IF;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'highwater: a changed definition is not announced: %', SQLERRM;
END
$$;

DROP EVENT TRIGGER IF EXISTS highwater_changed;
CREATE EVENT TRIGGER highwater_changed ON ddl_command_end
  WHEN TAG IN ('ALTER TABLE', 'ALTER TYPE', 'ALTER DOMAIN', 'CREATE CAST', 'CREATE PUBLICATION', 'ALTER PUBLICATION')
  EXECUTE FUNCTION public.highwater_announce();
DROP EVENT TRIGGER IF EXISTS highwater_dropped;
CREATE EVENT TRIGGER highwater_dropped ON sql_drop
  EXECUTE FUNCTION public.highwater_announce();
