//! What one change and one poll cost, in allocations: counts that don't depend on the machine or on
//! what else it does, so that a change that makes either clearly dearer is seen at once. Times are
//! the benchmarks' affair (`benches/`).
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

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{Request, StatusCode};
use highwater::http::{HttpOptions, router};
use highwater::metrics::Metrics;
use highwater::pgoutput::decode;
use highwater::source::{Phase, SourceStatus, Wishes};
use highwater::store::{self, Limits, Store, Writer};
use tokio::sync::watch;
use tower::Service as _;

use stream::{Messages, assembler, messages};

/// Allocations of one change, in commits of 1 row and of 100, and of one poll, with nothing new and with
/// 100 changes: as they were counted last.
const ONE: f64 = 1.06;
const HUNDRED: f64 = 0.10;
const NOTHING: f64 = 33.0;
const SOME: f64 = 30.0;

/// Rows of each measurement: enough that tables and lists that grow by doubling are a small part.
const ROWS: u64 = 50_000;
/// Events handed to the store at once, as when a stream is behind.
const BATCH: usize = 1000;
/// Polls of each measurement.
const POLLS: usize = 1000;

/// A cost may be so much above what it was when it was last written down.
const LEEWAY: f64 = 1.1;

/// Compares, and says what to do.
fn assert_at_most(what: &str, measured: f64, known: f64) {
    println!("{what}: {measured:.2} allocations, known are {known}");
    assert!(
        measured <= known * LEEWAY,
        "{what} took {measured:.2} allocations, and {known} before: find out which is new, or, if it \
         is worth it, write the new figure down here"
    );
    assert!(
        measured >= known / LEEWAY / LEEWAY,
        "{what} takes only {measured:.2} allocations, not {known}: write the new figure down here, so \
         that it stays so"
    );
}

struct Opened {
    writer: Writer,
    store: Store,
    router: Router,
    _source: watch::Sender<SourceStatus>,
}

fn open() -> Opened {
    let metrics = Metrics::new().unwrap();
    let (writer, store) = store::open(Limits::default(), Wishes::default(), metrics.clone());
    let mut picture = SourceStatus::new("db".into(), "publication".into(), "slot".into());
    (picture.phase, picture.was_ready) = (Phase::Streaming, true);
    let (source, seen) = watch::channel(picture);
    let router = router(store.clone(), seen, &metrics, &HttpOptions::default());
    Opened { writer, store, router, _source: source }
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
    assert_at_most("a change, in commits of 1 row", allocations_per_change(1), ONE);
    assert_at_most("a change, in commits of 100 rows", allocations_per_change(100), HUNDRED);
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
    assert_at_most("a poll with nothing new", allocations_per_poll(0), NOTHING);
    assert_at_most("a poll with 100 changes", allocations_per_poll(100), SOME);
}
