//! `/v1/ws`, over TCP.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, handshake::client};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::server::serving;
use super::*;
use crate::change::Op::{Insert, Update};
use crate::http::{AllowedOrigin, PushOptions};

const SOON: Duration = Duration::from_secs(10);

/// A client's socket.
struct TestSocket(WebSocketStream<TcpStream>);

fn request(address: SocketAddr) -> client::Request {
    format!("ws://{address}/v1/ws").into_client_request().unwrap()
}

impl TestSocket {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, response) = client_async(request(address), stream).await.unwrap();
        assert_eq!(response.headers()["highwater-version"].len(), 25);
        Self(socket)
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn subscribe(&mut self, inner: &str) {
        self.say(&format!("{{\"subscribe\":{{{inner}}}}}")).await;
    }

    /// The next message that isn't a ping.
    async fn next(&mut self) -> Message {
        loop {
            let next = tokio::time::timeout(SOON, self.0.next()).await.expect("something comes");
            match next.unwrap().unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    async fn hear(&mut self) -> String {
        self.next().await.into_text().unwrap().as_str().to_owned()
    }

    /// The problem in an error frame.
    async fn problem(&mut self) -> String {
        let message: Value = serde_json::from_str(&self.hear().await).unwrap();
        assert_eq!(message["error"]["request_id"].as_str().unwrap().len(), 32);
        message["error"]["detail"].as_str().unwrap().to_owned()
    }

    async fn closed(&mut self) -> CloseCode {
        match self.next().await {
            Message::Close(Some(frame)) => frame.code,
            other => panic!("{other:?} instead of a close"),
        }
    }
}

async fn until(reached: impl Fn() -> bool) {
    tokio::time::timeout(SOON, async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("it comes to that");
}

fn sockets(client: &TestClient) -> i64 {
    client.metrics.push_clients.with_label_values(&["ws"]).get()
}

#[tokio::test]
async fn messages_equal_the_responses_of_polls() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let mut socket = TestSocket::open(address).await;
        socket.subscribe(r#""tables":["items"],"after":null"#).await;
        let first = socket.hear().await;
        assert_eq!(first.as_bytes(), client.get("/v1/changes?tables=items").await.body);
        service.commit(808, &[(USERS, 1, Insert)]);
        service.commit(816, &[(ITEMS, 1, Insert)]);
        let path = format!("/v1/changes?tables=items&after={}", version(START));
        assert_eq!(socket.hear().await.as_bytes(), client.get(&path).await.body);
        assert_eq!(sockets(&client), 1);
        socket.0.close(None).await.unwrap();
        until(|| sockets(&client) == 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_subscription_can_be_changed() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let mut socket = TestSocket::open(address).await;
        let after = version(START);
        socket.subscribe(&format!(r#""tables":["items"],"after":"{after}""#)).await;
        socket.subscribe(&format!(r#""tables":["users"],"after":"{after}","detail":true"#)).await;
        // The service reads messages in order: this response comes after both.
        socket.say("?").await;
        socket.problem().await;
        service.commit(808, &[(ITEMS, 1, Insert)]);
        service.commit(816, &[(USERS, 1, Insert)]);
        let path = format!("/v1/changes?tables=users&detail=true&after={after}");
        assert_eq!(socket.hear().await.as_bytes(), client.get(&path).await.body);
    })
    .await;
}

#[tokio::test]
async fn mode_version_sends_only_the_version() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let mut socket = TestSocket::open(address).await;
        socket.subscribe(r#""tables":["items"],"mode":"version""#).await;
        assert_eq!(socket.hear().await, format!(r#"{{"version":"{}"}}"#, version(START)));
        service.commit(808, &[(USERS, 1, Insert)]);
        service.commit(816, &[(ITEMS, 1, Insert)]);
        assert_eq!(socket.hear().await, format!(r#"{{"version":"{}"}}"#, version(816)));
        service.commit(824, &[(ITEMS, 1, Update)]);
        assert_eq!(socket.hear().await, format!(r#"{{"version":"{}"}}"#, version(824)));
    })
    .await;
}

#[tokio::test]
async fn a_long_response_arrives_complete() {
    let mut service = TestService::start();
    let changes: Vec<_> = (0..5000).map(|id| (ITEMS, id, Insert)).collect();
    service.commit(80_000, &changes);
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let mut socket = TestSocket::open(address).await;
        let after = version(START);
        socket.subscribe(&format!(r#""after":"{after}","limit":10000"#)).await;
        let path = format!("/v1/changes?limit=10000&after={after}");
        assert_eq!(socket.hear().await.as_bytes(), client.get(&path).await.body);
    })
    .await;
}

#[tokio::test]
async fn invalid_messages_are_reported_and_keep_the_subscription() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let mut socket = TestSocket::open(address).await;
        socket.subscribe(&format!(r#""after":"{}""#, version(START))).await;
        socket.subscribe(r#""tables":["nope"]"#).await;
        assert!(socket.problem().await.contains("no published table \"nope\""));
        service.commit(808, &[(ITEMS, 1, Insert)]);
        assert!(socket.hear().await.contains("insert"));
        for _ in 0..9 {
            socket.say("hello").await;
            assert!(socket.problem().await.contains("not valid"));
        }
        assert_eq!(socket.closed().await, CloseCode::Policy);
    })
    .await;
}

#[tokio::test]
async fn an_unpublished_table_ends_the_subscription_but_not_the_socket() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let mut socket = TestSocket::open(address).await;
        socket.subscribe(r#""tables":["items"]"#).await;
        socket.hear().await;
        let tables = vec![table(USERS, "public", "users", Tracking::Ids)];
        service.take(Event::Tables { tables, resets: vec![] });
        assert!(socket.problem().await.contains("\"items\""));
        socket.subscribe(r#""tables":["users"]"#).await;
        assert!(socket.hear().await.contains(r#""reset":["users"]"#));
    })
    .await;
}

#[tokio::test]
async fn each_violation_has_its_close_code() {
    let service = TestService::start();
    serving(&service.client, async move |address, _| {
        let mut socket = TestSocket::open(address).await;
        socket.0.send(Message::binary(vec![1])).await.unwrap();
        assert_eq!(socket.closed().await, CloseCode::Unsupported);
        let mut socket = TestSocket::open(address).await;
        socket.say(&"x".repeat(65 * 1024)).await;
        assert_eq!(socket.closed().await, CloseCode::Size);
    })
    .await;
}

#[tokio::test]
async fn pages_of_other_origins_are_rejected() {
    let origins = vec!["https://app.example".parse::<AllowedOrigin>().unwrap()];
    let options = HttpOptions { cors_origins: origins, ..HttpOptions::default() };
    let service = TestService::with_options(&options);
    serving(&service.client, async move |address, _| {
        for (origin, status) in [("https://evil.example", 403), ("https://app.example", 101)] {
            let mut request = request(address);
            request.headers_mut().insert("origin", origin.parse().unwrap());
            let stream = TcpStream::connect(address).await.unwrap();
            let answered = match client_async(request, stream).await {
                Ok((_, response)) => response.status(),
                Err(Error::Http(response)) => response.status(),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(answered, status, "{origin}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_without_an_upgrade_gets_426() {
    let service = TestService::start();
    let reply = service.get("/v1/ws").await;
    assert_eq!(reply.header("upgrade"), "websocket");
    assert!(reply.problem(426).contains("over HTTP/1.1"));
}

#[tokio::test]
async fn sockets_and_streams_share_one_limit() {
    let push = PushOptions { max_clients: 1, ..PushOptions::default() };
    let service = TestService::with_options(&HttpOptions { push, ..HttpOptions::default() });
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let socket = TestSocket::open(address).await;
        client.get("/v1/stream").await.problem(503);
        let stream = TcpStream::connect(address).await.unwrap();
        let Err(Error::Http(refused)) = client_async(request(address), stream).await else {
            panic!("it is admitted");
        };
        assert_eq!(refused.status(), 503);
        drop(socket);
        until(|| sockets(&client) == 0).await;
        TestSocket::open(address).await;
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_closes_sockets_with_1001() {
    let service = TestService::start();
    let client = service.client.clone();
    serving(&client, async move |address, shutdown| {
        let mut idle = TestSocket::open(address).await;
        let mut subscribed = TestSocket::open(address).await;
        subscribed.subscribe("").await;
        subscribed.hear().await;
        shutdown.cancel();
        service.client.store.close();
        assert_eq!(idle.closed().await, CloseCode::Away);
        assert_eq!(subscribed.closed().await, CloseCode::Away);
    })
    .await;
    assert_eq!(sockets(&client), 0, "the server waits for its sockets");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_disconnected() {
    let push = PushOptions { heartbeat: Duration::from_millis(100), ..PushOptions::default() };
    let service = TestService::with_options(&HttpOptions { push, ..HttpOptions::default() });
    let client = service.client.clone();
    serving(&client, async |address, _| {
        let mut lives = TestSocket::open(address).await;
        let dead = TestSocket::open(address).await;
        assert_eq!(sockets(&client), 2);
        // The client library answers pings while it reads.
        let reads = async { while lives.0.next().await.is_some_and(|m| m.is_ok()) {} };
        tokio::select! {
            () = reads => panic!("who answers is kept"),
            () = until(|| sockets(&client) == 1) => {}
        }
        drop(dead);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(sockets(&client), 1);
    })
    .await;
}
