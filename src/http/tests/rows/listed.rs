use super::*;

#[tokio::test]
async fn rows_by_id_keep_the_requested_order_and_list_missing_ids() {
    let mut shop = Shop::open().await;
    shop.set(808, &[(ITEMS, &named(1, "a")), (ITEMS, &named(2, "b"))]);
    let reply = shop.get("/v1/tables/items/rows?ids=2,3,1,2,4").await;
    let expected = serde_json::json!({
        "version": version(808),
        "rows": [{"id": 2, "name": "b"}, {"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "missing": [3, 4],
    });
    assert_eq!(reply.json(), expected);
    assert_eq!(reply.header("highwater-version"), version(808));
    assert_eq!(reply.header("x-cache"), "hit");
    let none = shop.get("/v1/tables/items/rows?ids=9").await.json();
    assert_eq!((&none["rows"], &none["missing"]), (&Value::Array(vec![]), &vec![9].into()));
}

#[tokio::test]
async fn ids_of_several_columns_take_several_values() {
    let rows = [r#"{"o":1,"p":"x"}"#, r#"{"o":1,"p":"y,z"}"#];
    let shop = Shop::with_rows(&[(LINES, rows[0]), (LINES, rows[1])]).await;
    // Encoded once for the id and once for the query, as libraries do.
    let reply = shop.get("/v1/tables/lines/rows?ids=1%2Cy%252Cz%2C2%2Cx").await.json();
    assert_eq!(reply["rows"], serde_json::json!([{"o": 1, "p": "y,z"}]));
    assert_eq!(reply["missing"], serde_json::json!([[2, "x"]]));
    assert!(shop.get("/v1/tables/lines/rows?ids=1,x,2").await.problem(400).contains("o, p"));
}

#[tokio::test]
async fn lazy_rows_are_read_by_id_but_not_paged() {
    let shop = Shop::with_rows(&[(USERS, &named(1, "Ann"))]).await;
    let path = "/v1/tables/users/rows?ids=1,2";
    let reply = shop.get(path).await;
    assert_eq!((reply.header("x-cache"), &reply.json()["missing"]), ("miss", &vec![2].into()));
    assert_eq!(shop.get(path).await.header("x-cache"), "hit");
    let paged = shop.get("/v1/tables/users/rows").await;
    assert!(paged.problem(409).contains("rows = \"preload\""));
}

#[tokio::test]
async fn the_tag_of_rows_by_id_covers_missing_ids() {
    let mut shop = Shop::with_rows(&[(ITEMS, &named(1, "a"))]).await;
    let path = "/v1/tables/items/rows?ids=1,2";
    let etag = shop.get(path).await.header("etag").to_owned();
    shop.set(808, &[(ITEMS, &named(3, "c"))]);
    assert_eq!(shop.get_if_none_match(path, &etag).await.status, 304);
    shop.set(816, &[(ITEMS, &named(2, "b"))]);
    assert_eq!(shop.get_if_none_match(path, &etag).await.status, 200);
}

#[tokio::test]
async fn pages_cover_all_rows_in_key_order() {
    let rows: Vec<String> = (1..=25).rev().map(|id| named(id, "x")).collect();
    let rows: Vec<_> = rows.iter().map(|row| (ITEMS, row.as_str())).collect();
    let shop = Shop::with_rows(&rows).await;
    let (mut path, mut sizes, mut ids) = (String::new(), vec![], vec![]);
    loop {
        let page = shop.get(&format!("/v1/tables/items/rows?limit=10{path}")).await.json();
        let rows = page["rows"].as_array().unwrap();
        sizes.push(rows.len());
        ids.extend(rows.iter().map(|row| row["id"].as_i64().unwrap()));
        let Some(next) = page.get("next") else { break };
        path = format!("&cursor={}", next.as_str().unwrap());
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(ids, (1..=25).collect::<Vec<_>>());
    let all = shop.get("/v1/tables/items/rows").await.json();
    assert_eq!(all["rows"].as_array().unwrap().len(), 25);
    assert_eq!(all.get("next"), None);
}

#[tokio::test]
async fn a_page_is_a_304_until_its_table_changes() {
    let mut shop = Shop::with_rows(&[(ITEMS, &named(1, "a"))]).await;
    let path = "/v1/tables/items/rows";
    let reply = shop.get(path).await;
    assert_eq!(reply.header("cache-control"), "no-cache");
    let etag = reply.header("etag").to_owned();
    shop.set(808, &[(USERS, &named(1, "Ann"))]);
    assert_eq!(shop.get_if_none_match(path, &etag).await.status, 304);
    shop.set(816, &[(ITEMS, &named(1, "b"))]);
    let reply = shop.get_if_none_match(path, &etag).await;
    assert_eq!(reply.header("etag"), format!("\"{}\"", version(816)));
    assert_eq!(reply.json()["rows"][0]["name"], "b");
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let shop = Shop::open().await;
    for (query, says) in [
        ("ids=1&limit=5", "leave one or the other out"),
        ("ids=1&cursor=MQ", "leave one or the other out"),
        ("ids=", "not an integer"),
        ("ids=1,,2", "not an integer"),
        ("cursor=%21", "`next` of the previous page"),
        ("cursor=WzFd", "`next` of the previous page"),
        ("limit=0", "1 to 10000"),
        ("wait=61s", "at most 60s"),
        ("at_least=7", "neither a version nor an LSN"),
        ("after=7", "there is no parameter `after`"),
    ] {
        let reply = shop.get(&format!("/v1/tables/items/rows?{query}")).await;
        assert!(reply.problem(400).contains(says), "{query}: {reply:?}");
    }
    let many = vec!["1"; 1_001].join(",");
    let reply = shop.get(&format!("/v1/tables/items/rows?ids={many}")).await;
    assert!(reply.problem(400).contains("at most 1000"));
    shop.get("/v1/tables/shop.a%2Cb/rows?ids=1").await.problem(409);
}
