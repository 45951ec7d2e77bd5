//! The demo on a real server: the story does what it says, and the demo ends without a trace.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::Query;
use axum::routing::get;
use serde_json::json;
use tower::ServiceExt;

use super::*;

#[allow(clippy::disallowed_methods, reason = "the tests' own settings")]
fn find() -> FindOptions {
    FindOptions {
        bin_dir: std::env::var_os("HIGHWATER_PG_BIN").map(Into::into),
        path: std::env::var_os("PATH"),
        ..FindOptions::default()
    }
}

fn options() -> DemoOptions {
    DemoOptions {
        find: find(),
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        any_port: false,
        run_for: None,
        pause: Duration::ZERO,
    }
}

/// What a slot of the shop's publication gives since the last look, as `I items`, `U items`, …
/// with `T` for a TRUNCATE: read off the first bytes of pgoutput's messages.
async fn decoded(stage: &Stage) -> Vec<String> {
    let sql = "SELECT data FROM pg_logical_slot_get_binary_changes('look', NULL, NULL, \
               'proto_version', '1', 'publication_names', 'highwater')";
    let rows = stage.players().second.query(sql, &[]).await.unwrap();
    let mut changes = Vec::new();
    for row in rows {
        let message: &[u8] = row.get(0);
        let tag = char::from(message[0]);
        let oid = match tag {
            'I' | 'U' | 'D' => &message[1..5],
            // The number of tables and the options come first.
            'T' => &message[6..10],
            _ => continue,
        };
        let oid = u32::from_be_bytes(oid.try_into().unwrap());
        let name = "SELECT $1::oid::regclass::text";
        let table = stage.players().second.query_one(name, &[&oid]).await.unwrap();
        changes.push(format!("{tag} {}", table.get::<_, &str>(0)));
    }
    changes
}

async fn stage_with_a_slot() -> Stage {
    let stage = Stage::set_up(find()).await.unwrap();
    let make = "SELECT pg_create_logical_replication_slot('look', 'pgoutput')";
    stage.players().second.execute(make, &[]).await.unwrap();
    stage
}

