//! The replica identity that a table with scopes needs.

use std::process::Command;

use serde_json::Value;

use super::changes_where;
use crate::support::{Highwater, TestPostgres, config};

#[tokio::test]
async fn scope_columns_of_the_identity_index_are_in_its_keys() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE orders (id int NOT NULL, owner_id uuid NOT NULL, note text);
         CREATE UNIQUE INDEX by_owner ON orders (owner_id, id);
         ALTER TABLE orders REPLICA IDENTITY USING INDEX by_owner;
         CREATE PUBLICATION highwater FOR TABLE orders;
         INSERT INTO orders SELECT g, '00000000-0000-0000-0000-00000000000a', '' FROM generate_series(1, 3) g;",
    )
    .await;
    let settings = [("tables.orders.scope", "owner_id"), ("tables.orders.rows", "preload")];
    let service = Highwater::start_with(&pg, &settings).await;
    let start = service.version().await;
    pg.execute(
        "UPDATE orders SET note = 'x' WHERE id = 1;
         UPDATE orders SET owner_id = '00000000-0000-0000-0000-00000000000b' WHERE id = 2;
         DELETE FROM orders WHERE id = 3",
    )
    .await;
    let a = "owner_id:00000000-0000-0000-0000-00000000000a";
    let id = |letter, id| format!("orders [\"00000000-0000-0000-0000-00000000000{letter}\",{id}]");
    let expected = [
        format!("update {}", id('a', 1)),
        format!("delete {}", id('a', 2)),
        format!("delete {}", id('a', 3)),
    ];
    assert_eq!(changes_where(&service, &pg, a, &start).await.changes, expected);
    let b = "owner_id:00000000-0000-0000-0000-00000000000b";
    assert_eq!(
        changes_where(&service, &pg, b, &start).await.changes,
        [format!("insert {}", id('b', 2))]
    );
    let reply = service.fetch(&format!("/v1/store?where={b}")).await;
    assert_eq!(reply.body["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_table_without_scope_columns_in_its_replica_identity_is_rejected_with_the_remedy() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, owner_id int, price numeric);
         CREATE PUBLICATION highwater FOR TABLE orders;",
    )
    .await;
    let refused = async |scope: &str| {
        let settings = [("tables.orders.scope", scope)];
        let mut service = Highwater::launch_as(&config(&pg, &settings)).await;
        service.ended().await.unwrap_err().to_string()
    };
    let why = refused("owner_id").await;
    assert!(why.contains("ALTER TABLE \"public\".\"orders\" REPLICA IDENTITY FULL;"), "{why}");
    pg.execute("ALTER TABLE orders REPLICA IDENTITY FULL").await;
    assert!(refused("owner").await.contains("publishes no column owner"));
    assert!(refused("price").await.contains("numeric"));
    let service = Highwater::start_with(&pg, &[("tables.orders.scope", "owner_id")]).await;
    let start = service.version().await;
    // The identity changes while the service runs: every change resets the table, and no caller sees
    // rows of other scopes.
    pg.execute("ALTER TABLE orders REPLICA IDENTITY DEFAULT").await;
    pg.execute("INSERT INTO orders VALUES (1, 5, 1); UPDATE orders SET owner_id = 6").await;
    let poll = changes_where(&service, &pg, "owner_id:5", &start).await;
    assert_eq!((poll.reset.len(), poll.changes.len()), (1, 0), "{poll:?}");
}

#[tokio::test]
async fn every_partition_needs_the_scope_columns_in_its_replica_identity() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, owner_id int) PARTITION BY RANGE (id);
         CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
         CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (100) TO (200);
         ALTER TABLE orders REPLICA IDENTITY FULL;
         ALTER TABLE orders_1 REPLICA IDENTITY FULL;
         CREATE PUBLICATION highwater FOR TABLE orders WITH (publish_via_partition_root = true);
         INSERT INTO orders VALUES (1, 1), (101, 1);",
    )
    .await;
    let settings = [("tables.orders.scope", "owner_id")];
    let mut service = Highwater::launch_as(&config(&pg, &settings)).await;
    let why = service.ended().await.unwrap_err().to_string();
    assert!(why.contains("each of its partitions"), "{why}");
    pg.execute("ALTER TABLE orders_2 REPLICA IDENTITY FULL").await;
    let service = Highwater::start_with(&pg, &settings).await;
    let start = service.version().await;
    pg.execute("UPDATE orders SET owner_id = 2").await;
    let gone = changes_where(&service, &pg, "owner_id:1", &start).await;
    assert_eq!(gone.changes, ["delete orders 1", "delete orders 101"]);
}

#[tokio::test]
async fn check_prints_the_statement_that_adds_old_scope_values() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, owner_id int);
         CREATE PUBLICATION highwater FOR TABLE orders
             WITH (publish_via_partition_root = true);",
    )
    .await;
    let file = std::env::temp_dir().join(format!("{}.toml", pg.database()));
    std::fs::write(&file, "[tables.orders]\nscope = [\"owner_id\"]\n").unwrap();
    let check = || {
        let output = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args(["check", "--url", &pg.url(), "--slot", pg.database()])
            .args(["--format", "json", "--config"])
            .arg(&file)
            .env_clear()
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        let of_scope = |finding: &Value| finding["topic"].as_str().unwrap().starts_with("scope");
        (output.status.success(), findings.into_iter().find(of_scope).unwrap())
    };
    let (is_ready, found) = check();
    assert!(!is_ready, "{found}");
    pg.execute(found["fix"][0].as_str().unwrap()).await;
    let (is_ready, found) = check();
    assert!(is_ready && found["severity"] == "ok", "{found}");
    std::fs::remove_file(file).unwrap();
}
