-- The publication: the tables whose changes Highwater reads. A partitioned table counts as one table, its root.
-- Placeholders: publication; scope, which is one of
--   FOR TABLE "public"."items", "public"."users"     by the owner of the tables
--   FOR TABLES IN SCHEMA "public"                    superusers only, PostgreSQL 15 or newer
--   FOR ALL TABLES                                   superusers only
CREATE PUBLICATION :"publication" :scope WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);
