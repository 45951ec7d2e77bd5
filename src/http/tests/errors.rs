use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn invalid_parameters_are_rejected() {
    let service = TestService::start();
    for (query, says) in [
        ("limit=0", "1 to 10000"),
        ("limit=10001", "1 to 10000"),
        ("wait=61s", "at most 60s"),
        ("wait=soon", "duration"),
        ("after=7", "not a version"),
        ("after=", "not a version"),
        ("detail=1", "`true` or `false`"),
        ("include=columns", "`include` must be one of `rows`"),
        ("where=owner_id:5", "is not a scope column"),
        ("tabels=items", "`tables`"),
        ("limit=1&limit=2", "given twice"),
        ("tables=%C3%28", "not UTF-8"),
        ("tables=,", "empty name"),
    ] {
        let reply = service.get(&format!("/v1/changes?{query}")).await;
        assert!(reply.problem(400).contains(says), "{query}: {reply:?}");
        assert_eq!(reply.header("highwater-version"), version(START));
    }
}

#[tokio::test]
async fn an_unknown_table_lists_the_known_ones() {
    let service = TestService::start();
    for path in ["/v1/changes?tables=items,nope", "/v1/tables/nope/changes"] {
        let reply = service.get(path).await;
        let detail = reply.problem(404);
        assert!(detail.contains("\"nope\""), "{detail}");
        assert!(detail.contains("items, shop.\"a,b\", users"), "{detail}");
    }
}

#[tokio::test]
async fn a_table_name_that_is_not_utf8_is_rejected() {
    let service = TestService::start();
    assert!(service.get("/v1/tables/%ff/changes").await.problem(400).contains("not UTF-8"));
}

#[tokio::test]
async fn unknown_paths_are_problems_with_a_version_under_v1() {
    let service = TestService::start();
    for path in
        ["/nowhere", "/v1", "/v1/", "/v1/change", "/v1/changes/", "/v1//changes", "/v1/tables/a"]
    {
        let reply = service.get(path).await;
        reply.problem(404);
        let versioned = path.starts_with("/v1");
        assert_eq!(reply.headers.contains_key("highwater-version"), versioned, "{path}");
    }
}

#[tokio::test]
async fn other_methods_get_405_with_the_allowed_ones() {
    let service = TestService::start();
    for path in ["/v1/changes", "/v1/tables/items/changes", "/livez", "/metrics"] {
        let reply = service.client.send(Method::POST, path, &[]).await;
        assert!(reply.problem(405).contains("POST"));
        assert_eq!(reply.header("allow"), "GET, HEAD, OPTIONS");
    }
}

#[tokio::test]
async fn polls_get_503_until_the_service_was_ready_once() {
    let mut service = TestService::connecting(&HttpOptions::default());
    let reply = service.get("/v1/changes").await;
    assert!(reply.problem(503).contains("connecting for the first time"));
    assert_ne!(reply.header("retry-after"), "");
    assert_eq!(reply.header("highwater-version"), "");
    service.begin(EPOCH, START);
    service.source.send_modify(|source| source.phase = Phase::CatchingUp);
    assert!(service.get("/v1/changes").await.problem(503).contains("catching up"));
    service.source.send_modify(|source| source.was_ready = true);
    assert_eq!(service.get("/v1/changes").await.status, 200);
    service.source.send_modify(|source| source.phase = Phase::Disconnected("gone".into()));
    assert_eq!(service.get("/v1/changes").await.status, 200, "what is in memory remains true");
}

#[tokio::test]
async fn a_malformed_request_is_a_400_also_before_readiness() {
    let service = TestService::connecting(&HttpOptions::default());
    service.get("/v1/changes?limit=x").await.problem(400);
}

fn any_query() -> impl Strategy<Value = String> {
    let name = "(tables|after|limit|detail|include|where|tab|[a-z%+]{0,6})";
    let value = prop_oneof![
        "[-+a-z0-9.,%\"]{0,30}".boxed(),
        "(items|users|%22|,|\\.|public){0,5}".boxed(),
        "[0-9a-f]{8}-[0-9a-f]{16}(\\.[0-9a-f]{8})?".boxed(),
        "000000ab-00000000000003[0-9a-f]{2}(\\.[0-9a-f]{8})?".boxed(),
        "[0-9]{1,6}".boxed(),
        "(true|false|rows)".boxed(),
    ];
    let pair = (name, value).prop_map(|(name, value)| format!("{name}={value}"));
    proptest::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&"))
}

#[test]
fn no_query_is_an_internal_error() {
    let options =
        HttpOptions { ahead_wait_max: Duration::from_millis(1), ..HttpOptions::default() };
    let mut service = TestService::with_options(&options);
    service.commit(808, &[(ITEMS, 1, Op::Insert), (USERS, 2, Op::Update)]);
    service.truncate(816, USERS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    proptest!(|(query in any_query(), table in "(items|users|%[0-9a-f]{2}|[a-z\".,]{1,4})")| {
        for path in [format!("/v1/changes?{query}"), format!("/v1/tables/{table}/changes?{query}")] {
            let Ok(uri) = path.parse::<axum::http::Uri>() else { continue };
            let reply = runtime.block_on(service.get(&uri.to_string()));
            prop_assert!(matches!(reply.status.as_u16(), 200 | 400 | 404 | 409), "{path}: {reply:?}");
        }
    });
}
