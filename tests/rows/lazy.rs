//! Lazy rows, loaded on demand.

use std::time::Instant;

use serde_json::json;

use super::{header, items, read, row};
use crate::support::{Highwater, PATIENCE, TestPostgres};

#[tokio::test]
async fn a_row_is_loaded_once_and_updated_from_the_stream() {
    let (pg, service) = items("lazy", &[]).await;
    let first = read(&service, &pg, "items/rows/3").await;
    assert_eq!(first.body, json!({"id": 3, "name": "item 3", "price": 3}));
    assert_eq!(header(&first, "x-cache"), "miss");
    assert_eq!(header(&read(&service, &pg, "items/rows/3").await, "x-cache"), "hit");
    pg.execute("UPDATE items SET name = 'bulk'").await;
    let changed = read(&service, &pg, "items/rows/3").await;
    assert_eq!(changed.body["name"], "bulk");
    assert_eq!(header(&changed, "x-cache"), "hit", "updated from the stream");
    assert_ne!(header(&first, "etag"), header(&changed, "etag"));
}

#[tokio::test]
async fn an_absent_row_is_cached_until_it_is_inserted() {
    let (pg, service) = items("lazy", &[]).await;
    for cache in ["miss", "hit"] {
        let reply = read(&service, &pg, "items/rows/77").await;
        assert_eq!((reply.status, header(&reply, "x-cache")), (404, cache));
    }
    pg.execute("INSERT INTO items VALUES (77, 'new', 1)").await;
    assert_eq!(row(&service, &pg, "items/rows/77").await["name"], "new");
    pg.execute("DELETE FROM items WHERE id = 77").await;
    assert_eq!(read(&service, &pg, "items/rows/77").await.status, 404);
    pg.execute("UPDATE items SET id = 77 WHERE id = 1").await;
    assert_eq!(row(&service, &pg, "items/rows/77").await["name"], "item 1");
    assert_eq!(read(&service, &pg, "items/rows/1").await.status, 404);
}

#[tokio::test]
async fn several_ids_are_returned_at_one_version_with_missing_ones_listed() {
    let (pg, service) = items("lazy", &[]).await;
    let reply = read(&service, &pg, "items/rows?ids=2,44,1").await;
    assert_eq!(reply.body["rows"][0]["id"], 2);
    assert_eq!(reply.body["rows"][1]["id"], 1);
    assert_eq!(reply.body["missing"], json!([44]));
    assert_eq!(reply.body["version"], header(&reply, "highwater-version"));
}

#[tokio::test]
async fn changes_include_their_rows() {
    let (pg, service) = items("lazy", &[]).await;
    let version = service.version().await;
    pg.execute("UPDATE items SET name = 'x' WHERE id IN (1, 2); DELETE FROM items WHERE id = 3")
        .await;
    service.applied(&pg).await;
    let path = format!("/v1/changes?after={version}&include=rows&tables=items");
    let reply = service.fetch(&path).await;
    let expected = json!([
        {"table": "items", "id": 1, "op": "update", "row": {"id": 1, "name": "x", "price": 1}},
        {"table": "items", "id": 2, "op": "update", "row": {"id": 2, "name": "x", "price": 2}},
        {"table": "items", "id": 3, "op": "delete"},
    ]);
    assert_eq!(reply.body["changes"], expected, "{:?}", reply.body);
}

#[tokio::test]
async fn unchanged_large_values_are_kept() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE docs (id int PRIMARY KEY, n int, big text);
         ALTER TABLE docs ALTER big SET STORAGE EXTERNAL;
         INSERT INTO docs SELECT g, 0, repeat('x' || g, 3000) FROM generate_series(1, 3) g;
         CREATE PUBLICATION highwater FOR TABLE docs;",
    )
    .await;
    for mode in ["lazy", "preload"] {
        let slot = format!("{}_{mode}", pg.database());
        let settings = [("tables.docs.rows", mode), ("postgres.slot", &*slot)];
        let service = Highwater::start_with(&pg, &settings).await;
        row(&service, &pg, "docs/rows/1").await;
        pg.execute("UPDATE docs SET n = n + 1").await;
        pg.execute("UPDATE docs SET id = id + 10, n = n + 1 WHERE id = 2").await;
        for (id, n) in [(1, 1), (12, 2), (3, 1)] {
            let row = row(&service, &pg, &format!("docs/rows/{id}")).await;
            let was = if id == 12 { 2 } else { id };
            assert_eq!(row["big"], format!("x{was}").repeat(3000), "{mode} {id}");
            assert_eq!(row["n"], n, "{mode} {id}");
        }
        pg.execute("UPDATE docs SET id = 2 WHERE id = 12; UPDATE docs SET n = 0").await;
        service.stop().await.unwrap();
    }
}

#[tokio::test]
async fn ids_are_found_in_any_spelling() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE u (id uuid PRIMARY KEY, v int);
         CREATE TABLE pairs (a text, b int, v int, PRIMARY KEY (a, b));
         INSERT INTO u VALUES ('aaaaaaaa-0000-0000-0000-00000000000a', 1);
         INSERT INTO pairs VALUES ('x,y/z ?é', 5, 7);
         CREATE PUBLICATION highwater FOR TABLE u, pairs;",
    )
    .await;
    let settings = [("tables.u.rows", "lazy"), ("tables.pairs.rows", "lazy")];
    let service = Highwater::start_with(&pg, &settings).await;
    for id in ["aaaaaaaa-0000-0000-0000-00000000000a", "AAAAAAAA-0000-0000-0000-00000000000A"] {
        assert_eq!(row(&service, &pg, &format!("u/rows/{id}")).await["v"], 1);
    }
    assert_eq!(row(&service, &pg, "pairs/rows/x%2Cy%2Fz%20%3F%C3%A9,5").await["v"], 7);
    assert_eq!(read(&service, &pg, "u/rows/nonsense").await.status, 400);
    assert_eq!(read(&service, &pg, "pairs/rows/x").await.status, 400);
    assert_eq!(read(&service, &pg, "pairs/rows/x,y").await.status, 400);
}

#[tokio::test]
async fn disabled_rows_and_unknown_tables_are_reported() {
    let (pg, service) = items("off", &[]).await;
    let reply = read(&service, &pg, "items/rows/1").await;
    assert_eq!(reply.status, 409, "{:?}", reply.body);
    let detail = reply.body["detail"].as_str().unwrap();
    assert!(detail.contains("items") && detail.contains("not cached"), "{detail}");
    assert_eq!(read(&service, &pg, "nothing/rows/1").await.status, 404);
    assert_eq!(service.fetch("/v1/store?tables=items").await.status, 409);
}

#[tokio::test]
async fn a_small_cache_evicts_and_reloads() {
    let (pg, service) = items("lazy", &[("cache.max_bytes", "2kB")]).await;
    pg.execute("INSERT INTO items SELECT g, repeat('x', 100), 0 FROM generate_series(10, 200) g")
        .await;
    for id in 1..=200 {
        row(&service, &pg, &format!("items/rows/{id}")).await;
    }
    // The cache evicts shortly after an insertion exceeds its limit.
    let began = Instant::now();
    loop {
        let metrics = service.fetch("/metrics").await.body.as_str().unwrap().to_owned();
        let value = |name: &str| -> f64 {
            let line = metrics.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(-1.0)
        };
        let is_small = value("highwater_cache_bytes{table=\"items\"}") <= 2_000.0;
        if is_small && value("highwater_cache_evictions_total{table=\"items\"}") > 100.0 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{metrics}");
        row(&service, &pg, "items/rows/1").await;
    }
}
