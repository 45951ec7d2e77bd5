//! The demo on a real server: the scenario makes the changes it announces, and the demo cleans up.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::Query;
use axum::routing::get;
use serde_json::json;
use tower::ServiceExt;

use super::*;

/// Limit for the demo to end: generous, because the machine may be slow.
const PATIENCE: Duration = Duration::from_mins(1);

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

/// The changes that a slot of the shop's publication returns since the last call, as `I items`,
/// `U items`, … with `T` for a TRUNCATE: parsed from the first bytes of pgoutput's messages.
async fn decoded(environment: &DemoEnvironment) -> Vec<String> {
    let sql = "SELECT data FROM pg_logical_slot_get_binary_changes('test', NULL, NULL, \
               'proto_version', '1', 'publication_names', 'highwater')";
    let rows = environment.actors().second.query(sql, &[]).await.unwrap();
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
        let table = environment.actors().second.query_one(name, &[&oid]).await.unwrap();
        changes.push(format!("{tag} {}", table.get::<_, &str>(0)));
    }
    changes
}

async fn environment_with_slot() -> DemoEnvironment {
    let environment = DemoEnvironment::set_up(find()).await.unwrap();
    let create = "SELECT pg_create_logical_replication_slot('test', 'pgoutput')";
    environment.actors().second.execute(create, &[]).await.unwrap();
    environment
}

#[tokio::test]
async fn every_step_of_the_scenario_makes_the_expected_changes() {
    let environment = environment_with_slot().await;
    let mut seen = Vec::new();
    for step in SCENARIO {
        step.run(environment.actors()).await.unwrap();
        let changes = decoded(&environment).await;
        assert_eq!(changes.is_empty(), !step.commits(), "{}", step.title);
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
    environment.tear_down().await.unwrap();
}

#[tokio::test]
async fn background_traffic_changes_rows_and_keeps_the_tables_small() {
    let environment = environment_with_slot().await;
    for step in SCENARIO {
        step.run(environment.actors()).await.unwrap();
    }
    for step in (0..40).flat_map(|_| BACKGROUND) {
        decoded(&environment).await;
        step.run(environment.actors()).await.unwrap();
        assert!(!decoded(&environment).await.is_empty(), "{}", step.title);
    }
    let count = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_lines)";
    let rows: i64 = environment.actors().second.query_one(count, &[]).await.unwrap().get(0);
    assert!(rows < 60, "{rows}");
    environment.tear_down().await.unwrap();
}

#[tokio::test]
async fn the_service_s_role_can_replicate_and_read_but_not_write() {
    let environment = DemoEnvironment::set_up(find()).await.unwrap();
    let url = environment.server().socket_url_as(shop::ROLE, shop::DATABASE);
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
    environment.tear_down().await.unwrap();
}

