//! Memory: under any load of database and clients it stays within the sum of the limits, and
//! well-behaved clients are served meanwhile.

mod load;
mod many_clients;
mod well_behaved;

use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;

use crate::support::{Highwater, PATIENCE, Program, TestPostgres};
use many_clients::GreedyClients;
use well_behaved::WellBehavedClient;

/// Duration of the overload; `HIGHWATER_TEST_SECONDS` changes it.
const SECONDS: u64 = 10;
/// Idle connections; `HIGHWATER_TEST_CLIENTS` changes their number. Each takes a file descriptor here and
/// one in the program.
const CLIENTS: u64 = 1000;

const MIB: u64 = 1 << 20;

/// The limits of this test: small, so that little writing exceeds them.
const LIMITS: &[(&str, &str)] = &[
    ("HIGHWATER_POSTGRES__STREAMING", "on"),
    ("HIGHWATER_LOG__MAX_CHANGES", "20000"),
    ("HIGHWATER_LOG__MAX_BYTES", "24MiB"),
    ("HIGHWATER_LOG__MAX_TRANSACTION_CHANGES", "5000"),
    ("HIGHWATER_LOG__MAX_TRANSACTION_BYTES", "4MiB"),
    ("HIGHWATER_LOG__MAX_STREAMED_BYTES", "8MiB"),
    ("HIGHWATER_CACHE__MAX_BYTES", "16MiB"),
    ("HIGHWATER_CACHE__MAX_PRELOAD_BYTES", "16MiB"),
    ("HIGHWATER_CACHE__MAX_PENDING_LOADS", "300"),
    ("HIGHWATER_HTTP__MAX_BUFFERED_RESPONSE_BYTES", "64MiB"),
    ("HIGHWATER_HTTP__MAX_PUSH_CLIENTS", "20"),
    // No connection is closed for being idle.
    ("HIGHWATER_HTTP__IDLE_TIMEOUT", "1h"),
    ("HIGHWATER_TABLES__QUIET__ROWS", "lazy"),
    ("HIGHWATER_TABLES__HOT__ROWS", "lazy"),
    ("HIGHWATER_TABLES__LARGE__ROWS", "lazy"),
    ("HIGHWATER_TABLES__GROWING__ROWS", "preload"),
];

/// The sum of the limits by the sizing table of the documentation, without loads and connections. Six
/// transactions: one that arrives, four batches that wait, one that is applied.
const LIMITS_BYTES: u64 = (24 + 6 * 4 + 8 + 16 + 16 + 64) * MIB;
/// Rows in transit from the database: as many as may wait, of the size of table `large`.
const LOADS_BYTES: u64 = 300 * load::LARGE_ROW_BYTES;
/// A process that has served requests and caches nothing; measured.
const PROCESS_BYTES: u64 = 40 * MIB;
/// A connection after one request; measured, and rounded up.
const CONNECTION_BYTES: u64 = 32 << 10;

/// The upper bound of memory with this many connections.
fn bound(connections: u64) -> u64 {
    PROCESS_BYTES + LIMITS_BYTES + LOADS_BYTES + connections * CONNECTION_BYTES
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_within_its_bound_while_every_limit_is_exceeded_and_others_are_served() {
    let pg = TestPostgres::private(
        TempPostgresOptions::default()
            .setting("logical_decoding_work_mem", "64kB")
            .setting("wal_sender_timeout", "30s"),
    )
    .await;
    pg.execute(load::SQL).await;
    let (hw, program) = Highwater::program_as(&pg, LIMITS, Stdio::null(), None).await;
    let start = hw.version().await;
    let clients = setting("HIGHWATER_TEST_CLIENTS").unwrap_or(CLIENTS);
    let lasts = Duration::from_secs(setting("HIGHWATER_TEST_SECONDS").unwrap_or(SECONDS));
    eprintln!("{} MiB at the start", program.resident_memory() / MIB);

    let idle = GreedyClients::idle(&hw, clients).await;
    eprintln!("{} MiB with {clients} idle connections", program.resident_memory() / MIB);
    let until = Instant::now() + lasts;
    let is_behind = AtomicBool::new(false);
    let well_behaved = WellBehavedClient::new(&hw, &pg, &is_behind).await;
    let (written, greedy, well_behaved) = tokio::join!(
        load::write(&pg, until, &is_behind),
        GreedyClients::greedy(&hw, &start, until),
        well_behaved.run(until)
    );
    let connections = clients + greedy.connections();
    report(&program, connections, &well_behaved);
    eprintln!("written meanwhile: {written:?}; responses to greedy clients: {:?}", greedy.seen);

    // On a slow machine the stream is behind what was written.
    hw.applied(&pg).await;
    until_evicted(&hw).await;
    assert!(program.peak_memory() < bound(connections), "more than the limits add up to");
    assert_limits_were_reached(&hw, &start, &greedy).await;
    well_behaved.assert_served();
    drop((idle, greedy));
}

fn report(program: &Program, connections: u64, well_behaved: &well_behaved::ServedTimes) {
    eprintln!(
        "{} MiB at most, of {} MiB that {connections} connections and the limits add up to; {well_behaved}",
        program.peak_memory() / MIB,
        bound(connections) / MIB,
    );
}

const EVICTIONS: &str = "highwater_cache_evictions_total{table=\"large\"} ";

/// The sum of the values of a metric, whose name ends with a space.
async fn metric(hw: &Highwater, name: &str) -> f64 {
    let metrics = hw.fetch("/metrics").await.body;
    let lines = metrics.as_str().expect("text").lines().filter_map(|line| line.strip_prefix(name));
    lines.filter_map(|value| value.trim().parse::<f64>().ok()).sum()
}

/// Waits until rows were evicted: on a slow machine the last loads are still in progress.
async fn until_evicted(hw: &Highwater) {
    let began = Instant::now();
    while metric(hw, EVICTIONS).await < 1.0 {
        assert!(began.elapsed() < PATIENCE, "cache.max_bytes was not reached");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fails if a limit was not reached: the test would prove nothing.
async fn assert_limits_were_reached(hw: &Highwater, start: &str, greedy: &GreedyClients) {
    let metric = |name| metric(hw, name);
    let large = "highwater_resets_total{reason=\"large_transaction\",table=\"giant\"} ";
    assert!(metric(large).await >= 1.0, "log.max_transaction_changes");
    let wide = "highwater_resets_total{reason=\"large_transaction\",table=\"wide\"} ";
    assert!(metric(wide).await >= 1.0, "log.max_transaction_bytes");
    let received = hw.poll(&format!("tables=wide&after={start}&limit=1")).await;
    assert_eq!(received.reset, ["wide"], "log.max_bytes");
    let refused = hw.fetch("/v1/tables/growing/rows?limit=1").await;
    let why = refused.body["detail"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("cache.max_preload_bytes"), "{refused:?}");
    assert!(greedy.has_seen("response-budget-exhausted"), "http.max_buffered_response_bytes");
    assert!(greedy.has_seen("too-many-clients"), "http.max_push_clients");
    assert!(metric("highwater_http_connections ").await >= 100.0, "they are all there");
    assert!(
        metric("highwater_replication_reconnects_total ").await < 1.0,
        "the stream was not interrupted"
    );
}

#[allow(clippy::disallowed_methods, reason = "settings of this test")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number")))
}
