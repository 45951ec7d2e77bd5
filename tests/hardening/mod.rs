//! Slow, broken and malicious clients against the program itself: other clients are still served.

mod junk;

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::{StatusCode, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::{CertificateFiles, Highwater, PATIENCE, TestPostgres};

/// The preface of an HTTP/2 client, with empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Concurrent requests.
const AT_ONCE: usize = 20;

async fn shop() -> TestPostgres {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1); \
         CREATE PUBLICATION highwater FOR TABLE items",
    )
    .await;
    pg
}

/// The remaining bytes of a connection until it is closed; empty if it was reset.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    let _ = ended.expect("the connection is closed in time");
    rest
}

/// The value of a metric.
async fn metric(service: &Highwater, name: &str) -> f64 {
    let text = service.fetch("/metrics").await.body;
    let lines = text.as_str().expect("text").lines().filter_map(|line| line.strip_prefix(name));
    lines.filter_map(|value| value.trim().parse::<f64>().ok()).sum()
}

/// Begins a request of one of several kinds and never ends it.
async fn half_open(address: SocketAddr, way: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun: &[u8] = match way % 6 {
        0 => b"",
        1 => b"G",
        2 => b"GET /v1/changes HTTP/1.1\r\nhost: x\r\nx-a: ",
        // A complete request, then half of one.
        3 => b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HTTP/1.1\r\n",
        4 => PREFACE.get(..20).unwrap(),
        // HEADERS without END_HEADERS, and no CONTINUATION.
        _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x82",
    };
    stream.write_all(begun).await.unwrap();
    stream
}

#[tokio::test]
async fn hundreds_of_unfinished_requests_delay_no_other_client() {
    let pg = shop().await;
    let service = Highwater::start_with(&pg, &[("http.header_timeout", "10s")]).await;
    let mut half = Vec::new();
    for way in 0..600 {
        half.push(half_open(service.address(), way).await);
    }
    let started = Instant::now();
    // They continue, a byte at a time, while another client sends requests.
    let mut asked = 0;
    while asked <= 20 || started.elapsed() < Duration::from_secs(2) {
        for (way, stream) in half.iter().enumerate() {
            // In HTTP/2 another byte would be a protocol error.
            if way % 6 < 4 {
                let _ = stream.try_write(b"a");
            }
        }
        let before = Instant::now();
        assert_eq!(service.fetch("/v1/changes").await.status, 200);
        // Long before the others are closed: it does not wait for them.
        assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
        asked += 1;
    }
    assert!(metric(&service, "highwater_http_connections ").await >= 500.0);
    for stream in &mut half {
        rest(stream).await;
    }
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    let closed =
        metric(&service, "highwater_http_connections_closed_total{reason=\"header_timeout\"}")
            .await;
    assert!(closed >= 500.0, "{closed}");
    service.stop().await.unwrap();
}

#[tokio::test]
async fn ten_thousand_malformed_requests_leave_no_trace() {
    let pg = shop().await;
    let files = CertificateFiles::new();
    let log = files.write("log", "");
    let file = Stdio::from(File::create(&log).unwrap());
    let settings = [("HIGHWATER_TABLES__ITEMS__ROWS", "lazy")];
    let (service, program) = Highwater::program_as(&pg, &settings, file, None).await;
    let seed = 20_261_126;
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let mut statuses = std::collections::BTreeMap::new();
    send(&service, 2_000, &mut random, &mut statuses).await;
    let before = program.resident_memory();
    send(&service, 8_000, &mut random, &mut statuses).await;
    let grown = program.resident_memory().saturating_sub(before);
    eprintln!("statuses {statuses:?}; memory grew by {grown} bytes");
    assert!(grown < 16 << 20, "{grown} bytes");
    assert!(statuses.keys().all(|&status| status < 500), "{statuses:?}");
    assert!(statuses.contains_key(&400) && statuses.contains_key(&200), "{statuses:?}");

    assert_eq!(service.fetch("/v1/changes").await.status, 200);
    assert_eq!(service.fetch("/v1/tables/items/rows/1").await.body["id"], 1);
    assert!(metric(&service, "highwater_http_connections ").await < 5.0);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!said.contains("panic") && !said.contains("ERROR"), "{said}");
}

