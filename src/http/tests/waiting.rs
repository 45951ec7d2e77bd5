//! Waiting HTTP/1 clients: their connections are taken back from hyper meanwhile, which no client may
//! notice.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::server::serving;
use super::*;
use crate::change::Op::Update;

/// A client that speaks HTTP/1 by hand.
struct RawWire(BufReader<TcpStream>);

impl RawWire {
    async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("a line comes").unwrap();
        line
    }

    /// A response's head, as lines in lower case.
    async fn head(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await.trim_end().to_lowercase();
            if line.is_empty() {
                return lines;
            }
            lines.push(line);
        }
    }

    /// A head, and the body of the length in its `Content-Length`.
    async fn answer(&mut self) -> (Vec<String>, String) {
        let head = self.head().await;
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    async fn chunk(&mut self) -> String {
        let size = self.line().await;
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
        let mut data = vec![0; size + 2];
        self.0.read_exact(&mut data).await.unwrap();
        String::from_utf8(data).unwrap().strip_suffix("\r\n").expect("a chunk's end").to_owned()
    }

    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        let read = self.0.read_to_string(&mut rest);
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("it ends").unwrap();
        rest
    }
}

/// A poll that is held.
fn held(method: &str, version: &str, headers: &str) -> String {
    let after = super::version(START);
    format!(
        "{method} /v1/changes?wait=60s&after={after} HTTP/{version}\r\nhost: x\r\n{headers}\r\n"
    )
}

fn is(head: &[String], line: &str) -> bool {
    head.iter().any(|have| have == line)
}

#[tokio::test]
async fn a_held_poll_is_answered_and_the_connection_continues() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client.clone(), async move |address, _| {
        let mut wire = RawWire::connect(address).await;
        for end in [900, 1000, 1100] {
            let after = super::version(end - 100);
            let query = format!("/v1/changes?wait=60s&after={after}");
            wire.say(&format!("GET {query} HTTP/1.1\r\nhost: x\r\nx-request-id: r{end}\r\n\r\n"))
                .await;
            client.held(1).await;
            service.commit(end, &[(ITEMS, 7, Update)]);
            let (head, body) = wire.answer().await;
            assert_eq!(head[0], "http/1.1 200 ok");
            assert!(is(&head, &format!("x-request-id: r{end}")), "{head:?}");
            assert!(body.contains(&super::version(end)) && body.contains("\"id\":7"), "{body}");
        }
        wire.say("GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n").await;
        assert!(wire.rest().await.ends_with("{\"status\":\"alive\"}"));
    })
    .await;
}

#[tokio::test]
async fn a_request_behind_a_held_poll_is_answered_after_it() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client.clone(), async move |address, _| {
        let mut wire = RawWire::connect(address).await;
        // One together with the poll, one later, in two pieces.
        wire.say(&(held("GET", "1.1", "") + "GET /livez HTTP/1.1\r\n\r\n")).await;
        client.held(1).await;
        wire.say("GET /v1/no").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        service.commit(900, &[(ITEMS, 7, Update)]);
        assert!(wire.answer().await.1.contains("\"id\":7"));
        assert_eq!(wire.answer().await.1, "{\"status\":\"alive\"}");
        wire.say("thing HTTP/1.1\r\n\r\n").await;
        assert_eq!(wire.answer().await.0[0], "http/1.1 404 not found");
    })
    .await;
}

#[tokio::test]
async fn connection_options_of_the_request_apply_to_a_held_response() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client.clone(), async move |address, _| {
        let requests = [
            held("GET", "1.1", "connection: close\r\n"),
            held("GET", "1.0", ""),
            held("GET", "1.0", "connection: keep-alive\r\n"),
            held("HEAD", "1.1", ""),
        ];
        let mut wires = Vec::new();
        for request in &requests {
            let mut wire = RawWire::connect(address).await;
            wire.say(request).await;
            wires.push(wire);
        }
        client.held(4).await;
        service.commit(900, &[(ITEMS, 7, Update)]);
        let [close, old, kept, head] = &mut wires[..] else { unreachable!() };
        let closed = close.rest().await.to_lowercase();
        assert!(
            closed.contains("connection: close\r\n") && closed.contains("\"id\":7"),
            "{closed}"
        );
        let closed = old.rest().await;
        assert!(closed.starts_with("HTTP/1.0 200") && closed.contains("\"id\":7"), "{closed}");
        let (lines, _) = kept.answer().await;
        assert!(is(&lines, "connection: keep-alive"), "{lines:?}");
        // Only the head, then that of the next response.
        let lines = head.head().await;
        assert!(lines.iter().any(|line| line.starts_with("content-length: ")), "{lines:?}");
        for wire in [kept, head] {
            wire.say("GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n").await;
            assert!(wire.rest().await.starts_with("HTTP/1.1 200 OK\r\n"));
        }
    })
    .await;
}

fn stream() -> String {
    format!("GET /v1/stream?after={} HTTP/1.1\r\nhost: x\r\n\r\n", super::version(START))
}

#[tokio::test]
async fn a_stream_is_chunks_and_ends_in_order() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client.clone(), async move |address, shutdown| {
        let mut wire = RawWire::connect(address).await;
        wire.say(&stream()).await;
        let head = wire.head().await;
        assert!(is(&head, "transfer-encoding: chunked"), "{head:?}");
        assert!(wire.chunk().await.starts_with("retry: "));
        for (end, changes) in [(900, 1), (1000, 5000), (1100, 2)] {
            let ids: Vec<_> = (0..changes).map(|id| (ITEMS, id, Update)).collect();
            service.commit(end, &ids);
            let mut received = 0;
            while received < ids.len() {
                received += wire.chunk().await.matches("\"id\":").count();
            }
            assert_eq!(received, ids.len());
        }
        client.store.close();
        shutdown.cancel();
        assert_eq!(wire.rest().await, "0\r\n\r\n");
    })
    .await;
}

#[tokio::test]
async fn a_stream_to_a_client_of_http_1_0_is_no_chunks() {
    let mut service = TestService::start();
    let client = service.client.clone();
    serving(&client.clone(), async move |address, _| {
        let mut wire = RawWire::connect(address).await;
        wire.say(&stream().replace("HTTP/1.1", "HTTP/1.0")).await;
        let head = wire.head().await;
        assert!(!is(&head, "transfer-encoding: chunked"), "{head:?}");
        assert!(wire.line().await.starts_with("retry: "));
        service.commit(900, &[(ITEMS, 7, Update)]);
        client.store.close();
        assert!(wire.rest().await.contains("\"id\":7"));
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_when_its_client_disconnects() {
    let service = TestService::start();
    let client = service.client.clone();
    serving(&client.clone(), async move |address, _| {
        let streams = client.metrics.push_clients.with_label_values(&["sse"]);
        let mut wire = RawWire::connect(address).await;
        wire.say(&stream()).await;
        wire.head().await;
        assert!(wire.chunk().await.starts_with("retry: "));
        assert_eq!(streams.get(), 1);
        drop(wire);
        while streams.get() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
