//! Rows with scopes: rows of other scopes are indistinguishable from absent ones.

use serde_json::{Value, json};

use super::orders;
use crate::support::{Highwater, TestPostgres};

fn ids(rows: &Value) -> Vec<i64> {
    let rows = rows.as_array().unwrap_or_else(|| panic!("{rows}"));
    rows.iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

/// Reads a path once everything committed before is applied.
async fn read(service: &Highwater, pg: &TestPostgres, path: &str) -> crate::support::HttpReply {
    let lsn: String = pg.value("SELECT pg_current_wal_insert_lsn()::text").await;
    let joint = if path.contains('?') { '&' } else { '?' };
    service.fetch(&format!("/v1/{path}{joint}at_least={lsn}")).await
}

#[tokio::test]
async fn a_row_of_another_scope_is_indistinguishable_from_an_absent_row() {
    for mode in ["lazy", "preload"] {
        let (pg, service) = orders(&[("tables.orders.rows", mode)]).await;
        let row = async |id: u32| {
            let path = format!("tables/orders/rows/{id}?where=owner_id:1");
            let reply = read(&service, &pg, &path).await;
            let mut body = reply.body;
            if let Some(body) = body.as_object_mut() {
                body.remove("request_id");
            }
            let varying = ["x-request-id", "highwater-version", "date"];
            let mut names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
            names.retain(|name| !varying.contains(&name.as_str()));
            (reply.status, body.to_string().replace(&id.to_string(), "N"), names)
        };
        assert_eq!(row(3).await.0, 200, "{mode}");
        for _ in 0..2 {
            assert_eq!(row(8).await, row(7777).await, "{mode}");
        }
        pg.execute("UPDATE orders SET owner_id = 2 WHERE id = 9").await;
        assert_eq!(row(9).await, row(7777).await, "{mode}");
        let some = read(&service, &pg, "tables/orders/rows?ids=9,6,77&where=owner_id:1").await;
        assert_eq!((ids(&some.body["rows"]), &some.body["missing"]), (vec![6], &json!([9, 77])));
    }
}

#[tokio::test]
async fn pages_and_whole_tables_contain_visible_rows_only() {
    let (pg, service) = orders(&[("tables.orders.rows", "preload")]).await;
    let first = read(&service, &pg, "tables/orders/rows?limit=2&where=owner_id:1").await;
    assert_eq!(ids(&first.body["rows"]), [3, 6]);
    let next = first.body["next"].as_str().expect("more rows");
    let path = format!("tables/orders/rows?limit=2&where=owner_id:1&cursor={next}");
    let last = read(&service, &pg, &path).await;
    assert_eq!((ids(&last.body["rows"]), last.body.get("next")), (vec![9], None));
    let store = read(&service, &pg, "store?where=owner_id:1,land:de").await;
    assert_eq!(ids(&store.body["orders"]), [3, 9]);
    pg.execute(
        "UPDATE orders SET owner_id = 1 WHERE id = 1; UPDATE orders SET big = '' WHERE id = 2",
    )
    .await;
    let moved = read(&service, &pg, "store?where=owner_id:1,land:de").await;
    assert_eq!(ids(&moved.body["orders"]), [1, 3, 9]);
    let tag = moved.headers["etag"].clone();
    pg.execute("UPDATE orders SET note = 'z' WHERE owner_id = 2").await;
    let still = read(&service, &pg, "store?where=owner_id:1,land:de").await;
    assert_eq!(still.headers["etag"], tag, "changes of other scopes do not change the tag");
    let nothing = read(&service, &pg, "store?where=owner_id:x").await;
    assert_eq!(nothing.body["orders"], json!([]));
}

#[tokio::test]
async fn changes_carry_rows_of_the_same_version_with_values_stored_out_of_line() {
    for mode in ["lazy", "preload"] {
        let (pg, service) = orders(&[("tables.orders.rows", mode)]).await;
        let start = service.version().await;
        pg.execute("UPDATE orders SET owner_id = 1 WHERE id IN (1, 2); UPDATE orders SET owner_id = 2 WHERE id = 6")
            .await;
        service.applied(&pg).await;
        let path = format!("/v1/changes?include=rows&tables=orders&where=owner_id:1&after={start}");
        let reply = service.fetch(&path).await;
        let changes = reply.body["changes"].as_array().expect("changes");
        let shown: Vec<Value> = changes
            .iter()
            .map(|c| {
                json!([
                    c["op"],
                    c["id"],
                    c["row"]["owner_id"],
                    c["row"]["big"].as_str().map(str::len)
                ])
            })
            .collect();
        let expected = [
            json!(["insert", 1, 1, 9000]),
            json!(["insert", 2, 1, 9000]),
            json!(["delete", 6, null, null]),
        ];
        assert_eq!(shown, expected, "{mode}");
    }
}
