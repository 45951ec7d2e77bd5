//! How fast a whole table is read and rendered: the loader's copy into a sink that only counts, and
//! `psql -c "copy … to stdout"` to `/dev/null`, taking turns on the same table over TCP.
//!
//! ```console
//! $ cargo bench --bench preload
//! ```

mod support;

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use highwater::database::loader::{LoaderOptions, PgLoader};
use highwater::key::Key;
use highwater::kind::{Form, Kind};
use highwater::load::{CopySink, LoadError, LoadedAt, Loader};
use highwater::row::Row;
use highwater::table::{Column, HeldRows, RowMode, Rows, Table, TableName, TableOid, Tracking};
use highwater::wire::{LibpqEnvironment, Target};
use tokio::process::Command;

use support::database::Database;
use support::report::{Goal, Report, print_table};
use support::samples::Samples;
use support::{Common, block_on};

/// Our rate as a part of psql's.
const LEAST_RATIO: f64 = 0.7;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Rows of the table.
    #[arg(long, default_value_t = 5_000_000)]
    rows: u32,
    /// Runs of each reader; the medians are told.
    #[arg(long, default_value_t = 5)]
    runs: u32,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.common.is_wanted("preload") {
        return Ok(());
    }
    block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let database = Database::start(&options.common, &[]).await?;
    let table = make_table(&database, options.rows).await?;
    let target = Target::parse(&database.url(), &LibpqEnvironment::default())?;
    let loader = PgLoader::new(LoaderOptions::new(target));
    let (mut ours, mut psql) = (Samples::default(), Samples::default());
    for _ in 0..options.runs {
        psql.push(f64::from(options.rows) / copy_with_psql(&database).await?.as_secs_f64());
        let (time, counted) = copy_with_loader(&loader, &table).await?;
        ensure!(counted.rows == u64::from(options.rows), "{} rows came", counted.rows);
        ours.push(f64::from(options.rows) / time.as_secs_f64());
    }
    print_table(
        &["reader", "rows/s"],
        &[vec!["psql".into(), psql.to_string()], vec!["the loader".into(), ours.to_string()]],
    );
    let mut report = Report::new("preload");
    report.keep("postgresql", database.server.installation().version());
    report.keep("rows", options.rows);
    report.judge("rows/s, as a part of psql's", ours.ratio_to(&psql), Goal::AtLeast(LEAST_RATIO));
    report.keep("loader_rows_per_second", ours);
    report.keep("psql_rows_per_second", psql);
    report.finish()
}

/// A narrow table, and what the loader knows of it.
async fn make_table(database: &Database, rows: u32) -> anyhow::Result<Arc<Table>> {
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, owner int, name text, changed timestamptz);
         INSERT INTO items SELECT n, n % 1000, 'item ' || n, '2024-01-31Z'::timestamptz + n * interval '1 s'
         FROM generate_series(1, {rows}) AS n;
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
        form: Some(Form::Scalar(kind)),
    };
    let columns = vec![
        column("id", 20, "bigint", Kind::Integer),
        column("owner", 23, "integer", Kind::Integer),
        column("name", 25, "text", Kind::String),
        column("changed", 1184, "timestamp with time zone", Kind::Timestamptz),
    ];
    let held = HeldRows {
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
        rows: Rows::Held(Arc::new(held)),
        scope: vec![],
    }))
}

async fn copy_with_psql(database: &Database) -> anyhow::Result<Duration> {
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

/// Counts what it is given, and looks at every byte of it no more than a store has to.
#[derive(Default)]
struct Counted {
    rows: u64,
    bytes: usize,
}

impl CopySink for Counted {
    fn begin(&mut self, _: &LoadedAt, _: u64) -> bool {
        true
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
