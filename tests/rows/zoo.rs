//! Rows of every type are the same from the stream, from a load and from a copy: what `to_jsonb` says.

use std::collections::BTreeMap;

use highwater::table::{RowMode, RowsConfig};
use serde_json::Value;

use super::header;

use crate::support::{Highwater, TestPostgres, config, is_same_json};

/// The table of types of which only the database can tell the JSON: it can't be preloaded.
const STRANGERS: &str = "strangers";

async fn zoo() -> (TestPostgres, Vec<String>) {
    let pg = TestPostgres::start().await;
    pg.execute(include_str!("../fixtures/zoo.sql")).await;
    let tables = pg
        .query("SELECT relname::text FROM pg_class WHERE relnamespace = 'zoo'::regnamespace AND relkind = 'r' ORDER BY 1")
        .await;
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    let qualified: Vec<String> = tables.iter().map(|table| format!("zoo.{table}")).collect();
    pg.execute(&format!("CREATE PUBLICATION highwater FOR TABLE {}", qualified.join(", "))).await;
    (pg, tables)
}

async fn service(pg: &TestPostgres, tables: &[String], mode: RowMode) -> Highwater {
    let mut config = config(pg, &[]);
    config.postgres.rows = tables
        .iter()
        .map(|table| RowsConfig { table: format!("zoo.{table}"), mode, columns: None })
        .collect();
    let service = Highwater::launch_as(&config).await;
    service.ready().await;
    service
}

/// Every row as the database sees it, by its id.
async fn truth(pg: &TestPostgres, table: &str) -> BTreeMap<i64, String> {
    pg.execute("SET TimeZone = 'UTC'").await;
    let rows = pg.query(&format!("SELECT id, to_jsonb(t)::text FROM zoo.{table} t")).await;
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn assert_same(served: &[Value], truth: &BTreeMap<i64, String>, whence: &str) {
    assert_eq!(served.len(), truth.len(), "{whence}");
    for row in served {
        let id = row["id"].as_i64().expect("an id");
        let real = &truth[&id];
        assert!(is_same_json(&row.to_string(), real), "{whence} {id}:\n{row}\n{real}");
    }
}

/// Changes every row without changing it: the stream sends it whole, but for large values.
async fn touch(pg: &TestPostgres, service: &Highwater, table: &str) {
    pg.execute(&format!("UPDATE zoo.{table} SET id = id")).await;
    service.applied(pg).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preloaded_rows_of_every_type_are_what_to_jsonb_says() {
    let (pg, mut tables) = zoo().await;
    tables.retain(|table| table != STRANGERS);
    let service = service(&pg, &tables, RowMode::Preload).await;
    for whence in ["copied", "streamed"] {
        for table in &tables {
            let reply = service.fetch(&format!("/v1/store?tables=zoo.{table}")).await;
            assert_eq!(reply.status, 200, "{table}: {:?}", reply.body);
            let served = reply.body[format!("zoo.{table}")].as_array().expect("rows").clone();
            assert_same(&served, &truth(&pg, table).await, &format!("{whence} {table}"));
            touch(&pg, &service, table).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lazy_rows_of_every_type_are_what_to_jsonb_says() {
    let (pg, tables) = zoo().await;
    let service = service(&pg, &tables, RowMode::Lazy).await;
    for table in &tables {
        let truth = truth(&pg, table).await;
        let ids: Vec<String> = truth.keys().map(i64::to_string).collect();
        let path = format!("/v1/tables/zoo.{table}/rows?ids={}", ids.join(","));
        for whence in ["loaded", "streamed"] {
            let reply = service.fetch(&path).await;
            assert_eq!(reply.status, 200, "{table}: {:?}", reply.body);
            let served = reply.body["rows"].as_array().expect("rows").clone();
            assert_same(&served, &truth, &format!("{whence} {table}"));
            let kept = !["documents", "documents_arrays", STRANGERS].contains(&&**table);
            if whence == "streamed" && kept {
                assert_eq!(header(&reply, "x-cache"), "hit", "{table} came by the stream");
            }
            touch(&pg, &service, table).await;
        }
    }
}
