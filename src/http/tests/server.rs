use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::{Certificates, HttpServerOptions, ListenerConfig, serve};

/// Sends a request by hand and reads until the connection ends.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(path: &str, connection: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n\r\n")
}

/// Serves on a free port while `with` runs, then shuts down; both must end.
pub(super) async fn serving(
    client: &TestClient,
    with: impl AsyncFnOnce(std::net::SocketAddr, CancellationToken),
) {
    serving_as(client, HttpServerOptions::default(), None, with).await;
}

/// …with these limits, and TLS where there is a certificate.
pub(super) async fn serving_as(
    client: &TestClient,
    options: HttpServerOptions,
    tls: Option<Certificates>,
    with: impl AsyncFnOnce(std::net::SocketAddr, CancellationToken),
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let (router, metrics) = (client.router.clone(), client.metrics.clone());
    let offer = ListenerConfig { router, options, tls, metrics };
    let served = serve(listener, offer, shutdown.clone());
    let used = async {
        with(address, shutdown.clone()).await;
        shutdown.cancel();
    };
    let both = async { tokio::join!(served, used) };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("it ends");
}

#[tokio::test]
async fn requests_are_answered_over_tcp() {
    let service = TestService::start();
    serving(&service.client, async move |address, _| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = exchange(&mut stream, &get("/livez", "close")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("{\"status\":\"alive\"}"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn shutdown_answers_held_polls_ends_idle_connections_and_accepts_no_more() {
    let service = TestService::start();
    let client = service.client.clone();
    serving(&service.client, async move |address, shutdown| {
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut holding = TcpStream::connect(address).await.unwrap();
        let path = format!("/v1/changes?wait=60s&after={}", version(START));
        let request = get(&path, "keep-alive");
        let (answer, ended, ()) =
            tokio::join!(exchange(&mut holding, &request), exchange(&mut idle, ""), async {
                client.held(1).await;
                client.store.close();
                shutdown.cancel();
            });
        assert!(answer.contains("\"changes\":[]"), "{answer}");
        assert_eq!(ended, "");
        assert!(TcpStream::connect(address).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_rejected() {
    let service = TestService::start();
    serving(&service.client, async move |address, _| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(70 * 1024));
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 64];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_disconnected_client_is_not_held() {
    let service = TestService::start();
    let client = service.client.clone();
    serving(&service.client, async move |address, _| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let path = format!("/v1/changes?wait=60s&after={}", version(START));
        stream.write_all(get(&path, "keep-alive").as_bytes()).await.unwrap();
        client.held(1).await;
        drop(stream);
        client.held(0).await;
    })
    .await;
}
