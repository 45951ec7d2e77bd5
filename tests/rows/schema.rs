//! Changed definitions: after their reset, rows are never served in the old form.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::store;
use crate::support::{Highwater, PATIENCE, TestPostgres};

/// Two tables with the same rows, one lazy and one preloaded.
const SHAPES: &str = "
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE lazy (id int PRIMARY KEY, a int, m mood);
    CREATE TABLE whole (id int PRIMARY KEY, a int, m mood);
    INSERT INTO lazy VALUES (1, 10, 'good'), (2, 20, 'bad');
    INSERT INTO whole VALUES (1, 10, 'good'), (2, 20, 'bad');
    CREATE PUBLICATION highwater FOR TABLE lazy, whole;
";

/// Runs `change` (with each table's name for `TABLE_NAME`), waits until both tables are reset, and
/// compares every row with the database.
async fn after(change: &str) {
    let pg = TestPostgres::start().await;
    pg.execute(SHAPES).await;
    let settings = [("tables.lazy.rows", "lazy"), ("tables.whole.rows", "preload")];
    let service = Highwater::start_with(&pg, &settings).await;
    for id in [1, 2] {
        assert_eq!(service.fetch(&format!("/v1/tables/lazy/rows/{id}")).await.status, 200);
    }
    let version = service.version().await;
    for table in ["lazy", "whole"] {
        pg.execute(&change.replace("TABLE_NAME", table)).await;
    }
    until_reset(&service, &version).await;
    let served = store(&service, &pg, "whole").await;
    assert_eq!(served, rows(&pg, "whole").await, "{change}");
    for row in rows(&pg, "lazy").await {
        let served = service.fetch(&format!("/v1/tables/lazy/rows/{}", row["id"])).await;
        assert_eq!(served.body, row, "{change}");
    }
}

async fn rows(pg: &TestPostgres, table: &str) -> Vec<Value> {
    let rows: String = pg
        .value(&format!(
            "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY id), '[]')::text FROM {table} t"
        ))
        .await;
    serde_json::from_str(&rows).expect("an array")
}

