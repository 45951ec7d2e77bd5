use super::*;

async fn verify(shop: &Shop, query: &str) -> TestReply {
    let router = &shop.service.client.router;
    ask(router, Method::POST, &format!("/admin/verify?table={query}"), &[]).await
}

#[tokio::test]
async fn a_verification_reports_every_table() {
    let mut shop = Shop::with_rows(&[(ITEMS, r#"{"id":7}"#), (USERS, &named(1, "Ann"))]).await;
    shop.get("/v1/tables/users/rows/1").await.json();
    shop.set(808, &[(ITEMS, r#"{"id":9}"#)]);
    let reply = verify(&shop, "all").await;
    assert_eq!(reply.header("cache-control"), "no-store");
    let report = reply.json();
    let rows = |name: &str| {
        let tables = report["tables"].as_array().unwrap();
        tables.iter().find(|table| table["table"] == name).map(|table| table["rows"].clone())
    };
    assert_eq!((rows("items"), rows("users")), (Some(2.into()), Some(1.into())), "{report}");
    assert_eq!(rows("shop.\"a,b\""), None, "no cached rows");
    assert_eq!(report["violations"], 0);
    let report = verify(&shop, "users").await.json();
    assert_eq!(report["tables"].as_array().unwrap().len(), 1);
    // A compressor reads to the end, and once more.
    let router = &shop.service.client.router;
    let path = "/admin/verify?table=all";
    let reply = ask(router, Method::POST, path, &[("accept-encoding", "gzip")]).await;
    assert!(reply.header("content-encoding") == "gzip" && !reply.body.is_empty());
}

#[tokio::test]
async fn a_row_older_than_the_stream_is_found() {
    let shop = Shop::with_rows(&[(ITEMS, r#"{"id":7}"#), (LINES, r#"{"o":1,"p":"a"}"#)]).await;
    let (items, lines) = (r#"{"id":7,"n":1}"#, r#"{"o":1,"p":"b"}"#);
    for (table, row) in [(ITEMS, items), (LINES, lines)] {
        shop.database.set(table, &key_of(table, row), Some(Row::new(row.as_bytes())));
    }
    let report = verify(&shop, "all").await.json();
    assert_eq!(report["violations"], 2, "{report}");
    let differences = |table: usize| report["tables"][table]["differences"].clone();
    let expected = r#"[{"difference":"its members are \"id\" in memory, \"id\", \"n\" in the database","id":7}]"#;
    assert_eq!(differences(0).to_string(), expected);
    let expected = r#"[{"difference":"it is in the database and not in memory","id":[1,"b"]}]"#;
    assert_eq!(differences(1).to_string(), expected);
}

#[tokio::test]
async fn one_verification_runs_at_a_time() {
    let mut shop = Shop::open().await;
    // No checker runs.
    shop.background.shutdown().await;
    let first = tokio::time::timeout(Duration::from_millis(50), verify(&shop, "all")).await;
    assert!(first.is_err(), "it waits for its turn");
    let directory = shop.service.client.store.directory();
    let waiting = shop.service.client.store.verify(directory.resources()).unwrap();
    assert!(verify(&shop, "items").await.problem(409).contains("another verification is running"));
    drop(waiting);
}
