//! What one change and one poll cost, in allocations, and a client that waits, in bytes: counts that
//! don't depend on the machine or on what else it does, so that a change that makes one clearly dearer
//! is seen at once. Times, and what is in RAM, are the benchmarks' affair (`benches/`).
//!
//! A program of its own, because counting takes the place of the allocator.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a test that panics has failed"
)]

#[path = "../benches/support/stream.rs"]
mod stream;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{Request, StatusCode};
use highwater::http::{HttpOptions, HttpServerOptions, ListenerConfig, router, serve};
use highwater::metrics::Metrics;
use highwater::pgoutput::decode;
use highwater::source_status::{Phase, SlotStatus, SourceDetail, SourceStatus, StreamRequests};
use highwater::store::{self, Limits, Store, StoreMetrics, Writer};
use prometheus::IntGauge;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use stream::{Messages, assembler, messages};

/// Allocations of one change, in commits of 1 row and of 100, and of one poll, with nothing new and with
/// 100 changes: as they were counted last.
const ONE: f64 = 1.06;
const HUNDRED: f64 = 0.10;
const NOTHING: f64 = 33.0;
const SOME: f64 = 30.0;
/// Bytes of a client that waits, by how it does, in a build that is not optimised.
const STREAM: f64 = 4_600.0;
const HELD: f64 = 7_300.0;
const SOCKET: f64 = 7_500.0;

/// Rows of each measurement: enough that tables and lists that grow by doubling are a small part.
const ROWS: u64 = 50_000;
/// Events handed to the store at once, as when a stream is behind.
const BATCH: usize = 1000;
/// Polls of each measurement.
const POLLS: usize = 1000;
/// Waiting clients of each measurement.
const CLIENTS: usize = 400;

/// A cost may be so much above what it was when it was last written down.
const LEEWAY: f64 = 1.1;

/// Compares, and says what to do.
fn assert_at_most(what: &str, unit: &str, measured: f64, known: f64) {
    println!("{what}: {measured:.2} {unit}, known are {known}");
    assert!(
        measured <= known * LEEWAY,
        "{what} took {measured:.2} {unit}, and {known} before: find out which is new, or, if it is \
         worth it, write the new figure down here"
    );
    assert!(
        measured >= known / LEEWAY / LEEWAY,
        "{what} takes only {measured:.2} {unit}, not {known}: write the new figure down here, so \
         that it stays so"
    );
}

struct Opened {
    writer: Writer,
    store: Store,
    router: Router,
    metrics: Metrics,
    _source: watch::Sender<SourceStatus>,
}

fn open() -> Opened {
    let metrics = Metrics::new().unwrap();
    let (writer, store) = store::open(
        Limits::default(),
        StreamRequests::default(),
        StoreMetrics::register(&metrics.registry).unwrap(),
    );
    let mut picture = SourceStatus::new("db".into(), SourceDetail::Postgres(SlotStatus::default()));
    (picture.phase, picture.was_ready) = (Phase::Streaming, true);
    let (source, seen) = watch::channel(picture);
    let router = router(store.clone(), seen, &metrics, &HttpOptions::default());
    Opened { writer, store, router, metrics, _source: source }
}

/// From the bytes of messages to the log.
fn apply(messages: &Messages, writer: &mut Writer) {
    let (mut assembler, started) = assembler();
    writer.apply(vec![started]);
    let mut events = Vec::new();
    for message in messages.iter() {
        assembler.push(&decode(message).unwrap(), &mut events).unwrap();
        if events.len() >= BATCH {
            writer.apply(std::mem::take(&mut events));
        }
    }
    writer.apply(events);
}

fn allocations_per_change(rows_per_commit: u64) -> f64 {
    let messages = messages(ROWS, rows_per_commit);
    let mut service = open();
    let counted = allocation_counter::measure(|| apply(&messages, &mut service.writer));
    let entries = service.store.status().tables.first().map(|table| table.entries as u64);
    assert_eq!(entries, Some(ROWS));
    counted.count_total as f64 / ROWS as f64
}

