//! Rate at which a whole table is read and rendered, and time until it is served: the loader's copy
//! into a sink that only counts, `highwater run` from its start until `/readyz` reports the table as
//! loaded, and `psql -c "copy … to stdout"` to `/dev/null`, alternating on the same table over TCP.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use highwater::database::loader::{LoaderOptions, PgLoader};
use highwater::json_type::{JsonShape, JsonType};
use highwater::key::Key;
use highwater::load::{CopySink, LoadError, Loader, ReadPoint};
use highwater::row::Row;
use highwater::table::{
    Column, RowCachePlan, RowCaching, RowMode, Table, TableName, TableOid, Tracking,
};
use highwater::wire::{ConnectOptions, LibpqEnvironment};
use tokio::process::Command;

use crate::support::Common;
use crate::support::database::BenchDatabase;
use crate::support::plot::Bars;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::Samples;
use crate::support::service::BenchService;

/// Highwater's rate divided by psql's.
const LEAST_RATIO: f64 = 0.7;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rows of the table.
    #[arg(long, default_value_t = 5_000_000)]
    rows: u32,
    /// Runs of each reader; figures are medians.
    #[arg(long, default_value_t = 3)]
    runs: u32,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let database = BenchDatabase::start(common, &[]).await?;
    let table = make_table(&database, options.rows).await?;
    let target = ConnectOptions::parse(&database.url(), &LibpqEnvironment::default())?;
    let loader = PgLoader::new(LoaderOptions::new(target));
    let names = ["psql", "the loader", "highwater run"];
    let mut rates = names.map(|_| Samples::default());
    for _ in 0..options.runs {
        let psql = copy_with_psql(&database).await?;
        let (copied, counted) = copy_with_loader(&loader, &table).await?;
        ensure!(counted.rows == u64::from(options.rows), "{} rows came", counted.rows);
        let served = start_with_table(&database).await?;
        for (rate, time) in rates.iter_mut().zip([psql, copied, served]) {
            rate.push(f64::from(options.rows) / time.as_secs_f64());
        }
    }
    let rows = names.iter().zip(&rates).map(|(name, rate)| vec![(*name).into(), rate.to_string()]);
    print_table(&["reader", "rows/s"], &rows.collect::<Vec<_>>());
    let mut report = BenchReport::new("preload");
    report.keep("postgresql", database.server.installation().version());
    report.keep("rows", options.rows);
    let [psql, loader, service] = &rates;
    let goal = Goal::AtLeast(LEAST_RATIO);
    report.judge("rows/s of the loader / psql's", loader.ratio_to(psql), goal);
    report.judge("rows/s until /readyz / psql's", service.ratio_to(psql), goal);
    let mut plot = Bars::new("Reading a whole table", "rows/s");
    let bars = names.iter().zip(&rates).map(|(name, rate)| ((*name).to_owned(), rate.median()));
    plot.group(format!("{} rows", options.rows), bars.collect());
    report.plot("", plot.to_svg());
    for (name, rate) in names.iter().zip(rates) {
        report.keep(name, rate);
    }
    report.finish()
}

/// The service, from its start until the whole table is in memory.
async fn start_with_table(database: &BenchDatabase) -> anyhow::Result<Duration> {
    let settings = [
        ("postgres.publication", "bench"),
        ("postgres.slot", "bench"),
        ("postgres.temporary_slot", "true"),
        ("tables.items.rows", "preload"),
        ("cache.max_preload_bytes", "16GiB"),
    ];
    let mut service = BenchService::start(&database.url(), &settings)?;
    let end = database.session.lsn("pg_current_wal_lsn()").await?;
    service.wait_until_applied(end).await?;
    let time = service.wait_until_healthy().await?;
    service.stop()?;
    database.wait_until_alone().await?;
    Ok(time)
}

/// A narrow table, and its description for the loader.
async fn make_table(database: &BenchDatabase, rows: u32) -> anyhow::Result<Arc<Table>> {
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, owner int, name text, changed timestamptz);
         INSERT INTO items SELECT n, n % 1000, 'item ' || n, '2024-01-31Z'::timestamptz + n * interval '1 s'
         FROM generate_series(1, {rows}) AS n;
         CREATE PUBLICATION bench FOR TABLE items;
         VACUUM (ANALYZE, FREEZE) items"
    );
    for statement in sql.split(';') {
        database.session.execute(statement).await?;
    }
    let session = &database.session;
    let oid: u32 = session.value("SELECT 'items'::regclass::oid").await?;
    let query = include_str!("../sql/table_definition.sql").replace(":'oid'", &oid.to_string());
    let definition = session.value(query.trim_end().trim_end_matches(';')).await?;
    let column = |name: &str, type_oid, type_name: &str, kind| Column {
        name: name.into(),
        type_oid,
        type_name: type_name.into(),
        form: Some(JsonShape::Scalar(kind)),
    };
    let columns = vec![
        column("id", 20, "bigint", JsonType::Integer),
        column("owner", 23, "integer", JsonType::Integer),
        column("name", 25, "text", JsonType::String),
        column("changed", 1184, "timestamp with time zone", JsonType::Timestamptz),
    ];
    let plan = RowCachePlan {
        mode: RowMode::Preload,
        key: columns.first().cloned().into_iter().collect(),
        columns,
        partitioned: false,
        filter: None,
        definition,
        keys_are_exact: true,
    };
    Ok(Arc::new(Table {
        oid: TableOid(oid),
        name: TableName::new("public", "items"),
        key_columns: vec!["id".into()],
        tracking: Tracking::Ids,
        rows: RowCaching::Enabled(Arc::new(plan)),
        scope: vec![],
    }))
}

async fn copy_with_psql(database: &BenchDatabase) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let status = Command::new(database.client_program("psql"))
        .args(["--no-psqlrc", "--quiet", "--command", "copy items to stdout", &database.url()])
        .stdout(Stdio::null())
        .status()
        .await
        .context("run psql")?;
    ensure!(status.success(), "psql failed: {status}");
    Ok(start.elapsed())
}

/// Counts rows and bytes, and reads each byte no more often than the store must.
#[derive(Default)]
struct Counted {
    rows: u64,
    bytes: usize,
}

impl CopySink for Counted {
    fn begin(&mut self, _: &ReadPoint, _: u64) -> Result<bool, LoadError> {
        Ok(true)
    }

    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError> {
        self.rows += rows.len() as u64;
        self.bytes += rows.iter().map(|(_, row)| row.json().len()).sum::<usize>();
        Ok(())
    }
}

async fn copy_with_loader(
    loader: &PgLoader,
    table: &Arc<Table>,
) -> anyhow::Result<(Duration, Counted)> {
    let mut counted = Counted::default();
    let start = Instant::now();
    loader.copy(table, &mut counted).await?;
    Ok((start.elapsed(), counted))
}
