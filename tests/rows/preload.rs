//! Preloaded tables.

use serde_json::{Value, json};

use super::{header, items, read, row, store};
use crate::support::{Highwater, TestPostgres};

#[tokio::test]
async fn a_preloaded_table_is_served_completely_in_key_order() {
    let (pg, service) = items("preload", &[]).await;
    pg.execute("INSERT INTO items VALUES (-5, 'below', 0); DELETE FROM items WHERE id = 4").await;
    let ids =
        |rows: &[Value]| rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>();
    let expected = [-5, 1, 2, 3, 5, 6, 7, 8, 9];
    assert_eq!(ids(&store(&service, &pg, "items").await), expected);
    assert_eq!(header(&read(&service, &pg, "items/rows/1").await, "x-cache"), "hit");
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = read(&service, &pg, &format!("items/rows?limit=2{cursor}")).await.body;
        seen.extend(ids(page["rows"].as_array().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn commits_during_a_copy_are_applied_exactly_once() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int);
         INSERT INTO t SELECT g, 0 FROM generate_series(1, 50000) g;
         CREATE PUBLICATION highwater FOR TABLE t;",
    )
    .await;
    let service = Highwater::launch(&pg, &[("tables.t.rows", "preload")]).await;
    let session = pg.connect().await;
    for round in 0..300 {
        let (a, b) = (round * 7 % 50_000 + 1, 49_000 - round);
        session
            .execute(&format!(
                "BEGIN; UPDATE t SET n = n + 1 WHERE id = {a}; DELETE FROM t WHERE id = {b};
                 INSERT INTO t VALUES ({}, 1); COMMIT",
                60_000 + round
            ))
            .await;
    }
    service.ready().await;
    let served = store(&service, &pg, "t").await;
    let real: String = pg.value("SELECT jsonb_agg(to_jsonb(t) ORDER BY id)::text FROM t").await;
    let real: Vec<Value> = serde_json::from_str(&real).expect("an array");
    assert!(served == real, "{} rows, {} in the database", served.len(), real.len());
}

#[tokio::test]
async fn a_table_is_complete_after_truncate_and_large_commits() {
    let settings = [("log.max_transaction_bytes", "100kB"), ("log.max_transaction_changes", "100")];
    let (pg, service) = items("preload", &settings).await;
    pg.execute("BEGIN; INSERT INTO items VALUES (100, 'lost', 1); TRUNCATE items; INSERT INTO items VALUES (5, 'kept', 2); COMMIT").await;
    assert_eq!(store(&service, &pg, "items").await, [json!({"id": 5, "name": "kept", "price": 2})]);
    // More than the transaction buffer holds: the table is copied again.
    pg.execute("INSERT INTO items SELECT g, repeat('x', 100), g FROM generate_series(6, 5000) g")
        .await;
    let rows = store(&service, &pg, "items").await;
    assert_eq!(rows.len(), 4996);
    assert_eq!(rows[1]["name"], "x".repeat(100));
    pg.execute("UPDATE items SET name = 'after' WHERE id = 7").await;
    assert_eq!(row(&service, &pg, "items/rows/7").await["name"], "after");
}

#[tokio::test]
async fn a_table_that_exceeds_the_limit_is_refused_with_the_remedy() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE big (id int PRIMARY KEY, v text);
         CREATE TABLE small (id int PRIMARY KEY);
         INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g;
         CREATE PUBLICATION highwater FOR TABLE big, small;",
    )
    .await;
    let settings = [
        ("tables.big.rows", "preload"),
        ("tables.small.rows", "preload"),
        ("cache.max_preload_bytes", "1MB"),
    ];
    let service = Highwater::start_with(&pg, &settings).await;
    let reply = service.fetch("/v1/store?tables=big").await;
    assert_eq!(reply.status, 409, "{:?}", reply.body);
    assert!(reply.body["detail"].as_str().unwrap().contains("cache.max_preload_bytes"));
    assert_eq!(service.fetch("/v1/store?tables=small").await.body["small"], json!([]));
}

#[tokio::test]
async fn a_reload_resets_clients_once_and_replaces_the_rows_atomically() {
    let (pg, service) = items("preload", &[]).await;
    let version = service.version().await;
    let reply = service.post("/admin/reload?table=items").await;
    assert_eq!((reply.status, reply.body), (202, json!({"reloading": ["items"]})));
    let mut poll = service.poll(&format!("after={version}&wait=20s")).await;
    assert_eq!(poll.reset, ["items"]);
    assert_eq!(store(&service, &pg, "items").await.len(), 9);
    poll = service.poll(&format!("after={}", poll.version)).await;
    assert!(poll.reset.is_empty(), "one reset");
}

#[tokio::test]
async fn store_responses_have_an_etag() {
    let (pg, service) = items("preload", &[]).await;
    let reply = read(&service, &pg, "items/rows?limit=3").await;
    let tag = header(&reply, "etag").to_owned();
    assert!(!tag.is_empty());
    let path = "/v1/tables/items/rows?limit=3";
    assert_eq!(service.fetch_with(path, &[("if-none-match", &tag)]).await.status, 304);
    pg.execute("UPDATE items SET price = 4").await;
    service.applied(&pg).await;
    assert_eq!(service.fetch_with(path, &[("if-none-match", &tag)]).await.status, 200);
}
