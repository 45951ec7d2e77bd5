//! Every kind of row change, compared with the database's JSON.

use std::collections::BTreeSet;

use serde_json::Value;

use super::follower::Follower;
use super::{has_lists_and_filters, lazy};
use crate::support::TestPostgres;

const SETUP: &str = "
  CREATE TYPE mood AS ENUM ('sad', 'it''s \"ok\"');
  CREATE DOMAIN price AS numeric(12, 3);
  CREATE TABLE plain (id int PRIMARY KEY, name text, big text, at timestamptz, p price, m mood, j jsonb,
    twice int GENERATED ALWAYS AS (id * 2) STORED);
  ALTER TABLE plain ALTER big SET STORAGE EXTERNAL;
  CREATE TABLE whole (a int, \"B \"\"b\" text, big text, PRIMARY KEY (\"B \"\"b\", a));
  ALTER TABLE whole REPLICA IDENTITY FULL;
  ALTER TABLE whole ALTER big SET STORAGE EXTERNAL;
  CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
  CREATE TABLE parts_2 (v text, id int NOT NULL);
  ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (10) TO (20);
  CREATE TABLE listed (id int PRIMARY KEY, secret text, shown text);
  CREATE TABLE filtered (id int PRIMARY KEY, v text);";

const CHANGES: &[&str] = &[
    "INSERT INTO plain SELECT n, 'n' || n, repeat('x', 9000 + n), '2024-02-29 12:00+02', n * 1.5, 'sad',
       '{\"b\": [1.50, null], \"a\": \"\\u00e4\"}' FROM generate_series(1, 6) n",
    "UPDATE plain SET name = E'tab\\t\"q\" ünï' WHERE id = 1",
    "UPDATE plain SET name = NULL, big = NULL WHERE id = 2",
    "UPDATE plain SET id = 10, at = NULL WHERE id = 3",
    "UPDATE plain SET id = id + 20, m = 'it''s \"ok\"' WHERE id BETWEEN 4 AND 5",
    "BEGIN; UPDATE plain SET name = 'again' WHERE id = 10; UPDATE plain SET id = 11 WHERE id = 10; COMMIT",
    "DELETE FROM plain WHERE id = 6",
    "INSERT INTO whole VALUES (1, 'x', repeat('y', 9000)), (2, 'y', NULL), (3, 'z', repeat('z', 9000))",
    "UPDATE whole SET a = 7 WHERE a = 1; UPDATE whole SET \"B \"\"b\" = 'yy' WHERE a = 2; DELETE FROM whole WHERE a = 3",
    "INSERT INTO parts SELECT n, 'v' || n FROM generate_series(1, 15) n",
    "UPDATE parts SET id = 16 WHERE id = 1; DELETE FROM parts WHERE id = 12",
    "BEGIN; INSERT INTO listed VALUES (1, 's', 'a'); TRUNCATE listed; INSERT INTO listed VALUES (2, 't', 'b'); COMMIT",
    "UPDATE listed SET secret = 'changed' WHERE id = 2",
    "INSERT INTO filtered SELECT n, 'v' FROM generate_series(1, 6) n",
    "UPDATE filtered SET id = 7 WHERE id = 6; DELETE FROM filtered WHERE id = 1; UPDATE filtered SET id = 1 WHERE id = 4; UPDATE filtered SET id = 8 WHERE id = 2",
];

#[tokio::test]
async fn every_streamed_row_equals_the_databases_json() {
    let pg = TestPostgres::start().await;
    pg.execute(SETUP).await;
    let (list, filter) =
        if has_lists_and_filters() { ("(id, shown)", "WHERE (id > 3)") } else { ("", "") };
    pg.execute(&format!(
        "CREATE PUBLICATION highwater FOR TABLE plain, whole, parts, listed {list}, filtered {filter}
           WITH (publish_via_partition_root = true)"
    ))
    .await;
    let names = ["plain", "whole", "parts", "listed", "filtered"];
    let mut follower = Follower::start(&pg, names.map(lazy).into()).await;
    for change in CHANGES {
        pg.execute(change).await;
        follower.catch_up(&pg).await;
        for (name, rows) in [
            ("plain", "SELECT id, name, big, at, p, m, j FROM plain"),
            ("whole", "SELECT * FROM whole"),
            ("parts", "SELECT * FROM parts"),
            (
                "listed",
                if has_lists_and_filters() {
                    "SELECT id, shown FROM listed"
                } else {
                    "SELECT * FROM listed"
                },
            ),
            ("filtered", &format!("SELECT * FROM filtered {filter}")),
        ] {
            assert_eq!(
                streamed(&follower, name),
                expected(&pg, rows).await,
                "{name} after {change}"
            );
        }
    }
    assert!(follower.lost.is_empty() && follower.unknown.is_empty());
    follower.stop().await;
}

/// The rows according to the stream, as a set of JSON texts.
fn streamed(follower: &Follower, table: &str) -> BTreeSet<String> {
    let rows = follower.rows.get(&follower.table(table).oid);
    let row = |row: &highwater::row::Row| canonical(std::str::from_utf8(row.json()).unwrap());
    rows.into_iter().flat_map(|rows| rows.values().map(row)).collect()
}

async fn expected(pg: &TestPostgres, rows: &str) -> BTreeSet<String> {
    pg.execute("SET TimeZone = 'UTC'").await;
    let query = format!("SELECT to_jsonb(r)::text FROM ({rows}) r");
    pg.query(&query).await.iter().map(|row| canonical(row.get(0))).collect()
}

fn canonical(json: &str) -> String {
    serde_json::from_str::<Value>(json).expect("JSON").to_string()
}
