-- Adds to a publication that is there. Only what its table does from then on is followed.
-- Placeholders: publication; scope as in publication.sql, without FOR.
ALTER PUBLICATION :"publication" ADD :scope;
