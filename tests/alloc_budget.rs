//! Budgets: the allocations of a change and of a poll, and the bytes of a waiting client. These counts do not
//! depend on the machine or its load, so a clear increase is detected at once. Times and resident memory
//! are measured by the benchmarks (`benches/`).
//!
//! A separate program, because counting replaces the global allocator.

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

/// Allocations of one change in commits of 1 row and of 100 rows, and of one poll with no change and with
/// 100 changes, as last measured.
const ONE_ROW: f64 = 1.06;
const HUNDRED_ROWS: f64 = 0.10;
const NO_CHANGES: f64 = 33.0;
const HUNDRED_CHANGES: f64 = 30.0;
/// Bytes of a waiting client by transport, in an unoptimized build.
const STREAM: f64 = 4_600.0;
const LONG_POLL: f64 = 7_300.0;
const SOCKET: f64 = 7_500.0;

/// Rows per measurement, so many that collections that grow by doubling contribute little.
const ROWS: u64 = 50_000;
/// Events applied per batch, as when the stream lags.
const BATCH: usize = 1000;
/// Polls per measurement.
const POLLS: usize = 1000;
/// Waiting clients per measurement.
const CLIENTS: usize = 400;

/// The tolerated ratio of a measurement to its budget.
const TOLERANCE: f64 = 1.1;

/// Asserts that a measurement is close to its budget.
fn assert_near_budget(what: &str, unit: &str, measured: f64, budget: f64) {
    println!("{what}: {measured:.2} {unit}, budget {budget}");
    assert!(
        measured <= budget * TOLERANCE,
        "{what} took {measured:.2} {unit}, more than the budget of {budget}: find the new ones, or raise \
         the budget here if they are justified"
    );
    assert!(
        measured >= budget / TOLERANCE / TOLERANCE,
        "{what} took only {measured:.2} {unit}, not {budget}: lower the budget here, so that a later \
         increase is detected"
    );
}

struct MeasuredService {
    writer: Writer,
    store: Store,
    router: Router,
    metrics: Metrics,
    _source: watch::Sender<SourceStatus>,
}

fn open() -> MeasuredService {
    let metrics = Metrics::new().unwrap();
    let (writer, store) = store::open(
        Limits::default(),
        StreamRequests::default(),
        StoreMetrics::register(&metrics.registry).unwrap(),
    );
    let mut status = SourceStatus::new("db".into(), SourceDetail::Postgres(SlotStatus::default()));
    (status.phase, status.was_ready) = (Phase::Streaming, true);
    let (source, seen) = watch::channel(status);
    let router = router(store.clone(), seen, &metrics, &HttpOptions::default());
    MeasuredService { writer, store, router, metrics, _source: source }
}

/// Decodes messages and applies them to the log.
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
fn a_change_stays_within_its_allocation_budget() {
    let allocations = "allocations";
    assert_near_budget(
        "a change, in commits of 1 row",
        allocations,
        allocations_per_change(1),
        ONE_ROW,
    );
    let hundred = allocations_per_change(100);
    assert_near_budget("a change, in commits of 100 rows", allocations, hundred, HUNDRED_ROWS);
}

/// Sends a request and reads the response.
async fn request(router: &mut Router, path: &str) -> (StatusCode, Vec<Bytes>) {
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
    // Every commit of one row advances the position by the same number of bytes.
    after.position.lsn.0 -= changes * stream::BYTES_PER_COMMIT_OF_ONE;
    let path = format!("/v1/changes?tables=t&after={after}");
    let mut poll = || {
        let (status, chunks) = runtime.block_on(request(&mut service.router, &path));
        assert_eq!(status, 200);
        chunks.concat()
    };
    let body = serde_json::from_slice::<serde_json::Value>(&poll()).unwrap();
    assert_eq!(body["changes"].as_array().map(|changes| changes.len() as u64), Some(changes));
    let counted = allocation_counter::measure(|| {
        for _ in 0..POLLS {
            poll();
        }
    });
    counted.count_total as f64 / POLLS as f64
}

#[test]
fn a_poll_stays_within_its_allocation_budget() {
    let allocations = "allocations";
    assert_near_budget("a poll without changes", allocations, allocations_per_poll(0), NO_CHANGES);
    assert_near_budget(
        "a poll with 100 changes",
        allocations,
        allocations_per_poll(100),
        HUNDRED_CHANGES,
    );
}

/// Opens connections, sends a request on each, and waits until all clients wait.
fn wait(address: SocketAddr, request: &[u8], count: usize, waiting: &IntGauge, runtime: &Runtime) {
    let all = waiting.get() + i64::try_from(count).unwrap();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        // Keeps the connection open until the process ends.
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

/// The bytes that the service retains for each waiting client.
fn bytes_per_waiting_client(request: &str, waiting: impl FnOnce(&Metrics) -> IntGauge) -> f64 {
    let mut service = open();
    apply(&messages(1, 1), &mut service.writer);
    let request = request.replace("AFTER", &service.store.applied().unwrap().to_string());
    let waiting = waiting(&service.metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (router, metrics) = (service.router.clone(), service.metrics.clone());
    let config =
        ListenerConfig { router, options: HttpServerOptions::default(), tls: None, metrics };
    runtime.spawn(serve(listener, config, CancellationToken::new()));
    wait(address, request.as_bytes(), CLIENTS, &waiting, &runtime);
    let counted = allocation_counter::measure(|| {
        wait(address, request.as_bytes(), CLIENTS, &waiting, &runtime);
    });
    counted.bytes_current as f64 / CLIENTS as f64
}

#[test]
fn a_waiting_client_stays_within_its_byte_budget() {
    let stream = "GET /v1/stream?after=AFTER HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let stream = bytes_per_waiting_client(stream, |m| m.push_clients.with_label_values(&["sse"]));
    assert_near_budget("a stream", "bytes", stream, STREAM);
    let long_poll = "GET /v1/changes?wait=60s&after=AFTER HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let long_poll = bytes_per_waiting_client(long_poll, |m| m.poll_waiters.clone());
    assert_near_budget("a long poll", "bytes", long_poll, LONG_POLL);
    let socket = "GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let socket = bytes_per_waiting_client(socket, |m| m.push_clients.with_label_values(&["ws"]));
    assert_near_budget("a socket", "bytes", socket, SOCKET);
}
