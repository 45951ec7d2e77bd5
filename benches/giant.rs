//! One giant commit beside small ones, for each value of `postgres.streaming`: when it becomes visible,
//! what it costs service and server, and how much it delays the small ones.
//!
//! One session inserts many rows in one transaction; another commits single rows all the time, and a
//! client waits for each of those with a poll. Then the giant commits, and small commits continue until
//! polls return it. With streaming the work is done while it runs, otherwise after its commit.

use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::Common;
use crate::support::database::{BenchDatabase, BenchSession};
use crate::support::http::BenchHttpClient;
use crate::support::process;
use crate::support::report::{BenchReport, print_table};
use crate::support::samples::figure;
use crate::support::service::BenchService;

/// Limit of every wait.
const WAIT_TIME_MAX: Duration = Duration::from_mins(5);
/// Interval between queries for the age of the service's last status update.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// First major version of PostgreSQL with `streaming = parallel`.
const PARALLEL_SINCE: u16 = 16;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rows of the giant commit.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u32,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let database = BenchDatabase::start(common, &[]).await?;
    let mut report = BenchReport::new("giant");
    report.keep("postgresql", database.server.installation().version());
    report.keep("rows", options.rows);
    let has_parallel = database.server.installation().major() >= PARALLEL_SINCE;
    let mut rows = Vec::new();
    for streaming in ["off", "on", "parallel"] {
        if streaming != "parallel" || has_parallel {
            let measured = measure(&database, options.rows, streaming).await?;
            rows.push(measured.row(streaming));
            report.keep(streaming, measured);
        }
    }
    print_table(&HEADINGS, &rows);
    report.finish()
}

const HEADINGS: [&str; 11] = [
    "streaming",
    "written in s",
    "visible after s",
    "small commits, p50 ms",
    "p99 ms",
    "max ms",
    "…after the commit, max ms",
    "spilled MB",
    "walsender s",
    "service s",
    "peak MB",
];

/// Figures of one giant commit.
#[derive(Serialize)]
struct Measured {
    write_seconds: f64,
    /// From the commit until a poll returns it.
    visible_seconds: f64,
    /// From a small commit until its long poll returns: p50, p99, maximum.
    small_ms: [f64; 3],
    /// Maximum of the small commits after the giant one.
    small_after_commit_ms: f64,
    small_commits: u64,
    spilled_mb: f64,
    streamed_mb: f64,
    walsender_cpu_seconds: f64,
    own_cpu_seconds: f64,
    peak_memory_mb: f64,
    memory_before_mb: f64,
    /// Greatest age of the last status update.
    status_age_seconds: f64,
}

impl Measured {
    fn row(&self, streaming: &str) -> Vec<String> {
        let [p50, p99, max] = self.small_ms;
        let figures = [
            self.write_seconds,
            self.visible_seconds,
            p50,
            p99,
            max,
            self.small_after_commit_ms,
            self.spilled_mb,
            self.walsender_cpu_seconds,
            self.own_cpu_seconds,
            self.peak_memory_mb,
        ];
        let figures = figures.map(figure).into_iter();
        [streaming.to_owned()].into_iter().chain(figures).collect()
    }
}

