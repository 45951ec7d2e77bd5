-- Drops the publication. The tables themselves are not touched.
-- Placeholders: publication.
DROP PUBLICATION IF EXISTS :"publication";