/// Sends a request to the playground; returns the status and the JSON body.
async fn request_playground(
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
async fn the_playground_s_buttons_change_the_shop() {
    let environment = environment_with_slot().await;
    let (playground, traffic) = Playground::new(environment.actors().clone());
    let router = playground.router();
    let ours = [("host", "127.0.0.1:8080"), ("content-type", "application/json")];
    for (action, changes, rows) in [
        (r#"{"action":"raise","id":2}"#, "U items", 1),
        (r#"{"action":"sell","id":3}"#, "U items", 1),
        (r#"{"action":"sale"}"#, "U items", 6),
        (r#"{"action":"restock"}"#, "U items", 1),
        (r#"{"action":"add"}"#, "I items", 1),
        (r#"{"action":"sell","id":4711}"#, "", 0),
    ] {
        let (status, body) =
            request_playground(&router, "POST", "/demo/actions", &ours, action).await;
        assert_eq!((status, &body["rows"]), (200, &rows.into()), "{action}: {body}");
        let kinds: BTreeSet<String> = decoded(&environment).await.into_iter().collect();
        assert_eq!(kinds.into_iter().collect::<Vec<_>>().join(", "), changes, "{action}");
    }
    // Order lines are deleted with their item.
    let action = r#"{"action":"remove","id":3}"#;
    assert_eq!(
        request_playground(&router, "POST", "/demo/actions", &ours, action).await.1["rows"],
        1
    );
    assert!(decoded(&environment).await.contains(&"D order_lines".to_owned()));

    // The number of items is limited.
    for _ in 0..60 {
        request_playground(&router, "POST", "/demo/actions", &ours, r#"{"action":"add"}"#).await;
    }
    let (_, body) = request_playground(&router, "GET", "/demo/items", &ours, "").await;
    assert_eq!(body["items"].as_array().unwrap().len(), 60);
    assert_eq!((&body["traffic"], *traffic.borrow()), (&true.into(), true));
    let pause = r#"{"running":false}"#;
    assert_eq!(request_playground(&router, "POST", "/demo/traffic", &ours, pause).await.0, 200);
    assert!(!*traffic.borrow());
    drop(router);
    environment.tear_down().await.unwrap();
}

#[tokio::test]
async fn the_playground_rejects_requests_of_other_pages() {
    let environment = environment_with_slot().await;
    let (playground, traffic) = Playground::new(environment.actors().clone());
    let router = playground.router();
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
            [("/demo/actions", r#"{"action":"sale"}"#), ("/demo/traffic", r#"{"running":false}"#)]
        {
            let (status, _) = request_playground(&router, "POST", path, &headers, body).await;
            assert_eq!(status, expected, "{path} {headers:?}");
        }
    }
    let foreign =
        request_playground(&router, "GET", "/demo/items", &[("host", "evil.example")], "").await;
    assert_eq!(foreign.0, 403);
    for body in
        [r#"{"action":"drop"}"#, r#"{"action":"sell","id":"1; DROP TABLE items"}"#, "", "[]"]
    {
        let (status, _) =
            request_playground(&router, "POST", "/demo/actions", &[host, json], body).await;
        assert_eq!(status, 400, "{body}");
    }
    assert!(decoded(&environment).await.is_empty() && *traffic.borrow());
    drop(router);
    environment.tear_down().await.unwrap();
}

/// A fake service: it answers the first poll with a reset, every other one with one change, and records
/// the versions in the requests.
async fn fake_service(
    request: ServiceRequest,
    stop: CancellationToken,
    versions: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let respond = |Query(query): Query<Vec<(String, String)>>| async move {
        let after = query.iter().find(|(name, _)| name == "after").map(|(_, value)| value.clone());
        let number: u64 = after.as_ref().map_or(0, |version| version.parse().unwrap());
        versions.lock().unwrap().extend(after);
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
    let router = axum::Router::new().route("/v1/changes", get(respond));
    axum::serve(request.listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// The demo's output, readable while the demo runs.
#[derive(Clone, Default)]
struct SharedOutput(Arc<Mutex<Vec<u8>>>);

impl SharedOutput {
    /// The text so far, without colours.
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap();
        anstream::adapter::strip_str(std::str::from_utf8(&bytes).unwrap()).to_string()
    }

    /// Completes when the output contains `text`.
    fn printed(&self, text: &'static str) -> impl Future<Output = ()> + use<> {
        let out = self.clone();
        async move {
            while !out.text().contains(text) {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_demo_runs_its_scenario_and_cleans_up() {
    let (out, versions) = (SharedOutput::default(), Arc::default());
    let directory = Arc::new(Mutex::new(String::new()));
    let serve = |request: ServiceRequest, stop| {
        directory.lock().unwrap().clone_from(&request.database_url);
        fake_service(request, stop, Arc::clone(&versions))
    };
    let options = DemoOptions { run_for: Some(Duration::from_hours(1)), ..options() };
    // By progress and not after a fixed time, because the machine may be slow.
    let background = out.printed(BACKGROUND[0].title);
    run(options, background, out.clone(), serve).await.unwrap();

    let printed = out.text();
    for step in SCENARIO {
        assert!(printed.contains(step.title), "{printed}");
    }
    assert!(printed.contains("reset   items (read in full)"), "{printed}");
    assert!(printed.contains("received   update  items 1\n"), "{printed}");
    assert!(printed.contains("Background traffic continues until the time is over."), "{printed}");
    assert!(printed.ends_with("The server and its files are deleted.\n"), "{printed}");
    // Every poll but the first sends the version of the response before it.
    assert_eq!(versions.lock().unwrap()[..2], ["1", "1"]);

    let url = directory.lock().unwrap().clone();
    let encoded = url.split('@').nth(1).unwrap().split(':').next().unwrap();
    let directory = percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap();
    assert!(directory.contains("highwater-"), "{url}");
    assert!(!std::path::Path::new(&*directory).exists(), "{directory}");
}

#[tokio::test]
async fn the_demo_ends_after_the_given_time() {
    let options = DemoOptions { run_for: Some(Duration::from_millis(300)), ..options() };
    let serve = |request, stop| fake_service(request, stop, Arc::default());
    let ended = timeout(PATIENCE, run(options, std::future::pending(), Vec::new(), serve));
    ended.await.expect("it ends by itself").unwrap();
}

#[tokio::test]
async fn ctrl_c_ends_it_at_any_time() {
    for milliseconds in [0, 300, 1500] {
        let end = sleep(Duration::from_millis(milliseconds));
        let serve = |request, stop| fake_service(request, stop, Arc::default());
        let ended = timeout(PATIENCE, run(options(), end, Vec::new(), serve));
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
async fn a_closed_pipe_is_no_failure() {
    struct ClosedPipe;
    impl Write for ClosedPipe {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let serve = |request, stop| fake_service(request, stop, Arc::default());
    run(options(), std::future::pending(), ClosedPipe, serve).await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_replaced_only_if_it_is_the_default() {
    let occupied = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = occupied.local_addr().unwrap();
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
