//! Who may ask what: each route with each kind of token.

use super::*;
use crate::auth::{Access, AuthOptions, Granted, StaticToken, TokenHash, TokenVerifier};
use crate::change::Op::{Insert, Update};
use crate::http::api::routes::{Route, RouteAccess};
use crate::http::middleware::rate::RateLimit;

/// Reads `items` only.
const READER: &str = "reader-token";
/// Reads `users` only.
const OTHER: &str = "other-token";
/// Reads everything.
const ALL: &str = "all-token";
/// Asks what operators ask, and reads nothing.
const ADMIN: &str = "admin-token";

pub(super) fn guarded(options: HttpOptions) -> HttpOptions {
    let token = |token: &str, access, is_admin| StaticToken {
        name: token.to_owned(),
        hash: TokenHash::of(token),
        access,
        is_admin,
    };
    let only = |table: &str| Access::Tables(vec![Granted::whole(table)]);
    let rules = AuthOptions {
        tokens: vec![
            token(READER, only("public.items"), false),
            token(OTHER, only("users"), false),
            token(ALL, Access::Everything, false),
            token(ADMIN, Access::nothing(), true),
        ],
        jwt: None,
    };
    HttpOptions { authority: Some(TokenVerifier::new(rules).unwrap()), ..options }
}

fn service() -> TestService {
    TestService::with_options(&guarded(HttpOptions::default()))
}

impl TestService {
    /// `GET path` with a token; without one if it is empty.
    pub(super) async fn get_as(&self, token: &str, path: &str) -> TestReply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let headers = if token.is_empty() { &[][..] } else { &headers[..] };
        self.client.send(Method::GET, path, headers).await
    }
}

/// A path of each route, about `items` where it names a table.
fn path(route: Route) -> &'static str {
    match route {
        Route::TableChanges => "/v1/tables/items/changes",
        Route::Row => "/v1/tables/items/rows/1",
        Route::Rows => "/v1/tables/items/rows?ids=1",
        Route::Changes => "/v1/changes?tables=items",
        Route::Stream => "/v1/stream?tables=items&after=x",
        Route::Store => "/v1/store?tables=items",
        Route::Reload => "/admin/reload?table=items",
        Route::Verify => "/admin/verify?table=items",
        Route::Unmatched => "/v1/nothing",
        plain => plain.pattern(),
    }
}

#[tokio::test]
async fn every_route_asks_for_the_token_of_its_audience() {
    let service = service();
    for route in [&Route::API[..], &Route::ADMIN, &[Route::Unmatched]].concat() {
        let posts = [Route::Reload, Route::Verify].contains(&route);
        let method = if posts { Method::POST } else { Method::GET };
        let ask = async |token: &str| {
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str())];
            let headers = if token.is_empty() { &[][..] } else { &headers[..] };
            service.client.send(method.clone(), path(route), headers).await.status.as_u16()
        };
        // What the handler itself says to who may ask: not 401, 403 or "no such table".
        let answered = match route {
            Route::Row | Route::Rows | Route::Store => 409,
            Route::Socket => 426,
            Route::Stream => 400,
            Route::Reload => 202,
            Route::Unmatched => 404,
            _ => 200,
        };
        let elsewhere = match route {
            Route::Socket | Route::Stream => answered,
            _ => 404,
        };
        let (nobody, reader, other, admin) = match route.audience() {
            RouteAccess::Everybody => (answered, answered, answered, answered),
            RouteAccess::Readers => (401, answered, elsewhere, elsewhere),
            RouteAccess::Admin => (401, 403, 403, answered),
        };
        assert_eq!(ask("").await, nobody, "{route:?} without a token");
        let bad = if nobody == 401 { 401 } else { answered };
        assert_eq!(ask("nobodys-token").await, bad, "{route:?} with a bad token");
        assert_eq!(ask(READER).await, reader, "{route:?} for a reader");
        assert_eq!(ask(OTHER).await, other, "{route:?} for a reader of another table");
        assert_eq!(ask(ADMIN).await, admin, "{route:?} for an operator");
        let head = service.client.send(Method::HEAD, path(route), &[]).await.status.as_u16();
        let expected = if nobody == 401 { 401 } else { answered };
        assert_eq!(head, expected, "{route:?} HEAD without a token");
    }
}

