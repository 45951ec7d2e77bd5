//! New connections lead to a server other than the one whose changes are read.

use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Highwater, PATIENCE, Proxy, SessionKind, Slots, TestPostgres};

/// The servers differ only in later writes: names, OIDs and definitions are the same.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_server_than_the_streams_are_never_served() {
    let mut pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY, name text);
         CREATE TABLE all_items (id int PRIMARY KEY, name text);
         INSERT INTO items VALUES (1, 'ours'), (2, 'ours');
         INSERT INTO all_items VALUES (1, 'ours');
         CREATE PUBLICATION highwater FOR TABLE items, all_items;",
    )
    .await;
    let other = pg.restored(Slots::None).await;
    other.execute("UPDATE items SET name = 'theirs'; UPDATE all_items SET name = 'theirs'").await;
    let proxy = Proxy::start(&pg).await;
    let url = proxy.url(pg.database());
    let settings = [
        ("postgres.url", url.as_str()),
        ("tables.items.rows", "lazy"),
        ("tables.all_items.rows", "preload"),
    ];
    let service = Highwater::start_with(&pg, &settings).await;
    let read = async |path: &str| service.fetch(path).await;
    let expected = json!([{"id": 1, "name": "ours"}]);

    proxy.redirect_new_connections(&other);
    pg.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'highwater loader'",
    )
    .await;
    let refused = read("/v1/tables/items/rows/1").await;
    assert_eq!(refused.status, 503, "{:?}", refused.body);
    assert!(refused.body["detail"].as_str().unwrap().contains("another server"));
    assert_eq!(service.post("/admin/reload?table=all_items").await.status, 202);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(read("/v1/store").await.body["all_items"], expected);

    // A new connection reaches the right server again.
    proxy.redirect_new_connections(&pg);
    let row = read("/v1/tables/items/rows/1").await;
    assert_eq!((row.status, &row.body["name"]), (200, &json!("ours")));

    // The stream moves to the other server, and the rows with it.
    proxy.switch(&other);
    let began = Instant::now();
    for path in
        ["/v1/tables/items/rows/1", "/v1/tables/items/rows/2", "/v1/tables/all_items/rows/1"]
    {
        while read(path).await.body["name"] != "theirs" {
            assert!(began.elapsed() < PATIENCE, "{path}: {:?}", read(path).await.body);
        }
    }
}

/// A server that died behind a silent network appears connected for many seconds. The LSN may come from
/// the server promoted meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_lsn_is_not_accepted_while_the_server_is_silent() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'ours');
         CREATE PUBLICATION highwater FOR TABLE items;",
    )
    .await;
    let proxy = Proxy::start(&pg).await;
    let url = proxy.url(pg.database());
    let settings = [("postgres.url", url.as_str()), ("tables.items.rows", "preload")];
    let service = Highwater::start_with(&pg, &settings).await;
    let lsn: String = pg.value("SELECT pg_current_wal_insert_lsn()::text").await;
    let version = service.version().await;
    let read = async |at_least: &str, wait: &str| {
        let path = format!("/v1/tables/items/rows/1?at_least={at_least}&wait={wait}");
        service.fetch(&path).await.status
    };
    assert_eq!(read(&lsn, "5s").await, 200);

    // The stream is silent, as during a giant transaction; a catalog refresh shows that the server is alive.
    proxy.silence(SessionKind::Replication);
    sleep(Duration::from_millis(2500)).await;
    assert_eq!((read(&lsn, "2s").await, service.disconnect_reason().await), (200, None));
    proxy.heal();
    assert_eq!(read(&lsn, "5s").await, 200);

    proxy.black_hole();
    sleep(Duration::from_millis(2500)).await;
    assert_eq!((read(&lsn, "2s").await, service.disconnect_reason().await), (503, None));
    assert_eq!(read(&version, "0").await, 200);
    proxy.heal();
    assert_eq!(read(&lsn, "5s").await, 200);
}
