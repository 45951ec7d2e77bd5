//! The tables, and how their rows are cached.

/// The `rows` setting of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowSet {
    Off,
    Lazy,
    Preload,
}

/// Every table that exists at the start.
pub(crate) const TABLES: &[(&str, RowSet)] = &[
    ("plain", RowSet::Off),
    ("child", RowSet::Off),
    ("again", RowSet::Off),
    ("nokey", RowSet::Off),
    ("\"odd.name\"", RowSet::Off),
    ("beat", RowSet::Off),
    ("pair", RowSet::Lazy),
    ("toasty", RowSet::Lazy),
    ("form", RowSet::Lazy),
    ("own", RowSet::Lazy),
    ("joins", RowSet::Lazy),
    ("plus", RowSet::Preload),
    ("minus", RowSet::Preload),
    ("words", RowSet::Preload),
    ("toast", RowSet::Preload),
    ("parts", RowSet::Preload),
    ("shape", RowSet::Preload),
];

/// The preloaded tables, as a list of parameters.
pub(crate) const PRELOADED: &str = "plus,minus,words,toast,parts,shape";

/// `n` comes from one sequence, so that it only ever rises in a row. `plus` and `minus` sum to zero.
pub(crate) const SQL: &str = r#"
    CREATE SEQUENCE ticks;
    CREATE TYPE mood AS ENUM ('m1', 'm2', 'm3');
    CREATE TABLE plain (id int PRIMARY KEY, n bigint, pad text);
    CREATE TABLE child (id int PRIMARY KEY REFERENCES plain ON DELETE CASCADE ON UPDATE CASCADE, n bigint);
    CREATE TABLE again (id int PRIMARY KEY, n bigint);
    CREATE TABLE nokey (n bigint);
    ALTER TABLE nokey REPLICA IDENTITY FULL;
    CREATE TABLE "odd.name" (id int PRIMARY KEY, n bigint);
    CREATE TABLE beat (id int PRIMARY KEY, n bigint);
    CREATE TABLE pair (name text, part int, n bigint, pad text, PRIMARY KEY (part, name));
    CREATE TABLE toasty (id int PRIMARY KEY, n bigint, big text, note text);
    CREATE TABLE toast (id int PRIMARY KEY, n bigint, big text, note text);
    ALTER TABLE toasty ALTER big SET STORAGE EXTERNAL;
    ALTER TABLE toast ALTER big SET STORAGE EXTERNAL;
    CREATE TABLE form (id int PRIMARY KEY, n bigint, r text, m mood, amount numeric);
    CREATE TABLE shape (id int PRIMARY KEY, n bigint, r text, m mood, amount numeric);
    CREATE TABLE own (id int PRIMARY KEY, n bigint, big text);
    CREATE TABLE joins (id int PRIMARY KEY, n bigint);
    CREATE TABLE plus (id int PRIMARY KEY, v bigint, n bigint);
    CREATE TABLE minus (id int PRIMARY KEY, v bigint, n bigint);
    CREATE TABLE words (name text PRIMARY KEY, n bigint);
    CREATE TABLE parts (id int PRIMARY KEY, n bigint) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
    CREATE TABLE parts_3 (id int PRIMARY KEY, n bigint);
    INSERT INTO own SELECT g, 0, repeat('o', 20) FROM generate_series(1, 20) g;
    INSERT INTO beat VALUES (1, 0);
    INSERT INTO plus SELECT g, 0, 0 FROM generate_series(1, 10) g;
    INSERT INTO minus SELECT g, 0, 0 FROM generate_series(1, 10) g;
    INSERT INTO parts_3 SELECT g, 0 FROM generate_series(200, 220) g;
    CREATE PUBLICATION highwater FOR TABLE plain, child, again, nokey, "odd.name", beat, pair, toasty, toast,
        form, shape, own, joins, plus, minus, words, parts WITH (publish_via_partition_root = true);
"#;

/// The event trigger that announces changed definitions.
pub(crate) const EVENT_TRIGGER: &str = include_str!("../../sql/event_trigger.sql");

/// The `rows` setting of a table; tables created later have none.
pub(crate) fn rows_of(table: &str) -> RowSet {
    TABLES.iter().find(|(name, _)| *name == table).map_or(RowSet::Off, |(_, rows)| *rows)
}