/// Sends malformed requests; counts the statuses of the responses, 0 without one.
async fn send(
    service: &Highwater,
    count: usize,
    random: &mut fastrand::Rng,
    statuses: &mut std::collections::BTreeMap<u16, usize>,
) {
    let mut sending = JoinSet::new();
    for number in 0..count {
        let (address, junk) = (service.address(), junk::request(random, number));
        sending.spawn(exchange(address, junk));
        if sending.len() >= AT_ONCE {
            note(sending.join_next().await, statuses);
        }
    }
    while let Some(ended) = sending.join_next().await {
        note(Some(ended), statuses);
    }
}

type Ended = Option<Result<(Vec<u8>, Vec<u8>), tokio::task::JoinError>>;

fn note(ended: Ended, statuses: &mut std::collections::BTreeMap<u16, usize>) {
    let (sent, answer) = ended.expect("one of them").expect("no panic");
    for status in junk::statuses(&answer) {
        let shown = String::from_utf8_lossy(&sent[..sent.len().min(300)]).into_owned();
        let said = String::from_utf8_lossy(&answer).into_owned();
        assert!(status < 500, "{status} for {shown:?}: {said}");
        *statuses.entry(status).or_default() += 1;
    }
}

/// Sends these bytes and no more; returns them and the response.
async fn exchange(address: SocketAddr, junk: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let _ = stream.write_all(&junk).await;
    let _ = stream.shutdown().await;
    let answer = rest(&mut stream).await;
    (junk, answer)
}