#[test]
fn a_change_takes_no_more_allocations_than_before() {
    let allocations = "allocations";
    assert_at_most("a change, in commits of 1 row", allocations, allocations_per_change(1), ONE);
    let hundred = allocations_per_change(100);
    assert_at_most("a change, in commits of 100 rows", allocations, hundred, HUNDRED);
}

/// Asks, and reads the answer.
async fn ask(router: &mut Router, path: &str) -> (StatusCode, Vec<Bytes>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.call(request).await.unwrap();
    let status = response.status();
    let (mut body, mut chunks) = (Box::pin(response.into_body()), Vec::with_capacity(1));
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        chunks.extend(frame.unwrap().into_data());
    }
    (status, chunks)
}

fn allocations_per_poll(changes: u64) -> f64 {
    let mut service = open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    apply(&messages(ROWS, 1), &mut service.writer);
    let all = service.store.applied().unwrap();
    let mut after = all;
    // A commit of one row moves the position by the same each time.
    after.position.lsn.0 -= changes * stream::BYTES_PER_COMMIT_OF_ONE;
    let path = format!("/v1/changes?tables=t&after={after}");
    let mut poll = || {
        let (status, chunks) = runtime.block_on(ask(&mut service.router, &path));
        assert_eq!(status, 200);
        chunks.concat()
    };
    let told = serde_json::from_slice::<serde_json::Value>(&poll()).unwrap();
    assert_eq!(told["changes"].as_array().map(|told| told.len() as u64), Some(changes));
    let counted = allocation_counter::measure(|| {
        for _ in 0..POLLS {
            poll();
        }
    });
    counted.count_total as f64 / POLLS as f64
}

#[test]
fn a_poll_takes_no_more_allocations_than_before() {
    let allocations = "allocations";
    assert_at_most("a poll with nothing new", allocations, allocations_per_poll(0), NOTHING);
    assert_at_most("a poll with 100 changes", allocations, allocations_per_poll(100), SOME);
}

/// Connects, asks, and lets the service come to rest.
fn wait(address: SocketAddr, said: &[u8], count: usize, waiting: &IntGauge, runtime: &Runtime) {
    let all = waiting.get() + i64::try_from(count).unwrap();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(said).unwrap();
        // It is open until the process ends.
        std::mem::forget(stream);
        runtime.block_on(tokio::task::yield_now());
    }
    runtime.block_on(async {
        while waiting.get() < all {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
}

/// What the service allocates for each client and keeps.
fn bytes_per_waiting_client(said: &str, waiting: impl FnOnce(&Metrics) -> IntGauge) -> f64 {
    let mut service = open();
    apply(&messages(1, 1), &mut service.writer);
    let said = said.replace("AFTER", &service.store.applied().unwrap().to_string());
    let waiting = waiting(&service.metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (router, metrics) = (service.router.clone(), service.metrics.clone());
    let offer =
        ListenerConfig { router, options: HttpServerOptions::default(), tls: None, metrics };
    runtime.spawn(serve(listener, offer, CancellationToken::new()));
    wait(address, said.as_bytes(), CLIENTS, &waiting, &runtime);
    let counted = allocation_counter::measure(|| {
        wait(address, said.as_bytes(), CLIENTS, &waiting, &runtime);
    });
    counted.bytes_current as f64 / CLIENTS as f64
}

#[test]
fn a_waiting_client_takes_no_more_bytes_than_before() {
    let stream = "GET /v1/stream?after=AFTER HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let stream = bytes_per_waiting_client(stream, |m| m.push_clients.with_label_values(&["sse"]));
    assert_at_most("a stream", "bytes", stream, STREAM);
    let held = "GET /v1/changes?wait=60s&after=AFTER HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let held = bytes_per_waiting_client(held, |m| m.poll_waiters.clone());
    assert_at_most("a held poll", "bytes", held, HELD);
    let socket = "GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let socket = bytes_per_waiting_client(socket, |m| m.push_clients.with_label_values(&["ws"]));
    assert_at_most("a socket", "bytes", socket, SOCKET);
}