async fn measure(database: &BenchDatabase, rows: u32, streaming: &str) -> anyhow::Result<Measured> {
    let session = &database.session;
    session
        .execute(
            "DROP PUBLICATION IF EXISTS bench; DROP TABLE IF EXISTS giant, small; \
             CREATE TABLE giant (id bigint PRIMARY KEY, v int); \
             CREATE TABLE small (id bigint PRIMARY KEY); \
             CREATE PUBLICATION bench FOR TABLE giant, small; CHECKPOINT",
        )
        .await?;
    let slot = format!("giant_{streaming}");
    let settings = [
        ("postgres.publication", "bench"),
        ("postgres.slot", slot.as_str()),
        ("postgres.streaming", streaming),
    ];
    let mut service = BenchService::start(&database.url(), &settings)?;
    service.wait_until_ready(session.lsn("pg_current_wal_lsn()").await?).await?;
    let walsender: i32 = session
        .value(&format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}'"))
        .await?;
    let walsender = u32::try_from(walsender)?;
    let cpu_before = (process::cpu(walsender)?, service.cpu()?);
    let memory_before = process::peak_bytes(service.pid())?;

    let giant = BenchSession::open(&database.url()).await?;
    let watcher = BenchSession::open(&database.url()).await?;
    let mut small = Small::start(&service, database).await?;
    let mut oldest = 0.0_f64;

    let began = Instant::now();
    let insert =
        format!("BEGIN; INSERT INTO giant SELECT id, 0 FROM generate_series(1, {rows}) id");
    let mut writing = JoinSet::new();
    writing.spawn(async move { giant.execute(&insert).await.map(|()| (giant, began.elapsed())) });
    let (giant, wrote) = loop {
        small.turn().await?;
        oldest = oldest.max(small.status_age(&watcher).await?);
        if let Some(written) = writing.try_join_next() {
            break written??;
        }
    };
    let write_seconds = wrote.as_secs_f64();
    giant.execute("COMMIT").await?;
    let committed = Instant::now();
    let mut after_commit = Duration::ZERO;
    while !small.is_visible("giant").await? {
        after_commit = after_commit.max(small.turn().await?);
        oldest = oldest.max(small.status_age(&watcher).await?);
        anyhow::ensure!(
            committed.elapsed() < WAIT_TIME_MAX,
            "the giant commit does not become visible"
        );
    }
    let visible_seconds = committed.elapsed().as_secs_f64();
    let cpu = (process::cpu(walsender)?, service.cpu()?);
    let bytes = |column: &str| {
        format!(
            "SELECT coalesce(sum({column}), 0)::float8 FROM pg_stat_replication_slots WHERE slot_name = '{slot}'"
        )
    };
    // PostgreSQL publishes these statistics with a delay.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let measured = Measured {
        write_seconds,
        visible_seconds,
        small_ms: [0.5, 0.99, 1.0].map(|q| small.delays.value_at_quantile(q) as f64 / 1e3),
        small_after_commit_ms: after_commit.as_secs_f64() * 1e3,
        small_commits: small.delays.len(),
        spilled_mb: session.value::<f64>(&bytes("spill_bytes")).await? / 1e6,
        streamed_mb: session.value::<f64>(&bytes("stream_bytes")).await? / 1e6,
        walsender_cpu_seconds: cpu.0.saturating_sub(cpu_before.0).as_secs_f64(),
        own_cpu_seconds: cpu.1.saturating_sub(cpu_before.1).as_secs_f64(),
        peak_memory_mb: process::peak_bytes(service.pid())? as f64 / 1e6,
        memory_before_mb: memory_before as f64 / 1e6,
        status_age_seconds: oldest,
    };
    drop((small, giant, watcher));
    service.stop()?;
    database.wait_until_alone().await?;
    session.execute(&format!("SELECT pg_drop_replication_slot('{slot}')")).await?;
    Ok(measured)
}

/// Small commits, each awaited by a client.
struct Small {
    writer: BenchSession,
    client: BenchHttpClient,
    version: String,
    start: String,
    next: u64,
    delays: Histogram<u64>,
    status_checked: Instant,
}

impl Small {
    async fn start(service: &BenchService, database: &BenchDatabase) -> anyhow::Result<Self> {
        let mut client = BenchHttpClient::connect(service.address).await?;
        let version = version(client.get("/v1/changes?tables=small").await?)?;
        let writer = BenchSession::open(&database.url()).await?;
        let start = version.clone();
        let (delays, status_checked) = (Histogram::new(3)?, Instant::now());
        Ok(Self { writer, client, version, start, next: 1, delays, status_checked })
    }

    /// Commits one row and waits until a poll returns it; returns the time that took.
    async fn turn(&mut self) -> anyhow::Result<Duration> {
        let path = format!("/v1/changes?tables=small&wait=60s&after={}", self.version);
        self.next += 1;
        self.writer.execute(&format!("INSERT INTO small VALUES ({})", self.next)).await?;
        let committed = Instant::now();
        let received =
            timeout(WAIT_TIME_MAX, self.client.get(&path)).await.context("a small commit")??;
        self.version = version(received)?;
        let took = committed.elapsed();
        self.delays.record(u64::try_from(took.as_micros())?)?;
        Ok(took)
    }

    /// Whether polls have returned changes or a reset of the table since the start.
    async fn is_visible(&mut self, table: &str) -> anyhow::Result<bool> {
        let path = format!("/v1/changes?tables={table}&limit=1&after={}", self.start);
        let response: serde_json::Value = serde_json::from_slice(self.client.get(&path).await?)?;
        let list = |name: &str| response.get(name).and_then(serde_json::Value::as_array);
        let some = |name: &str| list(name).is_some_and(|list| !list.is_empty());
        Ok(some("reset") || some("changes"))
    }

    /// Age of the last status update that the server received, once per interval; otherwise 0.
    async fn status_age(&mut self, watcher: &BenchSession) -> anyhow::Result<f64> {
        if self.status_checked.elapsed() < STATUS_INTERVAL {
            return Ok(0.0);
        }
        self.status_checked = Instant::now();
        watcher
            .value(
                "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - reply_time)), 0)::float8 \
                 FROM pg_stat_replication",
            )
            .await
    }
}

fn version(response: &[u8]) -> anyhow::Result<String> {
    let response: serde_json::Value = serde_json::from_slice(response)?;
    let version = response.get("version").and_then(serde_json::Value::as_str);
    Ok(version.context("a version")?.to_owned())
}