#[tokio::test]
async fn requests_are_counted_by_token_and_those_of_strangers_by_address() {
    let mut options = guarded(HttpOptions::default());
    options.server.rate_limit = Some(RateLimit { per_second: 1, burst: 2 });
    let service = TestService::with_options(&options);
    let ask = async |token| service.get_as(token, "/v1/changes?tables=items").await.status.as_u16();
    for (token, answered) in [(READER, 200), (ALL, 200), ("nobodys-token", 401)] {
        let told = [ask(token).await, ask(token).await, ask(token).await];
        assert_eq!(told, [answered, answered, 429], "{token}");
    }
    assert_eq!(ask("another-guess").await, 429, "a new token is no new bucket");
}

#[tokio::test]
async fn a_table_that_may_not_be_read_is_not_there() {
    let mut service = service();
    service.commit(808, &[(ITEMS, 1, Insert), (USERS, 2, Insert)]);
    let begin = service.get_as(READER, "/v1/changes").await.json();
    assert_eq!(begin["reset"], serde_json::json!(["items"]));
    let after = format!("/v1/changes?after={}", version(START));
    assert_eq!(service.get_as(READER, &after).await.told(), "items 1 insert");
    assert_eq!(service.get_as(OTHER, &after).await.told(), "users 2 insert");
    assert_eq!(service.get_as(ALL, &after).await.told(), "items 1 insert, users 2 insert");
    assert_eq!(service.get_as(ADMIN, &after).await.told(), "");
    for spelling in ["users", "public.users", "%22users%22", "%75sers", "nothing"] {
        let refused = service.get_as(READER, &format!("/v1/changes?tables={spelling}")).await;
        let problem = refused.problem(404);
        assert!(problem.ends_with("the published tables are items"), "{problem}");
        let path = format!("/v1/tables/{spelling}/changes");
        service.get_as(READER, &path).await.problem(404);
        service.get_as(READER, &format!("/v1/changes?tables=items,{spelling}")).await.problem(404);
    }
    let nothing = service.get_as(ADMIN, "/v1/changes?tables=items").await.problem(404);
    assert!(nothing.ends_with("the publication has no tables"), "{nothing}");
}

