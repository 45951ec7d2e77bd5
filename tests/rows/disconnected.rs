//! Rows while the database is unreachable.

use std::time::Duration;

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};

use super::header;
use crate::support::{Highwater, TestPostgres};

#[tokio::test(flavor = "multi_thread")]
async fn cached_rows_are_served_while_the_database_is_unreachable_and_others_are_not() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY, name text);
         INSERT INTO items SELECT g, 'n' || g FROM generate_series(1, 9) g;
         CREATE TABLE all_items (id int PRIMARY KEY);
         INSERT INTO all_items VALUES (1);
         CREATE PUBLICATION highwater FOR TABLE items, all_items;",
    )
    .await;
    let settings = [
        ("tables.items.rows", "lazy"),
        ("tables.all_items.rows", "preload"),
        ("cache.load_timeout", "1s"),
    ];
    let service = Highwater::start_with(&pg, &settings).await;
    assert_eq!(service.fetch("/v1/tables/items/rows/1").await.status, 200);
    tokio::task::block_in_place(|| pg.server().stop(ShutdownMode::Fast)).expect("it stops");
    service.until_disconnected("").await;
    let stale = service.fetch("/v1/tables/items/rows/1").await;
    assert_eq!((stale.status, header(&stale, "x-cache")), (200, "stale"));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let stale = service.fetch("/v1/tables/items/rows/1").await;
    assert!(header(&stale, "age").parse::<u64>().unwrap() >= 1);
    let absent = service.fetch("/v1/tables/items/rows/2").await;
    assert_eq!(absent.status, 503, "{:?}", absent.body);
    assert!(absent.body["detail"].as_str().unwrap().contains("database"), "{:?}", absent.body);
    assert_eq!(service.fetch("/v1/store").await.status, 200);
    tokio::task::block_in_place(|| pg.server().restart(ShutdownMode::Fast)).expect("it starts");
    service.ready().await;
    let fresh = service.fetch("/v1/tables/items/rows/2").await;
    assert_eq!((fresh.status, header(&fresh, "x-cache")), (200, "miss"));
    let again = service.fetch("/v1/tables/items/rows/1").await;
    assert_eq!((again.status, header(&again, "x-cache")), (200, "hit"));
}
