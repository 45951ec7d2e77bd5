use super::*;
use crate::change::Op::Insert;

#[tokio::test]
async fn live_always_and_ready_only_while_streaming() {
    let service = TestService::connecting(&HttpOptions::default());
    assert_eq!(service.get("/livez").await.json()["status"], "alive");
    for (phase, says) in [
        (Phase::Disconnected("server said no".into()), "server said no"),
        (Phase::Standby("slot is taken".into()), "slot is taken"),
        (Phase::CatchingUp, "catching up"),
    ] {
        service.source.send_modify(|source| source.phase = phase);
        let reply = service.get("/readyz").await;
        assert!(reply.problem(503).contains(says));
        assert_ne!(reply.header("retry-after"), "");
    }
    service.source.send_modify(|source| source.phase = Phase::Streaming);
    let reply = service.get("/readyz").await;
    assert_eq!(reply.json()["status"], "ready");
    assert_eq!(reply.header("cache-control"), "no-store");
    service.client.store.close();
    assert!(service.get("/readyz").await.problem(503).contains("shutting down"));
}

#[tokio::test]
async fn status_reports_source_versions_and_tables() {
    let mut service = TestService::start();
    service.truncate(804, USERS);
    service.commit(808, &[(ITEMS, 1, Insert), (ITEMS, 2, Insert)]);
    service.source.send_modify(|source| {
        source.slot_mut().limit_bytes = Some(8192);
        source.received = Lsn(900);
        source.slot_mut().server_wal_end = Lsn(1000);
        source.slot_mut().retained_bytes = Some(4096);
        source.last_message = Some(std::time::Instant::now());
    });
    let reply = service.get("/v1/status").await;
    assert_eq!(reply.header("highwater-version"), version(808));
    let status = reply.json();
    let source = &status["source"];
    assert_eq!(source["phase"], "streaming");
    assert_eq!(source["reason"], Value::Null);
    assert_eq!((&source["server"], &source["slot"]), (&"db:5432/app".into(), &"slot".into()));
    assert_eq!((&source["received"], &source["lag_bytes"]), (&"0/384".into(), &192.into()));
    assert_eq!(source["slot_retained_bytes"], 4096);
    assert!(source["seconds_since_last_message"].is_number());
    let applied = serde_json::json!({"version": version(808), "epoch": "000000ab", "lsn": "0/328"});
    assert_eq!(status["applied"], applied);
    assert_eq!(status["log"]["entries"], 2);
    assert!(status["log"]["bytes"].as_u64().unwrap() > 0);
    let [items, shop, users] = status["tables"].as_array().unwrap().as_slice() else {
        panic!("three tables: {status}");
    };
    assert_eq!((&items["table"], &items["mode"]), (&"items".into(), &"off".into()));
    assert_eq!((&items["entries"], &items["tracking"]), (&2.into(), &"ids".into()));
    assert_eq!(items["key_columns"], serde_json::json!(["id"]));
    assert_eq!((&items["floor"], &items["newest"]), (&version(START).into(), &version(808).into()));
    assert!(items["floor_age_seconds"].as_f64().unwrap() < 60.0);
    assert_eq!(shop["tracking"], "reset_only");
    assert_eq!(shop["reason"], "it has no primary key");
    assert_eq!(users["entries"], 0);
    assert_eq!(source["slot_limit_bytes"], 8192);
    let counts = serde_json::json!({"inserts": 2, "updates": 0, "deletes": 0});
    assert_eq!(items["changes"], counts);
    assert_eq!(items["resets"], serde_json::json!({"count": 0, "last": null}));
    let last = serde_json::json!({
        "reason": "truncate", "at": "2024-02-29T12:00:00.000001Z", "version": version(804),
    });
    assert_eq!(users["resets"], serde_json::json!({"count": 1, "last": last}));
}

#[tokio::test]
async fn status_answers_before_the_first_connection() {
    let service = TestService::connecting(&HttpOptions::default());
    let status = service.get("/v1/status").await.json();
    assert_eq!((&status["applied"], &status["tables"]), (&Value::Null, &Value::Array(vec![])));
    assert_eq!(status["source"]["phase"], "disconnected");
    assert!(status["source"]["reason"].as_str().unwrap().contains("first time"));
}

#[tokio::test]
async fn metrics_count_requests_by_route_method_and_status() {
    let service = TestService::start();
    let client = &service.client;
    client.get("/v1/tables/items/changes").await;
    client.get("/v1/tables/users/changes").await;
    client.get("/v1/changes?limit=x").await;
    client.get("/no/such/path").await;
    client.send(Method::from_bytes(b"BREW").unwrap(), "/livez", &[]).await;
    let reply = client.get("/metrics").await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = std::str::from_utf8(&reply.body).unwrap();
    for line in [
        r#"highwater_http_requests_total{method="GET",route="/v1/tables/{table}/changes",status="200"} 2"#,
        r#"highwater_http_requests_total{method="GET",route="/v1/changes",status="400"} 1"#,
        r#"highwater_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
        r#"highwater_http_requests_total{method="other",route="/livez",status="405"} 1"#,
        r#"highwater_http_request_seconds_count{route="/v1/tables/{table}/changes"} 2"#,
        r#"highwater_polls_total{outcome="reset"} 2"#,
        "highwater_poll_waiters 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn metrics_are_openmetrics_by_the_accept_header() {
    let client = TestService::start().client;
    let accept = [("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let reply = client.send(Method::GET, "/metrics", &accept).await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(reply.header("content-type"), kind);
    let text = std::str::from_utf8(&reply.body).unwrap();
    assert!(text.contains("# TYPE highwater_polls counter\n"));
    assert!(text.contains("highwater_polls_total{outcome=\"changes\"} 0\n"));
    assert!(text.ends_with("\n# EOF\n"));
}

#[tokio::test]
async fn admin_endpoints_move_to_their_own_listener() {
    let options = HttpOptions { admin_apart: true, ..HttpOptions::default() };
    let client = TestService::with_options(&options).client;
    for path in ["/livez", "/readyz", "/v1/status", "/metrics"] {
        client.get(path).await.problem(404);
        let reply = ask(&client.admin, Method::GET, path, &[]).await;
        assert_eq!(reply.status, 200, "{path}");
    }
    assert_eq!(client.get("/v1/changes").await.status, 200);
    ask(&client.admin, Method::GET, "/v1/changes", &[]).await.problem(404);
}
