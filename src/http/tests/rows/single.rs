use super::*;

#[tokio::test]
async fn a_row_is_its_document_with_a_tag_and_a_version() {
    let mut shop = Shop::open().await;
    shop.set(808, &[(ITEMS, &named(7, "tea"))]);
    let reply = shop.get("/v1/tables/items/rows/7").await;
    assert_eq!(reply.json(), serde_json::json!({"id": 7, "name": "tea"}));
    assert_eq!(reply.body, named(7, "tea"));
    assert_eq!(reply.header("highwater-version"), version(808));
    assert_eq!((reply.header("x-cache"), reply.header("age")), ("hit", ""));
    assert_eq!(
        (reply.header("cache-control"), reply.header("vary")),
        ("no-cache", "accept-encoding")
    );
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    let spelled = shop.get("/v1/tables/%22public%22.items/rows/%30%37").await;
    assert_eq!(spelled.header("etag"), reply.header("etag"));
    assert_eq!(shop.counted("items", "hit"), 2);
}

#[tokio::test]
async fn the_tag_of_a_row_is_a_hash_of_its_content() {
    let mut shop = Shop::with_rows(&[(ITEMS, &named(7, "tea")), (ITEMS, &named(8, "tea"))]).await;
    let path = "/v1/tables/items/rows/7";
    let etag = shop.get(path).await.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.len() > 10, "{etag}");
    shop.set(808, &[(ITEMS, &named(8, "coffee"))]);
    let reply = shop.get_if_none_match(path, &etag).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0));
    assert_eq!((reply.header("etag"), reply.header("x-cache")), (etag.as_str(), "hit"));
    assert_eq!(reply.header("highwater-version"), version(808));
    shop.set(816, &[(ITEMS, &named(7, "coffee"))]);
    let reply = shop.get_if_none_match(path, &etag).await;
    assert_eq!(reply.json()["name"], "coffee");
    shop.set(824, &[(ITEMS, &named(7, "tea"))]);
    assert_eq!(shop.get_if_none_match(path, &etag).await.status, 304, "it is the same again");
}

#[tokio::test]
async fn a_lazy_row_is_a_miss_and_then_an_up_to_date_hit() {
    let mut shop = Shop::with_rows(&[(USERS, &named(1, "Ann"))]).await;
    let path = "/v1/tables/users/rows/1";
    assert_eq!(shop.get(path).await.header("x-cache"), "miss");
    assert_eq!(shop.get(path).await.header("x-cache"), "hit");
    shop.set(808, &[(USERS, &named(1, "Bea"))]);
    let reply = shop.get(path).await;
    assert_eq!((reply.header("x-cache"), reply.body.as_ref()), ("hit", named(1, "Bea").as_bytes()));
    shop.delete(816, USERS, Key::integer(1));
    shop.get(path).await.problem(404);
    assert_eq!((shop.counted("users", "miss"), shop.counted("users", "hit")), (1, 3));
}

#[tokio::test]
async fn a_missing_row_is_a_problem_with_a_version_and_is_not_stored() {
    let mut shop = Shop::open().await;
    shop.set(808, &[(ITEMS, &named(7, "tea"))]);
    shop.delete(816, ITEMS, Key::integer(7));
    for path in ["/v1/tables/items/rows/7", "/v1/tables/users/rows/7"] {
        let reply = shop.get(path).await;
        assert!(reply.problem(404).ends_with("has no row with the id 7"));
        assert_eq!(reply.header("highwater-version"), version(816));
    }
}

#[tokio::test]
async fn a_key_of_several_columns_is_joined_with_commas() {
    let row = r#"{"o":43,"p":"a,b/c","n":1}"#;
    let shop = Shop::with_rows(&[(LINES, row)]).await;
    assert_eq!(shop.get("/v1/tables/lines/rows/43,a%2Cb%2Fc").await.body, row);
    let wrong = shop.get("/v1/tables/lines/rows/43").await;
    assert!(wrong.problem(400).contains("the key has 2: o, p"));
    assert!(shop.get("/v1/tables/lines/rows/x,y").await.problem(400).contains("not an integer"));
}

#[tokio::test]
async fn stale_rows_carry_their_age() {
    let shop = Shop::with_rows(&[(ITEMS, &named(7, "tea"))]).await;
    shop.service.source.send_modify(|source| {
        source.phase = Phase::Disconnected("gone".into());
        source.last_message = std::time::Instant::now().checked_sub(Duration::from_secs(90));
    });
    let reply = shop.get("/v1/tables/items/rows/7").await;
    assert_eq!((reply.status.as_u16(), reply.header("x-cache")), (200, "stale"));
    assert_eq!(reply.header("age"), "90");
    let reply = shop.get("/v1/store").await;
    assert_eq!((reply.header("x-cache"), reply.header("age")), ("stale", "90"));
    assert_eq!(shop.counted("items", "stale"), 2);
}

#[tokio::test]
async fn a_problem_says_why_rows_are_unavailable() {
    let shop = Shop::open().await;
    let off = shop.get("/v1/tables/shop.a%2Cb/rows/7").await;
    assert!(off.problem(409).contains("rows = \"lazy\" or \"preload\""));
    shop.get("/v1/tables/nope/rows/7").await.problem(404);
    shop.get("/v1/tables/items/rows/7?limit=1").await.problem(400);
    shop.database.go_away();
    let reply = shop.get("/v1/tables/users/rows/7?wait=0").await;
    reply.problem(503);
    assert_eq!(reply.header("retry-after"), "1");
}

#[tokio::test]
async fn rows_get_503_until_the_service_was_ready_once() {
    let shop = Shop::open().await;
    let connecting = TestService::connecting(&HttpOptions::default());
    for path in ["/v1/tables/items/rows/7", "/v1/tables/items/rows", "/v1/store"] {
        assert!(connecting.get(path).await.problem(503).contains("first time"), "{path}");
    }
    shop.service.source.send_modify(|source| source.phase = Phase::CatchingUp);
    shop.get("/v1/tables/items/rows").await.json();
}

#[tokio::test]
async fn readiness_waits_for_preloads_and_polls_do_not() {
    let mut shop = Shop::before_preloads(&[]);
    let detail = shop.get("/readyz").await.problem(503);
    assert!(detail.starts_with("preloading items (0 of about"), "{detail}");
    shop.get("/v1/changes").await.json();
    shop.get("/v1/tables/items/rows?wait=0").await.problem(503);
    shop.preload().await;
    shop.get("/readyz").await.json();
}

#[tokio::test]
async fn status_reports_cached_rows() {
    let shop = Shop::with_rows(&[(ITEMS, &named(7, "tea"))]).await;
    let status = shop.get("/v1/status").await.json();
    let tables = status["tables"].as_array().unwrap();
    let reported: Vec<_> = tables
        .iter()
        .map(|t| format!("{} {} {}", t["table"], t["rows"]["mode"], t["rows"]["state"]))
        .collect();
    assert_eq!(
        reported,
        [
            r#""items" "preload" "complete""#,
            r#""lines" "preload" "complete""#,
            r#""shop.\"a,b\"" "off" "off""#,
            r#""users" "lazy" "lazy""#,
        ]
    );
    assert_eq!(tables[0]["rows"]["entries"], 1);
    assert!(tables[0]["rows"]["bytes"].as_u64().unwrap() > 0);
}
