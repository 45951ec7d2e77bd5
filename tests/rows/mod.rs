//! Rows served from memory: what clients see, against a real PostgreSQL.

mod away;
mod elsewhere;
mod lazy;
mod preload;
mod races;
mod schema;
mod verify;
mod zoo;

use serde_json::Value;

use crate::support::{Highwater, HttpReply, TestPostgres};

/// A service on a table `items (id, name, price)` of a few rows whose rows are held as `mode` says.
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
    let joint = if path.contains('?') { '&' } else { '?' };
    service.fetch(&format!("/v1/tables/{path}{joint}at_least={lsn}")).await
}

/// The document of one row, which must be there.
async fn row(service: &Highwater, pg: &TestPostgres, path: &str) -> Value {
    let reply = read(service, pg, path).await;
    assert_eq!(reply.status, 200, "{path}: {:?}", reply.body);
    reply.body
}

/// Every row of a preloaded table, as the store gives them.
async fn store(service: &Highwater, pg: &TestPostgres, table: &str) -> Vec<Value> {
    let lsn: String = pg.value("SELECT pg_current_wal_insert_lsn()::text").await;
    let reply = service.fetch(&format!("/v1/store?tables={table}&at_least={lsn}")).await;
    assert_eq!(reply.status, 200, "{table}: {:?}", reply.body);
    reply.body[table].as_array().expect("the table").clone()
}

/// What a header of an answer says.
fn header<'a>(reply: &'a HttpReply, name: &str) -> &'a str {
    reply.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
}
