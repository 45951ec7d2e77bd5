//! `/v1/stream`.

use axum::body::BodyDataStream;
use futures_util::{FutureExt, StreamExt};

use super::*;
use crate::change::Op::{Delete, Insert, Update};
use crate::http::PushOptions;

const SOON: Duration = Duration::from_secs(10);

/// An open stream.
struct TestStream(BodyDataStream);

/// An event, or a comment without an id.
#[derive(Debug, PartialEq)]
struct ReceivedEvent {
    id: String,
    data: String,
}

async fn respond(
    client: &TestClient,
    path: &str,
    headers: &[(&str, &str)],
) -> axum::response::Response {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

impl TestStream {
    async fn open(client: &TestClient, query: &str) -> Self {
        Self::open_with(client, query, &[]).await
    }

    /// Opens it and reads the greeting.
    async fn open_with(client: &TestClient, query: &str, headers: &[(&str, &str)]) -> Self {
        let response = respond(client, &format!("/v1/stream?{query}"), headers).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        assert!(!response.headers().contains_key("content-encoding"));
        let mut stream = Self(response.into_body().into_data_stream());
        assert_eq!(stream.chunk().await, "retry: 2000\n: connected\n\n");
        stream
    }

    /// The next bytes; empty at the end.
    async fn chunk(&mut self) -> Bytes {
        let next = tokio::time::timeout(SOON, self.0.next()).await.expect("something comes");
        next.transpose().unwrap().unwrap_or_default()
    }

    async fn event(&mut self) -> ReceivedEvent {
        let text = String::from_utf8(self.chunk().await.to_vec()).unwrap();
        let (id, data) = text.split_once("\ndata: ").unwrap_or_else(|| panic!("{text:?}"));
        let id = id.strip_prefix("id: ").unwrap().to_owned();
        ReceivedEvent { id, data: data.strip_suffix("\n\n").unwrap().to_owned() }
    }

    fn is_quiet(&mut self) -> bool {
        self.0.next().now_or_never().is_none()
    }
}

fn options(push: PushOptions) -> HttpOptions {
    HttpOptions { push, ..HttpOptions::default() }
}

async fn polled(client: &TestClient, query: &str) -> String {
    let reply = client.get(&format!("/v1/changes?{query}")).await;
    String::from_utf8(reply.body.to_vec()).unwrap()
}

#[tokio::test]
async fn without_a_version_the_starting_point_comes_at_once() {
    let service = TestService::start();
    let mut stream = TestStream::open(&service.client, "tables=items").await;
    let event = stream.event().await;
    assert_eq!(
        (event.id, event.data),
        (version(START), polled(&service.client, "tables=items").await)
    );
    assert!(stream.is_quiet());
}

#[tokio::test]
async fn each_event_equals_the_response_of_a_poll() {
    let mut service = TestService::start();
    let query = format!("after={}&detail=true", version(START));
    let mut stream = TestStream::open(&service.client, &query).await;
    assert!(stream.is_quiet());
    service.commit(808, &[(ITEMS, 1, Insert), (USERS, 2, Delete)]);
    let event = stream.event().await;
    assert_eq!((event.id, event.data), (version(808), polled(&service.client, &query).await));
    service.truncate(816, ITEMS);
    let event = stream.event().await;
    assert!(event.data.contains(r#""reset":["items"]"#), "{event:?}");
    assert!(stream.is_quiet());
}

#[tokio::test]
async fn last_event_id_takes_precedence_over_after() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert)]);
    service.commit(816, &[(ITEMS, 2, Insert)]);
    let query = format!("after={}", version(START));
    let last = version(808);
    let mut stream =
        TestStream::open_with(&service.client, &query, &[("last-event-id", &last)]).await;
    let event = stream.event().await;
    assert_eq!(event.data, polled(&service.client, &format!("after={last}")).await);
    let mut stream = TestStream::open_with(&service.client, &query, &[("last-event-id", "")]).await;
    assert_eq!(stream.event().await.data, polled(&service.client, &query).await);
}

