//! Cached rows as clients see them, with a real PostgreSQL.

mod disconnected;
mod lazy;
mod preload;
mod races;
mod schema;
mod type_matrix;
mod verify;
mod wrong_server;

use serde_json::Value;

use crate::support::{Highwater, HttpReply, TestPostgres};

/// A service on a small table `items (id, name, price)` with this `rows` mode.
async fn items(mode: &str, settings: &[(&'static str, &str)]) -> (TestPostgres, Highwater) {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY, name text, price int);
         INSERT INTO items SELECT g, 'item ' || g, g FROM generate_series(1, 9) g;
         CREATE PUBLICATION highwater FOR TABLE items;",
    )
    .await;
    let settings = [&[("tables.items.rows", mode)], settings].concat();
    let service = Highwater::start_with(&pg, &settings).await;
    (pg, service)
}

/// Reads a path of the table's rows once everything committed before is applied.
async fn read(service: &Highwater, pg: &TestPostgres, path: &str) -> HttpReply {
    let lsn: String = pg.value("SELECT pg_current_wal_insert_lsn()::text").await;
    let separator = if path.contains('?') { '&' } else { '?' };
    service.fetch(&format!("/v1/tables/{path}{separator}at_least={lsn}")).await
}

/// The document of a row that must exist.
async fn row(service: &Highwater, pg: &TestPostgres, path: &str) -> Value {
    let reply = read(service, pg, path).await;
    assert_eq!(reply.status, 200, "{path}: {:?}", reply.body);
    reply.body
}

/// Every row of a preloaded table, from `/v1/store`.
async fn store(service: &Highwater, pg: &TestPostgres, table: &str) -> Vec<Value> {
    let lsn: String = pg.value("SELECT pg_current_wal_insert_lsn()::text").await;
    let reply = service.fetch(&format!("/v1/store?tables={table}&at_least={lsn}")).await;
    assert_eq!(reply.status, 200, "{table}: {:?}", reply.body);
    reply.body[table].as_array().expect("the table").clone()
}

/// The value of a header; empty if it is missing.
fn header<'a>(reply: &'a HttpReply, name: &str) -> &'a str {
    reply.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
}
