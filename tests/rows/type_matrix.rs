//! Rows of every type equal `to_jsonb`, from the stream, from a load and from a copy.

use std::collections::BTreeMap;

use highwater::table::{RowMode, RowsConfig};
use serde_json::Value;

use super::header;

use crate::support::{Highwater, TestPostgres, config, is_same_json};

/// The table of the types that only the database can render; it can't be preloaded.
const DATABASE_RENDERED: &str = "database_rendered";

async fn type_matrix() -> (TestPostgres, Vec<String>) {
    let pg = TestPostgres::start().await;
    pg.execute(include_str!("../fixtures/type_matrix.sql")).await;
    let tables = pg
        .query("SELECT relname::text FROM pg_class WHERE relnamespace = 'type_matrix'::regnamespace AND relkind = 'r' ORDER BY 1")
        .await;
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    let qualified: Vec<String> =
        tables.iter().map(|table| format!("type_matrix.{table}")).collect();
    pg.execute(&format!("CREATE PUBLICATION highwater FOR TABLE {}", qualified.join(", "))).await;
    (pg, tables)
}

async fn service(pg: &TestPostgres, tables: &[String], mode: RowMode) -> Highwater {
    let mut config = config(pg, &[]);
    config.postgres.rows = tables
        .iter()
        .map(|table| RowsConfig { table: format!("type_matrix.{table}"), mode, columns: None })
        .collect();
    let service = Highwater::launch_as(&config).await;
    service.ready().await;
    service
}

/// The database's JSON of every row, by id.
async fn expected_rows(pg: &TestPostgres, table: &str) -> BTreeMap<i64, String> {
    pg.execute("SET TimeZone = 'UTC'").await;
    let rows = pg.query(&format!("SELECT id, to_jsonb(t)::text FROM type_matrix.{table} t")).await;
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn assert_same(served: &[Value], expected: &BTreeMap<i64, String>, source: &str) {
    assert_eq!(served.len(), expected.len(), "{source}");
    for row in served {
        let id = row["id"].as_i64().expect("an id");
        let row_expected = &expected[&id];
        assert!(
            is_same_json(&row.to_string(), row_expected),
            "{source} {id}:\n{row}\n{row_expected}"
        );
    }
}

/// Updates every row without changing it: the stream sends it completely except for large values.
async fn touch(pg: &TestPostgres, service: &Highwater, table: &str) {
    pg.execute(&format!("UPDATE type_matrix.{table} SET id = id")).await;
    service.applied(pg).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preloaded_rows_of_every_type_equal_to_jsonb() {
    let (pg, mut tables) = type_matrix().await;
    tables.retain(|table| table != DATABASE_RENDERED);
    let service = service(&pg, &tables, RowMode::Preload).await;
    for source in ["copied", "streamed"] {
        for table in &tables {
            let reply = service.fetch(&format!("/v1/store?tables=type_matrix.{table}")).await;
            assert_eq!(reply.status, 200, "{table}: {:?}", reply.body);
            let served =
                reply.body[format!("type_matrix.{table}")].as_array().expect("rows").clone();
            assert_same(&served, &expected_rows(&pg, table).await, &format!("{source} {table}"));
            touch(&pg, &service, table).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lazy_rows_of_every_type_equal_to_jsonb() {
    let (pg, tables) = type_matrix().await;
    let service = service(&pg, &tables, RowMode::Lazy).await;
    for table in &tables {
        let expected = expected_rows(&pg, table).await;
        let ids: Vec<String> = expected.keys().map(i64::to_string).collect();
        let path = format!("/v1/tables/type_matrix.{table}/rows?ids={}", ids.join(","));
        for source in ["loaded", "streamed"] {
            let reply = service.fetch(&path).await;
            assert_eq!(reply.status, 200, "{table}: {:?}", reply.body);
            let served = reply.body["rows"].as_array().expect("rows").clone();
            assert_same(&served, &expected, &format!("{source} {table}"));
            let kept = !["documents", "documents_arrays", DATABASE_RENDERED].contains(&&**table);
            if source == "streamed" && kept {
                assert_eq!(header(&reply, "x-cache"), "hit", "{table} is updated from the stream");
            }
            touch(&pg, &service, table).await;
        }
    }
}
