//! Cached rows: hits per second, and the memory of a cached row beyond its JSON.
//!
//! A hit is compared with a bare axum handler that returns the same bytes with the same headers,
//! alternating under the same load. Memory is the growth of the service's resident memory between
//! few rows and many, divided by the rows, less the length of a document: the rest is overhead,
//! including the allocator's. Lazy rows are requested in small batches: rows in transit between
//! database and cache briefly take more memory, which is not measured here.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::sleep;

use crate::support::Common;
use crate::support::bare::{BareServer, CannedResponse};
use crate::support::database::BenchDatabase;
use crate::support::http::BenchHttpClient;
use crate::support::plot::Bars;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::rival::{Effort, Rival, compete};
use crate::support::samples::figure;
use crate::support::service::BenchService;

const LEAST_RATIO: f64 = 0.8;
const MOST_BYTES: f64 = 120.0;
/// Rows of the baseline table.
const FEW: u32 = 1000;
/// Rows per request.
const BATCH: u32 = 500;
/// Requested rows between two waits for the cache to contain them.
const SETTLE_AFTER: u32 = 20_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    effort: Effort,
    /// Cached rows where memory is measured.
    #[arg(long, default_value_t = 200_000)]
    rows: u32,
}

/// A `rows` setting, which is also the name of its table.
const WAYS: [&str; 2] = ["lazy", "preload"];

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let database = BenchDatabase::start(common, &[]).await?;
    for table in WAYS {
        create(&database, table, FEW).await?;
    }
    database.session.execute("CREATE PUBLICATION bench FOR TABLE lazy, preload").await?;
    let mut report = BenchReport::new("rows");
    report.keep("postgresql", database.server.installation().version());
    measure_hits(&database, options, &mut report).await?;
    measure_memory(&database, options, &mut report).await?;
    report.finish()
}

async fn create(database: &BenchDatabase, table: &str, rows: u32) -> anyhow::Result<()> {
    let create = format!(
        "CREATE TABLE {table} (id bigint PRIMARY KEY, owner int, name text, changed timestamptz)"
    );
    database.session.execute(&create).await?;
    fill(database, table, 1, rows).await
}

async fn fill(database: &BenchDatabase, table: &str, first: u32, last: u32) -> anyhow::Result<()> {
    let insert = format!(
        "INSERT INTO {table} SELECT n, n % 1000, 'item ' || n, \
         '2024-01-31Z'::timestamptz + n * interval '1 s' FROM generate_series({first}, {last}) n"
    );
    database.session.execute(&insert).await
}

async fn start(database: &BenchDatabase) -> anyhow::Result<BenchService> {
    let settings = [
        ("postgres.publication", "bench"),
        ("postgres.slot", "bench"),
        ("postgres.temporary_slot", "true"),
        ("tables.lazy.rows", "lazy"),
        ("tables.preload.rows", "preload"),
        ("cache.max_bytes", "16GiB"),
        ("cache.max_preload_bytes", "16GiB"),
    ];
    database.wait_until_alone().await?;
    let mut service = BenchService::start(&database.url(), &settings)?;
    service.wait_until_ready(database.session.lsn("pg_current_wal_lsn()").await?).await?;
    service.wait_until_healthy().await?;
    Ok(service)
}

async fn measure_hits(
    database: &BenchDatabase,
    options: &Options,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let service = start(database).await?;
    let mut plot = Bars::new("Row hits", "responses/s");
    for way in WAYS {
        let path = format!("/v1/tables/{way}/rows/77");
        // The first request loads a lazy row.
        BenchHttpClient::connect(service.address).await?.get(&path).await?;
        let response = CannedResponse::of(service.address, &path).await?;
        ensure!(response.has_header("x-cache", "hit"), "not in memory: {}", response.body);
        let bare = BareServer::start(&response).await?;
        let mut rivals = [
            Rival::new("highwater", &[service.pid()], service.address, &path),
            Rival::new("bare axum handler", &[bare.pid()?], bare.address, &path),
        ];
        compete(&options.effort, &mut rivals).await?;
        let rows = rivals.iter().map(Rival::row).collect::<Vec<_>>();
        let title = format!("a row hit, {way}");
        print_table(&[&[title.as_str()], &Rival::HEADINGS[..]].concat(), &rows);
        let [highwater, yardstick] = &rivals;
        let ratio = highwater.figures.rate.ratio_to(&yardstick.figures.rate);
        report.judge(format!("{title} / a bare handler"), ratio, Goal::AtLeast(LEAST_RATIO));
        plot.group(way, rivals.iter().map(Rival::bar).collect());
        report.keep(&title, &rivals);
    }
    report.plot("hits", plot.to_svg());
    service.stop()
}