#[tokio::test]
async fn another_spelling_of_a_path_is_no_way_around() {
    let mut service = service();
    service.commit(808, &[(ITEMS, 1, Update)]);
    for spelling in [
        "//v1/changes",
        "/v1//changes",
        "/%761/changes",
        "/v1/%63hanges",
        "/v1/changes/",
        "/V1/changes",
        "/v1/Changes",
        "/v1/./changes",
        "/x/../v1/changes",
        "/v1/changes;x",
        "/v1/status/",
        "/v1%2fstatus",
        "//metrics",
    ] {
        for token in ["", READER] {
            let reply = service.get_as(token, spelling).await;
            assert!([401, 404].contains(&reply.status.as_u16()), "{spelling}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_held_poll_is_not_woken_by_a_table_that_may_not_be_read() {
    let mut service = service();
    let path = format!("/v1/changes?wait=30s&after={}", version(START));
    let client = service.client.clone();
    let poll = async {
        let headers = [("authorization", "Bearer other-token")];
        client.send(Method::GET, &path, &headers).await
    };
    let mut poll = std::pin::pin!(poll);
    tokio::select! {
        biased;
        reply = poll.as_mut() => panic!("{reply:?}"),
        () = service.client.held(1) => {}
    }
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let unheard = tokio::time::timeout(Duration::from_millis(100), poll.as_mut()).await;
    assert!(unheard.is_err(), "{unheard:?}");
    service.commit(816, &[(USERS, 7, Insert)]);
    assert_eq!(poll.await.told(), "users 7 insert");
}

#[tokio::test]
async fn refusals_say_what_to_bring_and_nothing_else() {
    let service = service();
    let missing = service.get_as("", "/v1/changes").await;
    assert!(missing.problem(401).contains("Authorization: Bearer TOKEN"));
    assert_eq!(missing.header("www-authenticate"), r#"Bearer realm="highwater""#);
    let refused = service.get_as("x", "/v1/changes").await;
    let long = service.get_as(&"x".repeat(20_000), "/v1/changes").await;
    assert_eq!(refused.problem(401), long.problem(401));
    assert_eq!(
        refused.header("www-authenticate"),
        r#"Bearer realm="highwater", error="invalid_token""#
    );
    let reader = service.get_as(READER, "/metrics").await;
    assert!(reader.problem(403).contains("for operators"));
    assert!(reader.header("www-authenticate").contains("insufficient_scope"));
    for reply in [missing, refused, reader] {
        assert_eq!(
            reply.header("highwater-version"),
            "",
            "how far it has applied is no stranger's"
        );
    }
    assert_eq!(service.get_as("", "/v1/nothing").await.header("highwater-version"), "");
}

#[tokio::test]
async fn answers_to_bearers_are_kept_for_themselves() {
    let service = service();
    let reply = service.get_as(READER, &format!("/v1/changes?after={}", version(START))).await;
    assert_eq!(reply.header("cache-control"), "private, no-cache");
    let vary: Vec<_> = reply.headers.get_all("vary").iter().collect();
    assert!(vary.iter().any(|vary| *vary == "authorization"), "{vary:?}");
    let reset = service.get_as(READER, "/v1/changes").await;
    assert_eq!(reset.header("cache-control"), "no-store");
    let open = TestService::start().get("/v1/changes").await;
    assert!(!open.headers.get_all("vary").iter().any(|vary| *vary == "authorization"));
}

#[tokio::test]
async fn a_preflight_needs_no_token() {
    let origins = vec!["https://app.example".parse().unwrap()];
    let options = HttpOptions { cors_origins: origins, ..HttpOptions::default() };
    let service = TestService::with_options(&guarded(options));
    let origin = ("origin", "https://app.example");
    let wanted = [
        origin,
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = service.client.send(Method::OPTIONS, "/v1/changes", &wanted).await;
    assert!(preflight.status.is_success());
    assert!(preflight.header("access-control-allow-headers").contains("authorization"));
    let refused = service.client.send(Method::GET, "/v1/changes", &[origin]).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), origin.1);
}

#[tokio::test]
async fn a_listener_of_operators_own_asks_only_when_told_to() {
    for (open, expected) in [(true, 200), (false, 401)] {
        let options = HttpOptions { admin_apart: true, admin_open: open, ..HttpOptions::default() };
        let service = TestService::with_options(&guarded(options));
        let reply = ask(&service.client.admin, Method::GET, "/v1/status", &[]).await;
        assert_eq!(reply.status, expected);
        let headers = [("authorization", "Bearer admin-token")];
        let reply = ask(&service.client.admin, Method::GET, "/v1/status", &headers).await;
        assert_eq!(reply.status, 200);
    }
}

#[tokio::test]
async fn strangers_learn_that_it_is_not_ready_but_not_why() {
    let service = TestService::connecting(&guarded(HttpOptions::default()));
    let why = "connection to db.internal refused";
    service.source.send_modify(|source| source.phase = Phase::Disconnected(why.into()));
    for (token, path) in [("", "/readyz"), (READER, "/readyz"), (READER, "/v1/changes")] {
        let problem = service.get_as(token, path).await.problem(503);
        assert!(!problem.contains("db.internal"), "{problem}");
    }
    assert!(service.get_as(ADMIN, "/readyz").await.problem(503).contains("db.internal"));
}

#[tokio::test]
async fn a_tag_of_ones_answer_is_no_tag_of_anothers() {
    let mut service = service();
    service.commit(808, &[(ITEMS, 1, Insert), (USERS, 2, Insert)]);
    let path = format!("/v1/changes?after={}", version(START));
    let tag = service.get_as(READER, &path).await.header("etag").to_owned();
    assert!(tag.starts_with(&format!("\"{}-", version(808))), "{tag}");
    let all = service.get_as(ALL, &path).await.header("etag").to_owned();
    assert_eq!(all, format!("\"{}\"", version(808)));
    for (token, expected) in [(READER, 304), (OTHER, 200), (ALL, 200)] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("if-none-match", tag.as_str())];
        let reply = service.client.send(Method::GET, &path, &headers).await;
        assert_eq!(reply.status, expected, "{token}");
    }
}

#[tokio::test]
async fn the_document_says_which_routes_need_a_token() {
    let document = service().get_as("", "/openapi.json").await.json();
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    for route in [&Route::API[..], &Route::ADMIN].concat() {
        let operations = document["paths"][route.pattern()].as_object().unwrap();
        for operation in operations.values() {
            let answers = &operation["responses"];
            let expected = route.audience() != RouteAccess::Everybody;
            assert_eq!(answers["401"].is_object(), expected, "{route:?}");
            assert_eq!(operation["security"][0]["bearer"].is_array(), expected, "{route:?}");
            if route.audience() == RouteAccess::Admin {
                assert!(answers["403"].is_object(), "{route:?}");
            }
        }
    }
}
