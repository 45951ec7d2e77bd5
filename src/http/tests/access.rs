//! Authorization: every endpoint with every kind of token.

use super::*;
use crate::auth::{Access, AuthOptions, Granted, StaticToken, TokenHash, TokenVerifier};
use crate::change::Op::{Insert, Update};
use crate::http::api::endpoint::Endpoint;
use crate::http::api::endpoints;
use crate::http::api::routes::RouteAccess;
use crate::http::middleware::rate::RateLimit;

/// Reads `items` only.
const READER: &str = "reader-token";
/// Reads `users` only.
const OTHER: &str = "other-token";
/// Reads everything.
const ALL: &str = "all-token";
/// Calls admin endpoints, and reads no table.
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

/// A request path for each pattern, for `items` where it names a table.
fn path(pattern: &str) -> &str {
    match pattern {
        "/v1/tables/{table}/changes" => "/v1/tables/items/changes",
        "/v1/tables/{table}/rows/{id}" => "/v1/tables/items/rows/1",
        "/v1/tables/{table}/rows" => "/v1/tables/items/rows?ids=1",
        "/v1/changes" => "/v1/changes?tables=items",
        "/v1/stream" => "/v1/stream?tables=items&after=x",
        "/v1/store" => "/v1/store?tables=items",
        "/admin/reload" => "/admin/reload?table=items",
        "/admin/verify" => "/admin/verify?table=items",
        plain => plain,
    }
}

/// Patterns and access classes of everything that is described, and of a path without an endpoint.
fn routes() -> Vec<(String, RouteAccess)> {
    let endpoints = endpoints::api().into_iter().chain(endpoints::admin());
    let routes = endpoints.map(|Endpoint { pattern, route, .. }| (pattern, route.access));
    routes.chain([("/v1/nothing".to_owned(), RouteAccess::Public)]).collect()
}

#[tokio::test]
async fn every_endpoint_requires_the_token_of_its_access_class() {
    let service = service();
    for (route, access) in routes() {
        let path = path(&route);
        let method = if route.starts_with("/admin/") { Method::POST } else { Method::GET };
        let ask = async |token: &str| {
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str())];
            let headers = if token.is_empty() { &[][..] } else { &headers[..] };
            service.client.send(method.clone(), path, headers).await.status.as_u16()
        };
        // The handler's own response to an authorized caller: not 401, 403 or an unknown table.
        let answered = match route.as_str() {
            "/v1/tables/{table}/rows/{id}" | "/v1/tables/{table}/rows" | "/v1/store" => 409,
            "/v1/ws" => 426,
            "/v1/stream" => 400,
            "/admin/reload" => 202,
            "/v1/nothing" => 404,
            _ => 200,
        };
        let elsewhere = match route.as_str() {
            "/v1/ws" | "/v1/stream" => answered,
            _ => 404,
        };
        let (anonymous, reader, other, admin) = match access {
            RouteAccess::Public => (answered, answered, answered, answered),
            RouteAccess::Reader => (401, answered, elsewhere, elsewhere),
            RouteAccess::Admin => (401, 403, 403, answered),
        };
        assert_eq!(ask("").await, anonymous, "{route:?} without a token");
        let bad = if anonymous == 401 { 401 } else { answered };
        assert_eq!(ask("unknown-token").await, bad, "{route:?} with a bad token");
        assert_eq!(ask(READER).await, reader, "{route:?} for a reader");
        assert_eq!(ask(OTHER).await, other, "{route:?} for a reader of another table");
        assert_eq!(ask(ADMIN).await, admin, "{route:?} for an admin");
        let head = service.client.send(Method::HEAD, path, &[]).await.status.as_u16();
        let expected = if anonymous == 401 { 401 } else { answered };
        assert_eq!(head, expected, "{route:?} HEAD without a token");
    }
}

#[tokio::test]
async fn requests_are_limited_by_token_and_without_one_by_address() {
    let mut options = guarded(HttpOptions::default());
    options.server.rate_limit = Some(RateLimit { per_second: 1, burst: 2 });
    let service = TestService::with_options(&options);
    let ask = async |token| service.get_as(token, "/v1/changes?tables=items").await.status.as_u16();
    for (token, answered) in [(READER, 200), (ALL, 200), ("unknown-token", 401)] {
        let statuses = [ask(token).await, ask(token).await, ask(token).await];
        assert_eq!(statuses, [answered, answered, 429], "{token}");
    }
    assert_eq!(ask("another-guess").await, 429, "unknown tokens share the bucket of the address");
}

#[tokio::test]
async fn a_table_outside_the_grant_does_not_exist() {
    let mut service = service();
    service.commit(808, &[(ITEMS, 1, Insert), (USERS, 2, Insert)]);
    let begin = service.get_as(READER, "/v1/changes").await.json();
    assert_eq!(begin["reset"], serde_json::json!(["items"]));
    let after = format!("/v1/changes?after={}", version(START));
    assert_eq!(service.get_as(READER, &after).await.changes(), "items 1 insert");
    assert_eq!(service.get_as(OTHER, &after).await.changes(), "users 2 insert");
    assert_eq!(service.get_as(ALL, &after).await.changes(), "items 1 insert, users 2 insert");
    assert_eq!(service.get_as(ADMIN, &after).await.changes(), "");
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
async fn another_spelling_of_a_path_does_not_bypass_authorization() {
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
async fn a_held_poll_is_not_woken_by_a_table_outside_the_grant() {
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
    assert_eq!(poll.await.changes(), "users 7 insert");
}

#[tokio::test]
async fn rejections_carry_a_challenge_and_no_version() {
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
    assert!(reader.problem(403).contains("admin = true"));
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
async fn responses_to_tokens_are_private() {
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
async fn the_admin_listener_authenticates_only_if_configured() {
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
async fn anonymous_callers_get_no_reason_for_not_being_ready() {
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
async fn callers_with_other_grants_have_other_tags() {
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
async fn the_document_says_which_endpoints_need_a_token() {
    let document = service().get_as("", "/openapi.json").await.json();
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    for endpoint in endpoints::api().iter().chain(&endpoints::admin()) {
        let Endpoint { pattern, route, .. } = endpoint;
        let operations = document["paths"][pattern].as_object().unwrap();
        for operation in operations.values() {
            let responses = &operation["responses"];
            let expected = route.access != RouteAccess::Public;
            assert_eq!(responses["401"].is_object(), expected, "{pattern}");
            assert_eq!(operation["security"][0]["bearer"].is_array(), expected, "{pattern}");
            if route.access == RouteAccess::Admin {
                assert!(responses["403"].is_object(), "{pattern}");
            }
        }
    }
}
