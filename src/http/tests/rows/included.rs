use super::*;

/// Each change with its row, in short.
fn changes(reply: &TestReply) -> Vec<String> {
    let answer = reply.json();
    let change = |change: &Value| {
        let row = change.get("row").map_or("-".to_owned(), ToString::to_string);
        format!("{} {} {row}", change["table"].as_str().unwrap(), change["op"].as_str().unwrap())
    };
    answer["changes"].as_array().unwrap().iter().map(change).collect()
}

async fn changed() -> Shop {
    let mut shop = Shop::with_rows(&[(USERS, &named(3, "Ann"))]).await;
    shop.set(808, &[(ITEMS, &named(1, "a")), (ITEMS, &named(2, "b"))]);
    shop.set(816, &[(USERS, &named(3, "Bea"))]);
    shop.delete(824, ITEMS, Key::integer(2));
    shop.service.commit(832, &[(COMMA, 9, Op::Update)]);
    shop
}

#[tokio::test]
async fn inserts_and_updates_carry_their_cached_row() {
    let shop = changed().await;
    let reply = shop.get(&format!("/v1/changes?include=rows&after={}", version(START))).await;
    assert_eq!(
        changes(&reply),
        [
            format!("items insert {}", named(1, "a")),
            format!("users update {}", named(3, "Bea")),
            "items delete -".to_owned(),
            r#"shop."a,b" update -"#.to_owned(),
        ]
    );
    assert_eq!(reply.version(), version(832));
    let plain = shop.get(&format!("/v1/changes?after={}", version(START))).await;
    assert!(!std::str::from_utf8(&plain.body).unwrap().contains("row"));
}

#[tokio::test]
async fn rows_and_details_go_together_and_so_do_tags() {
    let shop = changed().await;
    let after = version(808);
    let path = format!("/v1/tables/users/changes?include=rows&detail=true&after={after}");
    let reply = shop.get(&path).await;
    let change = &reply.json()["changes"][0];
    assert_eq!((&change["row"]["name"], change["at"].is_string()), (&"Bea".into(), true));
    let etag = reply.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", version(816)));
    assert_eq!(shop.get_if_none_match(&path, &etag).await.status, 304);
}

#[tokio::test]
async fn a_held_poll_is_answered_with_the_row() {
    let mut shop = Shop::open().await;
    let client = shop.service.client.clone();
    let path = format!("/v1/tables/items/changes?include=rows&wait=30s&after={}", version(START));
    let (reply, ()) = tokio::join!(client.get(&path), async {
        client.held(1).await;
        shop.set(808, &[(ITEMS, &named(1, "a"))]);
    });
    assert_eq!(changes(&reply), [format!("items insert {}", named(1, "a"))]);
}

#[tokio::test]
async fn a_named_table_must_have_cached_rows() {
    let shop = changed().await;
    for path in [
        "/v1/changes?include=rows&tables=items,shop.%22a,b%22",
        "/v1/tables/shop.a%2Cb/changes?include=rows",
    ] {
        assert!(shop.get(path).await.problem(409).contains("not cached"), "{path}");
    }
    shop.get("/v1/changes?include=row").await.problem(400);
    shop.get("/v1/tables/items/changes?include=rows").await.json();
}

#[tokio::test]
async fn a_response_with_many_rows_is_complete() {
    let mut shop = Shop::open().await;
    let rows: Vec<String> = (1..=3_000).map(|id| named(id, "something rather long")).collect();
    let rows: Vec<_> = rows.iter().map(|row| (ITEMS, row.as_str())).collect();
    shop.set(808, &rows);
    let path = format!("/v1/changes?include=rows&limit=10000&after={}", version(START));
    assert_eq!(changes(&shop.get(&path).await).len(), 3_000);
}
