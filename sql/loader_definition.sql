-- One table's definition as sql/catalog_tables.sql fingerprints it: whoever reads rows compares it
-- with what the catalog said when the table was last looked at.
-- Placeholders: table_oid.
SELECT concat_ws(' ', c.relreplident, i.indexrelid,
    (SELECT string_agg(concat(a.attname, ':', a.atttypid, ':', a.atttypmod), ',' ORDER BY a.attnum)
     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
  ) AS definition
FROM pg_class c
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
  AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'n' THEN false ELSE i.indisprimary END
WHERE c.oid = :table_oid;
