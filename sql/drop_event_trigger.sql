-- Drops the event triggers that announce changed definitions, and their functions.
DROP EVENT TRIGGER IF EXISTS highwater_changed;
DROP EVENT TRIGGER IF EXISTS highwater_dropped;
DROP FUNCTION IF EXISTS public.highwater_announce();
DROP FUNCTION IF EXISTS public.highwater_tables_of(oid[], oid[]);