#[tokio::test]
async fn every_step_of_the_story_changes_what_it_says() {
    let stage = stage_with_a_slot().await;
    let mut seen = Vec::new();
    for step in STORY {
        step.happen(stage.players()).await.unwrap();
        let changes = decoded(&stage).await;
        assert_eq!(changes.is_empty(), !step.is_told(), "{}", step.title);
        let kinds: BTreeSet<String> = changes.iter().cloned().collect();
        seen.push((changes.len(), kinds.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let expected = [
        (6, "U items"),
        (1, "U customers"),
        (6, "D order_lines"),
        (2, "I order_lines, U items"),
        (3, "I customers"),
        (5, "I order_lines, I orders, U items"),
        (0, ""),
        (3, "U items, U order_lines"),
        (1, "T order_lines"),
    ];
    let seen: Vec<_> = seen.iter().map(|(count, kinds)| (*count, kinds.as_str())).collect();
    assert_eq!(seen, expected);
    stage.tear_down().await.unwrap();
}

#[tokio::test]
async fn everyday_business_goes_on_and_keeps_the_shop_small() {
    let stage = stage_with_a_slot().await;
    for step in STORY {
        step.happen(stage.players()).await.unwrap();
    }
    for step in (0..40).flat_map(|_| EVERYDAY) {
        decoded(&stage).await;
        step.happen(stage.players()).await.unwrap();
        assert!(!decoded(&stage).await.is_empty(), "{}", step.title);
    }
    let count = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_lines)";
    let rows: i64 = stage.players().second.query_one(count, &[]).await.unwrap().get(0);
    assert!(rows < 60, "{rows}");
    stage.tear_down().await.unwrap();
}

#[tokio::test]
async fn the_service_s_role_can_replicate_and_read_but_not_write() {
    let stage = Stage::set_up(find()).await.unwrap();
    let url = stage.server().socket_url_as(shop::ROLE, shop::DATABASE);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let work = async move {
        let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
        assert!(!client.query_one(superuser, &[]).await.unwrap().get::<_, bool>(0));
        let tables = "SELECT string_agg(tablename, ' ' ORDER BY tablename) \
                      FROM pg_publication_tables WHERE pubname = 'highwater'";
        let row = client.query_one(tables, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "customers items order_lines orders");
        for table in ["customers", "items", "order_lines", "orders"] {
            let count = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await;
            assert!(count.unwrap().get::<_, i64>(0) > 0, "{table}");
        }
        let slot = "SELECT pg_create_logical_replication_slot('highwater', 'pgoutput')";
        client.query_one(slot, &[]).await.unwrap();
        assert!(client.execute("TRUNCATE order_lines", &[]).await.is_err());
    };
    let (connection, ()) = tokio::join!(connection, work);
    connection.unwrap();
    stage.tear_down().await.unwrap();
}

/// Asks the counter for something; tells the status and what it says.
async fn counter_says(
    router: &axum::Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> (u16, serde_json::Value) {
    let request = axum::http::Request::builder().method(method).uri(path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(axum::body::Body::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn the_counter_s_buttons_change_the_shop() {
    let stage = stage_with_a_slot().await;
    let (counter, open) = Counter::new(stage.players().clone());
    let router = counter.router();
    let ours = [("host", "127.0.0.1:8080"), ("content-type", "application/json")];
    for (act, changes, rows) in [
        (r#"{"act":"raise","id":2}"#, "U items", 1),
        (r#"{"act":"sell","id":3}"#, "U items", 1),
        (r#"{"act":"sale"}"#, "U items", 6),
        (r#"{"act":"restock"}"#, "U items", 1),
        (r#"{"act":"add"}"#, "I items", 1),
        (r#"{"act":"sell","id":4711}"#, "", 0),
    ] {
        let (status, said) = counter_says(&router, "POST", "/demo/acts", &ours, act).await;
        assert_eq!((status, &said["rows"]), (200, &rows.into()), "{act}: {said}");
        let kinds: BTreeSet<String> = decoded(&stage).await.into_iter().collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>().join(", "), changes, "{act}");
    }
    // Order lines go with their item.
    let act = r#"{"act":"remove","id":3}"#;
    assert_eq!(counter_says(&router, "POST", "/demo/acts", &ours, act).await.1["rows"], 1);
    assert!(decoded(&stage).await.contains(&"D order_lines".to_owned()));

    // There is room for so many items, and no more.
    for _ in 0..60 {
        counter_says(&router, "POST", "/demo/acts", &ours, r#"{"act":"add"}"#).await;
    }
    let (_, said) = counter_says(&router, "GET", "/demo/items", &ours, "").await;
    assert_eq!(said["items"].as_array().unwrap().len(), 60);
    assert_eq!((&said["open"], *open.borrow()), (&true.into(), true));
    let close = r#"{"open":false}"#;
    assert_eq!(counter_says(&router, "POST", "/demo/business", &ours, close).await.0, 200);
    assert!(!*open.borrow());
    drop(router);
    stage.tear_down().await.unwrap();
}

#[tokio::test]
async fn the_counter_does_nothing_for_strangers() {
    let stage = stage_with_a_slot().await;
    let (counter, open) = Counter::new(stage.players().clone());
    let router = counter.router();
    let (host, json) = (("host", "localhost:1"), ("content-type", "application/json"));
    for (headers, expected) in [
        (vec![host, json, ("origin", "http://evil.example")], 403),
        (vec![host, json, ("origin", "null")], 403),
        (vec![("host", "evil.example"), json, ("origin", "http://evil.example")], 403),
        (vec![json], 403),
        (vec![host], 415),
        (vec![host, ("content-type", "text/plain")], 415),
    ] {
        for (path, body) in
            [("/demo/acts", r#"{"act":"sale"}"#), ("/demo/business", r#"{"open":false}"#)]
        {
            let (status, _) = counter_says(&router, "POST", path, &headers, body).await;
            assert_eq!(status, expected, "{path} {headers:?}");
        }
    }
    let strange =
        counter_says(&router, "GET", "/demo/items", &[("host", "evil.example")], "").await;
    assert_eq!(strange.0, 403);
    for body in [r#"{"act":"drop"}"#, r#"{"act":"sell","id":"1; DROP TABLE items"}"#, "", "[]"] {
        let (status, _) = counter_says(&router, "POST", "/demo/acts", &[host, json], body).await;
        assert_eq!(status, 400, "{body}");
    }
    assert!(decoded(&stage).await.is_empty() && *open.borrow());
    drop(router);
    stage.tear_down().await.unwrap();
}

/// A service that only pretends: it answers the first poll with a reset, every other with one
/// change, and notes what it was asked.
async fn pretend(
    request: ServiceRequest,
    stop: CancellationToken,
    asked: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let answer = |Query(query): Query<Vec<(String, String)>>| async move {
        let after = query.iter().find(|(name, _)| name == "after").map(|(_, value)| value.clone());
        let number: u64 = after.as_ref().map_or(0, |version| version.parse().unwrap());
        asked.lock().unwrap().extend(after);
        let waits = query.iter().any(|(name, value)| name == "wait" && value != "0ms");
        sleep(Duration::from_millis(1)).await;
        axum::Json(if number == 0 {
            json!({"version": "1", "more": false, "reset": ["items"], "changes": []})
        } else if waits {
            let change = json!({"table": "items", "id": number, "op": "update"});
            json!({"version": (number + 1).to_string(), "more": false, "reset": [], "changes": [change]})
        } else {
            json!({"version": number.to_string(), "more": false, "reset": [], "changes": []})
        })
    };
    let router = axum::Router::new().route("/v1/changes", get(answer));
    axum::serve(request.listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// What the demo wrote, without colours.
fn plain(out: &[u8]) -> String {
    anstream::adapter::strip_str(std::str::from_utf8(out).unwrap()).to_string()
}

#[tokio::test]
async fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    let (mut out, asked) = (Vec::new(), Arc::default());
    let directory = Arc::new(Mutex::new(String::new()));
    let serve = |request: ServiceRequest, stop| {
        directory.lock().unwrap().clone_from(&request.database_url);
        pretend(request, stop, Arc::clone(&asked))
    };
    let options = DemoOptions { run_for: Some(Duration::from_secs(3)), ..options() };
    run(options, std::future::pending(), &mut out, serve).await.unwrap();

    let told = plain(&out);
    for step in STORY {
        assert!(told.contains(step.title), "{told}");
    }
    assert!(told.contains("reset   items (read in full)"), "{told}");
    assert!(told.contains("told       update  items 1\n"), "{told}");
    assert!(told.contains("Business goes on for a while."), "{told}");
    assert!(told.ends_with("Nothing is left of the shop and its server.\n"), "{told}");
    // Every poll but the first sent back the version it was given.
    assert_eq!(asked.lock().unwrap()[..2], ["1", "1"]);

    let url = directory.lock().unwrap().clone();
    let encoded = url.split('@').nth(1).unwrap().split(':').next().unwrap();
    let directory = percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap();
    assert!(directory.contains("highwater-"), "{url}");
    assert!(!std::path::Path::new(&*directory).exists(), "{directory}");
}

#[tokio::test]
async fn ctrl_c_ends_it_at_any_time() {
    for milliseconds in [0, 300, 1500] {
        let end = sleep(Duration::from_millis(milliseconds));
        let serve = |request, stop| pretend(request, stop, Arc::default());
        let ended = timeout(Duration::from_secs(20), run(options(), end, Vec::new(), serve));
        ended.await.expect("it ends soon").unwrap();
    }
}

#[tokio::test]
async fn a_service_that_fails_ends_the_demo_with_its_reason() {
    let serve = |_, _| async { Err::<(), _>("no such slot".to_owned()) };
    let error = run(options(), std::future::pending(), Vec::new(), serve).await.unwrap_err();
    assert_eq!(error.to_string(), "the service: no such slot");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let serve = |request, stop| pretend(request, stop, Arc::default());
    run(options(), std::future::pending(), Gone, serve).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_replaced_only_if_nobody_asked_for_it() {
    let somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = somebody.local_addr().unwrap();
    let any = DemoOptions { listen: address, any_port: true, ..options() };
    let (listener, taken) = listen(&any).await.unwrap();
    assert_eq!(taken, Some(address));
    assert_ne!(listener.local_addr().unwrap(), address);

    let strict = DemoOptions { any_port: false, ..any };
    let error = listen(&strict).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("listen on {address}: ")), "{error}");

    let open = DemoOptions { listen: ([0, 0, 0, 0], 0).into(), ..strict };
    let error = listen(&open).await.unwrap_err().to_string();
    assert!(error.contains("0.0.0.0:0 is not a loopback address"), "{error}");
}