/// Waits until both tables were reset after `version`.
async fn until_reset(service: &Highwater, version: &str) {
    let started = Instant::now();
    loop {
        let poll = service.poll(&format!("tables=lazy,whole&after={version}")).await;
        if poll.reset.len() == 2 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "no reset: {poll:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_column_added_with_a_default() {
    after("ALTER TABLE TABLE_NAME ADD COLUMN extra text DEFAULT 'there'").await;
}

#[tokio::test]
async fn a_column_dropped() {
    after("ALTER TABLE TABLE_NAME DROP COLUMN a").await;
}

#[tokio::test]
async fn a_column_renamed() {
    after("ALTER TABLE TABLE_NAME RENAME COLUMN a TO b").await;
}

#[tokio::test]
async fn a_column_retyped() {
    after("ALTER TABLE TABLE_NAME ALTER COLUMN a TYPE text USING 'n' || a").await;
}

#[tokio::test]
async fn a_column_rewritten_in_its_own_type() {
    after("ALTER TABLE TABLE_NAME ALTER COLUMN a TYPE int USING a * 2").await;
}

#[tokio::test]
async fn a_column_dropped_and_added_under_the_same_name() {
    after("ALTER TABLE TABLE_NAME DROP COLUMN a, ADD COLUMN a int").await;
}

#[tokio::test]
async fn a_change_of_definition_with_changes_of_rows_in_one_commit() {
    after("BEGIN; UPDATE TABLE_NAME SET a = 1; ALTER TABLE TABLE_NAME ADD COLUMN extra int DEFAULT 5; UPDATE TABLE_NAME SET extra = id; COMMIT").await;
}

#[tokio::test]
async fn a_value_of_an_enum_renamed() {
    // The second run finds nothing to rename.
    after(
        "DO $$ BEGIN ALTER TYPE mood RENAME VALUE 'good' TO 'fine';
         EXCEPTION WHEN invalid_parameter_value THEN NULL; END $$",
    )
    .await;
}

#[tokio::test]
async fn a_table_dropped_and_created_again() {
    let pg = TestPostgres::start().await;
    pg.execute(SHAPES).await;
    let settings = [("tables.lazy.rows", "lazy"), ("tables.whole.rows", "preload")];
    let service = Highwater::start_with(&pg, &settings).await;
    assert_eq!(service.fetch("/v1/tables/lazy/rows/1").await.status, 200);
    let version = service.version().await;
    pg.execute(
        "BEGIN; DROP TABLE lazy, whole;
         CREATE TABLE lazy (id int PRIMARY KEY, other text); CREATE TABLE whole (id int PRIMARY KEY, other text);
         INSERT INTO lazy VALUES (1, 'x'); INSERT INTO whole VALUES (1, 'x');
         ALTER PUBLICATION highwater ADD TABLE lazy, whole; COMMIT",
    )
    .await;
    until_reset(&service, &version).await;
    assert_eq!(service.fetch("/v1/tables/lazy/rows/1").await.body, json!({"id": 1, "other": "x"}));
    assert_eq!(store(&service, &pg, "whole").await, [json!({"id": 1, "other": "x"})]);
}

#[tokio::test]
async fn a_partition_attached_and_detached() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE lazy (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE lazy_1 PARTITION OF lazy FOR VALUES FROM (0) TO (100);
         CREATE TABLE whole (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (100);
         INSERT INTO lazy VALUES (1, 1); INSERT INTO whole VALUES (1, 1);
         CREATE PUBLICATION highwater FOR TABLE lazy, whole WITH (publish_via_partition_root);
         CREATE TABLE lazy_2 (id int PRIMARY KEY, v int); INSERT INTO lazy_2 VALUES (150, 2);
         CREATE TABLE whole_2 (id int PRIMARY KEY, v int); INSERT INTO whole_2 VALUES (150, 2);",
    )
    .await;
    let settings = [("tables.lazy.rows", "lazy"), ("tables.whole.rows", "preload")];
    let service = Highwater::start_with(&pg, &settings).await;
    assert_eq!(service.fetch("/v1/tables/lazy/rows/150").await.status, 404);
    let version = service.version().await;
    pg.execute(
        "ALTER TABLE lazy ATTACH PARTITION lazy_2 FOR VALUES FROM (100) TO (200);
         ALTER TABLE whole ATTACH PARTITION whole_2 FOR VALUES FROM (100) TO (200);",
    )
    .await;
    until_reset(&service, &version).await;
    assert_eq!(service.fetch("/v1/tables/lazy/rows/150").await.status, 200);
    assert_eq!(store(&service, &pg, "whole").await.len(), 2);
    let version = service.version().await;
    pg.execute(
        "ALTER TABLE lazy DETACH PARTITION lazy_1; ALTER TABLE whole DETACH PARTITION whole_1",
    )
    .await;
    until_reset(&service, &version).await;
    assert_eq!(service.fetch("/v1/tables/lazy/rows/1").await.status, 404);
    assert_eq!(store(&service, &pg, "whole").await, [json!({"id": 150, "v": 2})]);
}

/// TRUNCATE of a leaf is not published, neither for itself nor for its root.
#[tokio::test]
async fn a_partition_truncated() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE lazy (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE lazy_1 PARTITION OF lazy FOR VALUES FROM (0) TO (100);
         CREATE TABLE whole (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (100);
         INSERT INTO lazy VALUES (1); INSERT INTO whole VALUES (1);
         CREATE PUBLICATION highwater FOR TABLE lazy, whole WITH (publish_via_partition_root);",
    )
    .await;
    let settings = [("tables.lazy.rows", "lazy"), ("tables.whole.rows", "preload")];
    let service = Highwater::start_with(&pg, &settings).await;
    assert_eq!(service.fetch("/v1/tables/lazy/rows/1").await.status, 200);
    let version = service.version().await;
    pg.execute("TRUNCATE lazy_1, whole_1").await;
    until_reset(&service, &version).await;
    assert_eq!(service.fetch("/v1/tables/lazy/rows/1").await.status, 404);
    assert_eq!(store(&service, &pg, "whole").await.len(), 0);
}

#[tokio::test]
async fn generated_columns_are_not_in_rows() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE whole (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED);
         INSERT INTO whole VALUES (1, 1);
         CREATE PUBLICATION highwater FOR TABLE whole;",
    )
    .await;
    let service = Highwater::start_with(&pg, &[("tables.whole.rows", "preload")]).await;
    pg.execute("INSERT INTO whole VALUES (2, 2)").await;
    let expected = [json!({"id": 1, "a": 1}), json!({"id": 2, "a": 2})];
    assert_eq!(store(&service, &pg, "whole").await, expected, "from the copy and from the stream");
}