#[tokio::test]
async fn changes_beyond_the_limit_follow_at_once() {
    let mut service = TestService::start();
    service.commit(808, &[(ITEMS, 1, Insert), (ITEMS, 2, Insert), (ITEMS, 3, Insert)]);
    let query = format!("limit=2&after={}", version(START));
    let mut stream = TestStream::open(&service.client, &query).await;
    assert!(stream.event().await.data.contains(r#""more":true"#));
    let rest = stream.event().await;
    assert!(rest.data.contains(r#""more":false"#) && rest.data.contains(r#""id":3"#), "{rest:?}");
}

#[tokio::test]
async fn a_slow_reader_gets_intermediate_changes_once() {
    let mut service = TestService::start();
    let mut stream = TestStream::open(&service.client, &format!("after={}", version(START))).await;
    service.commit(808, &[(ITEMS, 1, Insert)]);
    // Bytes that the connection retains were not accepted by the client.
    let held = stream.chunk().await;
    for n in 2..100 {
        service.commit(800 + n * 8, &[(ITEMS, 1, Update), (ITEMS, 2, Insert)]);
        assert!(stream.is_quiet(), "nothing is made while an event is in flight");
    }
    drop(held);
    let event = stream.event().await;
    assert_eq!(event.data, polled(&service.client, &format!("after={}", version(808))).await);
    assert_eq!(event.data.matches(r#""id":"#).count(), 2);
    assert!(stream.is_quiet());
}

#[tokio::test]
async fn a_client_that_accepts_nothing_is_disconnected() {
    let push = PushOptions { write_max: Duration::from_millis(30), ..PushOptions::default() };
    let mut service = TestService::with_options(&options(push));
    let mut stream = TestStream::open(&service.client, &format!("after={}", version(START))).await;
    service.commit(808, &[(ITEMS, 1, Insert)]);
    let held = stream.chunk().await;
    let next = tokio::time::timeout(SOON, stream.0.next()).await.unwrap();
    assert!(next.unwrap().is_err());
    assert!(stream.0.next().await.is_none());
    drop(held);
}

#[tokio::test]
async fn a_quiet_stream_has_heartbeats_and_progress_events() {
    let push = PushOptions {
        heartbeat: Duration::from_millis(20),
        progress_interval: Duration::from_millis(200),
        ..PushOptions::default()
    };
    let mut service = TestService::with_options(&options(push));
    let mut stream = TestStream::open(&service.client, &format!("after={}", version(START))).await;
    assert_eq!(stream.chunk().await, ": heartbeat\n\n");
    service.take(Event::Watermark(Lsn(880)));
    let mut comments = 0;
    let event = loop {
        let chunk = stream.chunk().await;
        if chunk != ": heartbeat\n\n" {
            // An event that is retained was not accepted: nothing would follow.
            break chunk.to_vec();
        }
        comments += 1;
    };
    let expected = format!("id: {}\ndata: {{\"version\":", version(880));
    assert!(comments > 1 && event.starts_with(expected.as_bytes()), "{comments} {event:?}");
    // Only when the version has moved.
    for _ in 0..20 {
        assert_eq!(stream.chunk().await, ": heartbeat\n\n");
    }
}

#[tokio::test]
async fn the_number_of_push_clients_is_limited() {
    let push = PushOptions { max_clients: 1, ..PushOptions::default() };
    let service = TestService::with_options(&options(push));
    let count = service.client.metrics.push_clients.with_label_values(&["sse"]);
    let stream = TestStream::open(&service.client, "").await;
    assert_eq!(count.get(), 1);
    let reply = service.get("/v1/stream").await;
    assert!(!reply.header("retry-after").is_empty());
    assert!(reply.problem(503).contains("http.max_push_clients"));
    drop(stream);
    assert_eq!(count.get(), 0);
    TestStream::open(&service.client, "").await;
}

#[tokio::test]
async fn closing_the_store_ends_streams() {
    let service = TestService::start();
    let mut quiet = TestStream::open(&service.client, &format!("after={}", version(START))).await;
    let mut behind = TestStream::open(&service.client, "").await;
    service.client.store.close();
    assert!(quiet.chunk().await.is_empty());
    while !behind.chunk().await.is_empty() {}
}

#[tokio::test]
async fn an_unpublished_table_ends_the_stream_with_a_problem() {
    let mut service = TestService::start();
    let query = format!("tables=items&after={}", version(START));
    let mut stream = TestStream::open(&service.client, &query).await;
    assert!(stream.is_quiet());
    let tables = vec![table(USERS, "public", "users", Tracking::Ids)];
    service.take(Event::Tables { tables, resets: vec![] });
    let last = String::from_utf8(stream.chunk().await.to_vec()).unwrap();
    let problem = last.strip_prefix("event: problem\ndata: ").unwrap();
    let problem: Value = serde_json::from_str(problem).unwrap();
    assert_eq!(problem["type"], "urn:highwater:problem:unknown-table");
    assert!(stream.chunk().await.is_empty());
}

#[tokio::test]
async fn invalid_streams_are_rejected_at_once() {
    let service = TestService::start();
    assert!(service.get("/v1/stream?wait=5s").await.problem(400).contains("leave `wait` out"));
    assert!(service.get("/v1/stream?tables=nope").await.problem(404).contains("nope"));
    assert!(service.get("/v1/stream?after=x").await.problem(400).contains("`after`"));
    let headers = [("last-event-id", "x")];
    let reply = service.client.send(Method::GET, "/v1/stream", &headers).await;
    assert!(reply.problem(400).contains("Last-Event-ID"));
    let connecting = TestService::connecting(&HttpOptions::default());
    connecting.get("/v1/stream").await.problem(503);
}

#[tokio::test]
async fn a_stream_is_not_compressed() {
    let service = TestService::start();
    TestStream::open_with(&service.client, "", &[("accept-encoding", "gzip, br, zstd")]).await;
}

#[tokio::test]
async fn commits_are_coalesced_for_the_configured_interval() {
    let gathered = Duration::from_millis(200);
    let options = HttpOptions { coalesce_interval: gathered, ..HttpOptions::default() };
    let mut service = TestService::with_options(&options);
    let mut stream = TestStream::open(&service.client, &format!("after={}", version(START))).await;
    assert!(stream.is_quiet());
    service.commit(808, &[(ITEMS, 1, Insert)]);
    assert!(stream.is_quiet());
    service.commit(816, &[(ITEMS, 2, Insert)]);
    let event = stream.event().await;
    assert_eq!(event.id, version(816));
    assert_eq!(event.data.matches(r#""id":"#).count(), 2);
}