/// Memory of one service.
#[derive(Clone, Copy, Serialize)]
struct CachedVariant {
    rows: u32,
    resident_bytes: u64,
    document_bytes: f64,
}

async fn measure_memory(
    database: &BenchDatabase,
    options: &Options,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let few = [
        memory_with_rows(database, "lazy", FEW).await?,
        memory_with_rows(database, "preload", FEW).await?,
    ];
    for table in WAYS {
        fill(database, table, FEW + 1, options.rows).await?;
    }
    let mut rows = Vec::new();
    let mut plot = Bars::new("Memory of a cached row", "bytes beyond its JSON");
    // Preloaded rows are in memory in both cases, so lazy ones are counted as the difference.
    let preload = memory_with_rows(database, "preload", options.rows).await?;
    let lazy = memory_with_rows(database, "lazy", options.rows).await?;
    let [few_lazy, few_preload] = few;
    for (way, before, after) in [("preload", few_preload, preload), ("lazy", preload, lazy)] {
        let added = if way == "lazy" { options.rows } else { options.rows - FEW };
        let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
        let beside = grown as f64 / f64::from(added) - after.document_bytes;
        rows.push(vec![way.to_owned(), figure(after.document_bytes), figure(beside)]);
        let what = format!("bytes of a row beyond its JSON, {way}");
        report.judge(what, beside, Goal::AtMost(MOST_BYTES));
        report.keep(&format!("memory, {way}"), [before, after]);
        plot.group(way, vec![("beyond the JSON".into(), beside)]);
    }
    report.keep("memory, few lazy rows", few_lazy);
    print_table(&[&format!("{} rows", options.rows), "JSON", "bytes beside"], &rows);
    report.plot("memory", plot.to_svg());
    Ok(())
}

/// Waits until this many lazy rows are cached.
async fn wait_until_settled(client: &mut BenchHttpClient, rows: u32) -> anyhow::Result<()> {
    loop {
        let status: serde_json::Value = serde_json::from_slice(client.get("/v1/status").await?)?;
        let tables = status.get("tables").and_then(serde_json::Value::as_array);
        let is_lazy = |table: &&serde_json::Value| {
            table.get("table").and_then(serde_json::Value::as_str) == Some("lazy")
        };
        let lazy = tables.into_iter().flatten().find(is_lazy);
        let entries = lazy.and_then(|table| table.pointer("/rows/entries")?.as_u64());
        if entries.context("no lazy rows in /v1/status")? >= u64::from(rows) {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Starts a service on the existing tables, and reads all lazy rows if those are measured.
async fn memory_with_rows(
    database: &BenchDatabase,
    way: &str,
    rows: u32,
) -> anyhow::Result<CachedVariant> {
    let service = start(database).await?;
    let mut client = BenchHttpClient::connect(service.address).await?;
    let mut document_bytes = 0;
    for first in (1..=rows).step_by(BATCH as usize).take(if way == "lazy" { usize::MAX } else { 1 })
    {
        let ids = (first..first + BATCH.min(rows - first + 1)).map(|id| id.to_string());
        let path = format!("/v1/tables/{way}/rows?ids={}", ids.collect::<Vec<_>>().join(","));
        document_bytes = client.get(&path).await?.len();
        let asked = first + BATCH.min(rows - first + 1) - 1;
        if way == "lazy" && (asked.is_multiple_of(SETTLE_AFTER) || asked == rows) {
            wait_until_settled(&mut client, asked).await?;
        }
    }
    let document_bytes = document_bytes as f64 / f64::from(BATCH.min(rows));
    let resident_bytes = service.resident_bytes()?;
    service.stop()?;
    Ok(CachedVariant { rows, resident_bytes, document_bytes })
}