#[tokio::test]
async fn http2_works_in_clear_text_and_connections_are_kept_alive() {
    let pg = shop().await;
    let service = Highwater::start_with(&pg, &[]).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let ask = async |path: &str| client.get(service.url() + path).send().await.unwrap();
    let version = service.version().await;
    let poll = format!("/v1/changes?after={version}&wait=20s");
    let held = async { ask(&poll).await.text().await.unwrap() };
    // Other requests on the same connection are answered during the long poll.
    let others = async {
        for _ in 0..50 {
            let answer = ask("/v1/changes").await;
            assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        }
        let headed = client.head(service.url() + "/v1/changes").send().await.unwrap();
        assert_eq!(headed.status(), StatusCode::OK);
        pg.execute("INSERT INTO items VALUES (2)").await;
    };
    let (body, ()) = tokio::join!(held, others);
    assert!(body.contains(r#""id":2"#), "{body}");

    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    for method in ["GET", "HEAD", "OPTIONS", "GET"] {
        let request = format!("{method} /livez HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let whole: &[u8] = if method == "GET" { b"\"alive\"}" } else { b"\r\n\r\n" };
        while !answer.ends_with(whole) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "kept open");
        }
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_waiting_poll_is_not() {
    let pg = shop().await;
    let service = Highwater::start_with(&pg, &[("http.idle_timeout", "500ms")]).await;
    let version = service.version().await;
    let mut idle = TcpStream::connect(service.address()).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let started = Instant::now();
    assert!(rest(&mut idle).await.starts_with(b"HTTP/1.1 200"));
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    let held = service.fetch(&format!("/v1/changes?after={version}&wait=2s")).await;
    assert_eq!(held.status, 200);
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let poll = format!("{}/v1/changes?after={version}&wait=2s", service.url());
    assert_eq!(client.get(poll).send().await.unwrap().status(), StatusCode::OK);
    let closed = async || {
        metric(&service, "highwater_http_connections_closed_total{reason=\"idle_timeout\"}").await
    };
    let started = Instant::now();
    while closed().await < 2.0 {
        assert!(started.elapsed() < PATIENCE, "the HTTP/2 connection is closed as well");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let pg = shop().await;
    let limits = [("http.max_connections", "5"), ("http.max_push_clients", "1")];
    let service = Highwater::start_with(&pg, &limits).await;
    let address = service.address();
    // One connection is the test's own.
    let mut taken = Vec::new();
    for _ in 0..4 {
        taken.push(TcpStream::connect(address).await.unwrap());
    }
    let request = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut late = TcpStream::connect(address).await.unwrap();
    late.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    let waited = tokio::time::timeout(Duration::from_secs(1), late.read_exact(&mut answer)).await;
    assert!(waited.is_err(), "it waits");
    drop(taken);
    let read = tokio::time::timeout(PATIENCE, late.read_exact(&mut answer)).await;
    read.expect("it is served").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    service.stop().await.unwrap();
}

/// The frames HEADERS and RST_STREAM of one HTTP/2 stream.
fn opened_and_reset(stream: u32, path: &str) -> Vec<u8> {
    // GET, http and the authority x from the static table; the path as a literal.
    let mut block = vec![0x82, 0x86, 0x41, 1, b'x', 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path.as_bytes());
    let length = u8::try_from(block.len()).unwrap();
    let number = stream.to_be_bytes();
    let headers = [&[0, 0, length, 1, 5][..], &number, &block].concat();
    [&headers[..], &[0, 0, 4, 3, 0], &number, &[0, 0, 0, 8]].concat()
}

#[tokio::test]
async fn a_client_that_only_opens_and_resets_streams_is_disconnected() {
    let pg = shop().await;
    let service = Highwater::start_with(&pg, &[]).await;
    let version = service.version().await;
    let poll = format!("/v1/changes?after={version}&wait=60s");
    let mut flood = TcpStream::connect(service.address()).await.unwrap();
    flood.write_all(PREFACE).await.unwrap();
    // A client's stream ids are odd.
    for first in (1..200_000_u32).step_by(200) {
        let sent: Vec<u8> = (first..first + 200)
            .step_by(2)
            .flat_map(|stream| opened_and_reset(stream, &poll))
            .collect();
        if flood.write_all(&sent).await.is_err() {
            break;
        }
        assert!(first < 100_000, "disconnected before");
    }
    let received = rest(&mut flood).await;
    eprintln!("received {} bytes", received.len());
    assert_eq!(service.fetch("/livez").await.status, 200);
    let started = Instant::now();
    while metric(&service, "highwater_poll_waiters ").await > 0.0 {
        assert!(started.elapsed() < PATIENCE, "requests of reset streams have ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.stop().await.unwrap();
}

#[tokio::test]
async fn requests_beyond_the_rate_limit_get_429_and_probes_do_not() {
    let pg = shop().await;
    let limits = [("http.rate_limit", "1"), ("http.rate_burst", "20")];
    let service = Highwater::start_with(&pg, &limits).await;
    let mut refused = 0;
    for _ in 0..60 {
        let reply = service.fetch("/v1/changes").await;
        if reply.status == 200 {
            continue;
        }
        assert_eq!(reply.status, 429);
        assert_eq!(reply.body["type"], "urn:highwater:problem:too-many-requests");
        assert_eq!(reply.headers["retry-after"], "1");
        assert_eq!(reply.headers["cache-control"], "no-store");
        refused += 1;
        assert_eq!(service.fetch("/readyz").await.status, 200);
    }
    assert!(refused >= 20, "{refused}");
    let unmatched = service.fetch("/nowhere").await;
    assert_eq!(unmatched.status, 429, "unknown paths count as well");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(service.fetch("/v1/changes").await.status, 200);
    service.stop().await.unwrap();
}

#[tokio::test]
async fn bodies_are_not_read() {
    let pg = shop().await;
    let settings = [("HIGHWATER_TABLES__ITEMS__ROWS", "lazy")];
    let (service, program) = Highwater::program_as(&pg, &settings, Stdio::null(), None).await;
    let before = program.resident_memory();
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    let head =
        "POST /admin/reload?table=items HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202", "it does not wait for the body");
    let (chunk, mut sent) = (vec![b'x'; 65_536], 0);
    while stream.write_all(&chunk).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 500_000_000, "the connection is closed");
    }
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let large = vec![b'x'; 32 << 20];
    let posting = client.post(service.url() + "/admin/reload?table=items").body(large).send();
    let posted = tokio::time::timeout(PATIENCE, posting).await.expect("it is answered in time");
    assert_eq!(posted.unwrap().status(), StatusCode::ACCEPTED);
    let grown = program.resident_memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
}
