-- Drops the publication. The tables stay as they are.
-- Placeholders: publication.
DROP PUBLICATION IF EXISTS :"publication";
