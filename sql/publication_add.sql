-- Adds tables to an existing publication. Only their changes from then on are published.
-- Placeholders: publication; scope as in publication.sql, without FOR.
ALTER PUBLICATION :"publication" ADD :scope;
