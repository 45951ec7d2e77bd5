//! The console's page and files.

use super::*;

/// What the page and its files, as the page names them, are.
const PATHS: [(&str, &str); 5] = [
    ("/", "text/html; charset=utf-8"),
    ("/console/console.css", "text/css; charset=utf-8"),
    ("/console/main.js", "text/javascript; charset=utf-8"),
    ("/console/status.js", "text/javascript; charset=utf-8"),
    ("/console/icon.svg", "image/svg+xml"),
];

#[tokio::test]
async fn the_page_and_its_files_are_served_under_a_strict_policy() {
    let client = TestService::connecting(&HttpOptions::default()).client;
    for (path, kind) in PATHS {
        let reply = client.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, kind), "{path}");
        let policy = reply.header("content-security-policy");
        let directives: Vec<&str> = policy.split("; ").collect();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(directives.contains(&directive), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(reply.header(name), value, "{path}");
        }
        let head = client.send(Method::HEAD, path, &[]).await;
        assert_eq!((head.status.as_u16(), head.header("etag")), (200, reply.header("etag")));
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn a_known_file_is_a_304() {
    let client = TestService::start().client;
    let mut tags = Vec::new();
    for (path, _) in PATHS {
        let tag = client.get(path).await.header("etag").to_owned();
        let reply = client.send(Method::GET, path, &[("if-none-match", &tag)]).await;
        assert_eq!((reply.status.as_u16(), reply.header("etag")), (304, &*tag), "{path}");
        assert!(reply.body.is_empty() && !reply.header("content-security-policy").is_empty());
        tags.push(tag);
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), PATHS.len());
}

#[tokio::test]
async fn the_page_is_compressed_by_accept_encoding() {
    let client = TestService::start().client;
    let plain = client.get("/").await;
    let reply = client.send(Method::GET, "/", &[("accept-encoding", "br")]).await;
    assert_eq!(reply.header("content-encoding"), "br");
    assert!(reply.body.len() < plain.body.len() / 2);
}

#[tokio::test]
async fn the_console_is_on_the_admin_listener_too() {
    let options = HttpOptions { admin_apart: true, ..HttpOptions::default() };
    let client = TestService::with_options(&options).client;
    for router in [&client.router, &client.admin] {
        for (path, kind) in PATHS {
            let reply = ask(router, Method::GET, path, &[]).await;
            assert_eq!(reply.header("content-type"), kind, "{path}");
        }
    }
}

#[tokio::test]
async fn unknown_files_are_problems_without_new_labels() {
    let client = TestService::start().client;
    for name in ["main", "..%2Fmod.rs", "mod.rs", "index.html", "main.js%00"] {
        client.get(&format!("/console/{name}")).await.problem(404);
    }
    client.get("/console/a/b").await.problem(404);
    // Only the demo serves its playground.
    for path in ["/demo/playground.js", "/demo/items", "/demo/actions"] {
        client.get(path).await.problem(404);
    }
    assert!(!client.get("/").await.body.windows(5).any(|part| part == b"/demo"));
    client.send(Method::POST, "/", &[]).await.problem(405);
    client.get("/").await;
    let metrics = client.get("/metrics").await;
    let text = std::str::from_utf8(&metrics.body).unwrap();
    for line in [
        r#"highwater_http_requests_total{method="GET",route="/console/{file}",status="404"} 5"#,
        r#"highwater_http_requests_total{method="GET",route="/",status="200"} 2"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}
