use std::io::Read as _;

use super::*;
use crate::change::Op::Insert;
use crate::http::AllowedOrigin;

#[tokio::test]
async fn a_request_id_is_echoed_or_generated() {
    let client = TestService::start().client;
    let reply = client.send(Method::GET, "/livez", &[("x-request-id", "mine-1")]).await;
    assert_eq!(reply.header("x-request-id"), "mine-1");
    let reply = client.send(Method::GET, "/nowhere", &[("x-request-id", "mine-2")]).await;
    reply.problem(404);
    assert_eq!(reply.header("x-request-id"), "mine-2");
    let reply = client.send(Method::GET, "/nowhere", &[("x-request-id", "a \"b\"")]).await;
    reply.problem(404);
    assert_eq!(reply.header("x-request-id").len(), 32);
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let client = TestService::start().client;
    let path = format!("/v1/changes?after={}", version(START));
    for path in [path.as_str(), "/livez", "/v1/changes?limit=x", "/nowhere"] {
        let get = client.get(path).await;
        let head = client.send(Method::HEAD, path, &[]).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty());
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        assert_eq!(head.header("etag"), get.header("etag"));
    }
}

#[tokio::test]
async fn options_lists_the_methods() {
    let client = TestService::start().client;
    let reply = client.send(Method::OPTIONS, "/v1/changes", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (204, "GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn pages_of_the_configured_origins_may_read() {
    let origins = vec!["https://app.example".parse::<AllowedOrigin>().unwrap()];
    let client =
        TestService::with_options(&HttpOptions { cors_origins: origins, ..HttpOptions::default() })
            .client;
    let asked = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "if-none-match"),
    ];
    let preflight = client.send(Method::OPTIONS, "/v1/changes", &asked).await;
    assert!(preflight.status.is_success());
    assert_eq!(preflight.header("access-control-allow-origin"), "https://app.example");
    assert!(preflight.header("access-control-allow-headers").contains("if-none-match"));
    assert!(preflight.header("access-control-allow-methods").contains("GET"));
    for path in ["/v1/changes", "/v1/changes?limit=x", "/nowhere"] {
        let reply = client.send(Method::GET, path, &asked).await;
        assert_eq!(reply.header("access-control-allow-origin"), "https://app.example", "{path}");
        assert!(reply.header("access-control-expose-headers").contains("highwater-version"));
        let vary: Vec<_> = reply.headers.get_all("vary").iter().collect();
        assert!(vary.iter().any(|v| v.to_str().unwrap().contains("origin")), "{vary:?}");
    }
    let other = [("origin", "https://evil.example")];
    let reply = client.send(Method::GET, "/v1/changes", &other).await;
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn pages_may_send_a_token_and_read_every_header() {
    let origins = vec!["https://app.example".parse::<AllowedOrigin>().unwrap()];
    let client =
        TestService::with_options(&HttpOptions { cors_origins: origins, ..HttpOptions::default() })
            .client;
    let asked = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization"),
    ];
    let preflight = client.send(Method::OPTIONS, "/v1/changes", &asked).await;
    let allowed = preflight.header("access-control-allow-headers").to_lowercase();
    for name in ["accept", "authorization", "if-none-match", "last-event-id", "x-request-id"] {
        assert!(allowed.split(',').any(|allowed| allowed.trim() == name), "{name}: {allowed}");
    }
    // A token is a header that the page sets itself: cookies and the like are of no use here.
    assert_eq!(preflight.header("access-control-allow-credentials"), "");
    assert_eq!(preflight.header("access-control-max-age"), "3600");
    let methods = preflight.header("access-control-allow-methods");
    assert!(!methods.contains("POST"), "{methods}");
    let reply = client.send(Method::GET, "/v1/changes", &asked).await;
    let exposed = reply.header("access-control-expose-headers").to_lowercase();
    for name in ["age", "etag", "highwater-version", "retry-after", "x-cache", "x-request-id"] {
        assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{name}: {exposed}");
    }
}

#[tokio::test]
async fn the_asterisk_allows_every_origin_and_the_default_none() {
    let asked = [("origin", "https://any.example")];
    let options = HttpOptions { cors_origins: vec![AllowedOrigin::Any], ..HttpOptions::default() };
    let reply =
        TestService::with_options(&options).client.send(Method::GET, "/v1/changes", &asked).await;
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    let reply = TestService::start().client.send(Method::GET, "/v1/changes", &asked).await;
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn large_responses_are_compressed_and_small_ones_are_not() {
    let mut service = TestService::start();
    let path = format!("/v1/changes?after={}", version(START));
    let accept = |coding| [("accept-encoding", coding)];
    let reply = service.client.send(Method::GET, &path, &accept("gzip, br, zstd")).await;
    assert_eq!(reply.header("content-encoding"), "");
    assert_eq!(reply.header("vary"), "accept-encoding");
    let changes: Vec<_> = (0..200).map(|id| (ITEMS, id, Insert)).collect();
    service.commit(808, &changes);
    let plain = service.client.send(Method::GET, &path, &[]).await;
    assert_eq!(plain.header("content-encoding"), "");
    for coding in ["gzip", "br", "zstd"] {
        let reply = service.client.send(Method::GET, &path, &accept(coding)).await;
        assert_eq!(reply.header("content-encoding"), coding);
        assert_eq!(reply.header("vary"), "accept-encoding");
        assert_eq!(reply.header("etag"), plain.header("etag"));
        assert!(reply.body.len() < plain.body.len() / 2, "{coding}");
    }
    let gzip = service.client.send(Method::GET, &path, &accept("gzip")).await;
    assert_eq!(gzip.body.bytes().take(2).map(Result::unwrap).collect::<Vec<_>>(), [0x1F, 0x8B]);
}
