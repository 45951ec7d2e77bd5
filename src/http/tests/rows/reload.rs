use super::*;

async fn post(router: &Router, path: &str, headers: &[(&str, &str)]) -> TestReply {
    ask(router, Method::POST, path, headers).await
}

#[tokio::test]
async fn one_table_or_all_are_reloaded() {
    let mut shop = Shop::with_rows(&[(USERS, &named(1, "Ann"))]).await;
    let router = &shop.service.client.router.clone();
    let path = "/v1/tables/users/rows/1";
    shop.get(path).await.json();
    let reply = post(router, "/admin/reload?table=public.users", &[]).await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.body, r#"{"reloading":["users"]}"#);
    shop.service.writer.serve_requests();
    assert_eq!(shop.get(path).await.header("x-cache"), "miss");
    let reply = post(router, "/admin/reload?table=all", &[]).await;
    assert_eq!(reply.body, r#"{"reloading":["items","lines","shop.\"a,b\"","users"]}"#);
}

#[tokio::test]
async fn a_reload_needs_an_explicit_table() {
    let shop = Shop::open().await;
    let client = &shop.service.client;
    for (query, status) in [("", 400), ("?table=nope", 404), ("?tables=items", 400)] {
        post(&client.router, &format!("/admin/reload{query}"), &[]).await.problem(status);
    }
    let reply = client.get("/admin/reload?table=all").await;
    assert!(reply.problem(405).contains("allowed: POST, OPTIONS"));
    assert_eq!(reply.header("allow"), "POST, OPTIONS");
}

#[tokio::test]
async fn a_web_page_cannot_reload() {
    let origins = vec!["https://app.example".parse().unwrap(), crate::http::AllowedOrigin::Any];
    let options = HttpOptions { cors_origins: origins, ..HttpOptions::default() };
    let client = TestService::with_options(&options).client;
    for origin in ["https://evil.example", "https://app.example", "null", "http://127.0.0.1:8080"] {
        let headers = [("origin", origin), ("content-type", "text/plain")];
        post(&client.router, "/admin/reload?table=all", &headers).await.problem(403);
    }
    let asked = [("origin", "https://app.example"), ("access-control-request-method", "POST")];
    let preflight = client.send(Method::OPTIONS, "/admin/reload?table=all", &asked).await;
    assert!(!preflight.header("access-control-allow-methods").contains("POST"));
}

#[tokio::test]
async fn an_admin_listener_takes_the_admin_endpoints() {
    let options = HttpOptions { admin_apart: true, ..HttpOptions::default() };
    let client = TestService::with_options(&options).client;
    post(&client.router, "/admin/reload?table=all", &[]).await.problem(404);
    assert_eq!(post(&client.admin, "/admin/reload?table=all", &[]).await.status, 202);
    ask(&client.admin, Method::GET, "/v1/store", &[]).await.problem(404);
}
