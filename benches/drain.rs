//! How fast a backlog is drained from a replication slot over TCP: `highwater run` and
//! `pg_recvlogical` on the same WAL, taking turns.
//!
//! A slot is created before the load; every run reads a copy of it (`pg_copy_logical_replication_slot`).
//! `pg_recvlogical` asks for the same things (proto_version 1, the same publication) and writes to
//! `/dev/null`. Both are timed from the start of the process until the last commit has arrived; ours
//! until it is applied and polls can see it. Its limits are raised so that every change is told by
//! id; how long a commit of that size takes when it becomes a reset (the default) is shown as well.
//!
//! Processor time of the walsender is the growth of the postmaster's ended children; of ours, what
//! the process used until it had caught up, less what it uses when there is nothing to drain.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use highwater::lsn::Lsn;
use serde::Serialize;
use tokio::process::Command;

use support::database::Database;
use support::process;
use support::report::{Goal, Report, print_table};
use support::samples::{Samples, figure};
use support::service::Service;
use support::{Common, block_on};

const PUBLICATION: &str = "bench";
/// The slot that stands before a load, and the copy of it that a run reads.
const BEFORE: &str = "before_load";
const COPY: &str = "of_this_run";

/// Limits with which a million changes, also of one commit, are all told by id.
const EVERYTHING_BY_ID: &[(&str, &str)] = &[
    ("log.max_changes", "100000000"),
    ("log.max_bytes", "8GiB"),
    ("log.max_transaction_changes", "100000000"),
    ("log.max_transaction_bytes", "8GiB"),
];

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Row changes in the backlog.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// Runs of each reader; the medians are told.
    #[arg(long, default_value_t = 5)]
    runs: u32,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.common.is_wanted("drain") {
        return Ok(());
    }
    block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let rows = options.rows;
    let loads = [
        Load { name: "commits of 100 rows", rows_per_commit: 100, first: 0, least_ratio: 2.0 },
        Load { name: "commits of 1 row", rows_per_commit: 1, first: rows, least_ratio: 2.0 },
        Load { name: "one commit", rows_per_commit: rows, first: 2 * rows, least_ratio: 1.0 },
    ];
    let bench = Bench::start(options).await?;
    let mut report = Report::new("drain");
    report.keep("postgresql", bench.database.server.installation().version());
    report.keep("rows", rows);
    let idle = bench.idle_start().await?;
    println!("start with nothing to drain: {idle}, not counted in the processor time below");
    report.keep("idle_start", &idle);
    for load in loads {
        let drained = bench.measure(&load, &idle).await?;
        drained.print(&load, rows);
        drained.judge(&load, rows, &mut report);
        report.keep(load.name, drained);
    }
    report.finish()
}

/// One kind of backlog.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    rows_per_commit: u32,
    /// The first id.
    first: u32,
    /// How many times as fast as `pg_recvlogical` we want to be.
    least_ratio: f64,
}

impl Load {
    fn sql(&self, rows: u32) -> String {
        let Self { rows_per_commit, first, .. } = self;
        let commits = rows / rows_per_commit;
        let insert = if *rows_per_commit == 1 {
            format!("INSERT INTO items VALUES ({first} + i, 0);")
        } else {
            format!(
                "INSERT INTO items SELECT id, 0 FROM generate_series(\
                 {first} + i * {rows_per_commit}, {first} + (i + 1) * {rows_per_commit} - 1) id;"
            )
        };
        format!("DO $$ BEGIN FOR i IN 0 .. {commits} - 1 LOOP {insert} COMMIT; END LOOP; END $$")
    }
}

/// One reader's runs over one backlog.
#[derive(Default, Serialize)]
struct Reader {
    seconds: Samples,
    own_cpu_seconds: Samples,
    walsender_cpu_seconds: Samples,
}

impl Reader {
    fn add(&mut self, cost: Cost) {
        self.seconds.push(cost.time.as_secs_f64());
        self.own_cpu_seconds.push(cost.reader_cpu.as_secs_f64());
        self.walsender_cpu_seconds.push(cost.walsender_cpu.as_secs_f64());
    }

    fn row(&self, name: &str, rows: u32) -> Vec<String> {
        vec![
            name.to_owned(),
            figure(f64::from(rows) / self.seconds.median()),
            self.seconds.to_string(),
            self.own_cpu_seconds.to_string(),
            self.walsender_cpu_seconds.to_string(),
        ]
    }
}

/// What one run cost.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    reader_cpu: Duration,
    walsender_cpu: Duration,
}

/// Everybody's runs over one backlog.
#[derive(Default, Serialize)]
struct Drained {
    pg_recvlogical: Reader,
    highwater: Reader,
    /// With the default limits, where the commit is too big to be told by id.
    highwater_default_limits: Option<Reader>,
}

impl Drained {
    fn print(&self, load: &Load, rows: u32) {
        let mut lines = vec![
            self.pg_recvlogical.row("pg_recvlogical", rows),
            self.highwater.row("highwater", rows),
        ];
        if let Some(reader) = &self.highwater_default_limits {
            lines.push(reader.row("highwater (a reset)", rows));
        }
        let title = format!("{rows} rows, {}", load.name);
        print_table(&[&title, "rows/s", "seconds", "its CPU s", "walsender CPU s"], &lines);
    }

    fn judge(&self, load: &Load, rows: u32, report: &mut Report) {
        let (theirs, ours) = (&self.pg_recvlogical, &self.highwater);
        let faster = theirs.seconds.ratio_to(&ours.seconds);
        let what = format!("{rows} rows, {}: rate / pg_recvlogical's", load.name);
        report.judge(what, faster, Goal::AtLeast(load.least_ratio));
        let busier = ours.own_cpu_seconds.ratio_to(&ours.walsender_cpu_seconds);
        let what = format!("{rows} rows, {}: CPU / walsender's", load.name);
        report.judge(what, busier, Goal::AtMost(0.25));
    }
}

/// What the service needs to start when there is nothing to drain.
#[derive(Default, Serialize)]
struct IdleStart {
    seconds: Samples,
    cpu_seconds: Samples,
    server_cpu_seconds: Samples,
}

impl std::fmt::Display for IdleStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} s, CPU {} s", self.seconds, self.cpu_seconds)
    }
}

struct Bench<'a> {
    options: &'a Options,
    database: Database,
}

impl<'a> Bench<'a> {
    async fn start(options: &'a Options) -> anyhow::Result<Self> {
        let database = Database::start(&options.common, &[]).await?;
        database
            .session
            .execute(&format!(
                "SET synchronous_commit = off; \
                 CREATE TABLE items (id bigint PRIMARY KEY, v int); \
                 CREATE PUBLICATION {PUBLICATION} FOR TABLE items"
            ))
            .await?;
        Ok(Self { options, database })
    }

    /// Loads, then lets the readers take turns.
    async fn measure(&self, load: &Load, idle: &IdleStart) -> anyhow::Result<Drained> {
        let session = &self.database.session;
        self.create_slot(BEFORE).await?;
        session.execute(&load.sql(self.options.rows)).await?;
        let end = self.end_of_wal().await?;

        let defaults_matter = load.rows_per_commit == self.options.rows;
        let mut drained = Drained {
            highwater_default_limits: defaults_matter.then(Reader::default),
            ..Drained::default()
        };
        for _ in 0..self.options.runs {
            drained.pg_recvlogical.add(self.pg_recvlogical(end).await?);
            drained.highwater.add(self.highwater(end, EVERYTHING_BY_ID, idle).await?);
            if let Some(reader) = &mut drained.highwater_default_limits {
                reader.add(self.highwater(end, &[], idle).await?);
            }
        }
        self.drop_slot(BEFORE).await?;
        Ok(drained)
    }

    /// The end of one more commit, behind which there is nothing: `pg_recvlogical` ends when it
    /// has written exactly this.
    async fn end_of_wal(&self) -> anyhow::Result<Lsn> {
        let session = &self.database.session;
        session.execute("CHECKPOINT").await?;
        session.execute("SET synchronous_commit = on").await?;
        let marker =
            "INSERT INTO items VALUES (-1, 0) ON CONFLICT (id) DO UPDATE SET v = items.v + 1";
        session.execute(marker).await?;
        let end = session.lsn("pg_current_wal_lsn()").await?;
        session.execute("SET synchronous_commit = off").await?;
        Ok(end)
    }

    async fn pg_recvlogical(&self, end: Lsn) -> anyhow::Result<Cost> {
        let turn = Turn::begin(self).await?;
        let cpu_before = process::cpu_of_ended_children(std::process::id())?;
        let started = Instant::now();
        let status = Command::new(self.database.client_program("pg_recvlogical"))
            .args(["--start", "--no-loop", "--slot", COPY, "--dbname", &self.database.url()])
            .args(["--endpos", &end.to_string()])
            .args(["--option", "proto_version=1"])
            .args(["--option", &format!("publication_names={PUBLICATION}")])
            .arg("--file")
            .arg(Path::new("/dev/null"))
            .kill_on_drop(true)
            .status()
            .await
            .context("run pg_recvlogical (PostgreSQL's client programs)")?;
        let time = started.elapsed();
        if !status.success() {
            bail!("pg_recvlogical failed: {status}");
        }
        let cpu = process::cpu_of_ended_children(std::process::id())?;
        let walsender_cpu = turn.end().await?;
        Ok(Cost { time, reader_cpu: cpu.saturating_sub(cpu_before), walsender_cpu })
    }

    /// One run of ours; what an idle start costs is not counted as processor time.
    async fn highwater(
        &self,
        end: Lsn,
        limits: &[(&str, &str)],
        idle: &IdleStart,
    ) -> anyhow::Result<Cost> {
        let cost = self.highwater_from_start(end, limits).await?;
        let less = |time: Duration, idle: &Samples| {
            time.saturating_sub(Duration::from_secs_f64(idle.median()))
        };
        Ok(Cost {
            time: cost.time,
            reader_cpu: less(cost.reader_cpu, &idle.cpu_seconds),
            walsender_cpu: less(cost.walsender_cpu, &idle.server_cpu_seconds),
        })
    }

    async fn highwater_from_start(
        &self,
        end: Lsn,
        limits: &[(&str, &str)],
    ) -> anyhow::Result<Cost> {
        let turn = Turn::begin(self).await?;
        let mut settings = vec![("postgres.slot", COPY), ("postgres.publication", PUBLICATION)];
        settings.extend(limits);
        let mut service = Service::start(&self.database.url(), &settings)?;
        let time = service.wait_until_applied(end).await?;
        let reader_cpu = service.cpu()?;
        service.stop()?;
        Ok(Cost { time, reader_cpu, walsender_cpu: turn.end().await? })
    }

    async fn idle_start(&self) -> anyhow::Result<IdleStart> {
        self.create_slot(BEFORE).await?;
        let end = self.end_of_wal().await?;
        let mut idle = IdleStart::default();
        for _ in 0..self.options.runs {
            let cost = self.highwater_from_start(end, EVERYTHING_BY_ID).await?;
            idle.seconds.push(cost.time.as_secs_f64());
            idle.cpu_seconds.push(cost.reader_cpu.as_secs_f64());
            idle.server_cpu_seconds.push(cost.walsender_cpu.as_secs_f64());
        }
        self.drop_slot(BEFORE).await?;
        Ok(idle)
    }

    async fn create_slot(&self, name: &str) -> anyhow::Result<()> {
        let create = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
        self.database.session.execute(&create).await
    }

    async fn drop_slot(&self, name: &str) -> anyhow::Result<()> {
        self.database.session.execute(&format!("SELECT pg_drop_replication_slot('{name}')")).await
    }
}

/// One reader's turn: its copy of the slot, and what the server does for it.
struct Turn<'a> {
    bench: &'a Bench<'a>,
    server_cpu_before: Duration,
}

impl<'a> Turn<'a> {
    async fn begin(bench: &'a Bench<'a>) -> anyhow::Result<Self> {
        let copy = format!("SELECT pg_copy_logical_replication_slot('{BEFORE}', '{COPY}')");
        bench.database.session.execute(&copy).await?;
        let server_cpu_before = process::cpu_of_ended_children(bench.database.postmaster()?)?;
        Ok(Self { bench, server_cpu_before })
    }

    /// Waits for the walsender's end and tells its processor time.
    async fn end(self) -> anyhow::Result<Duration> {
        let database = &self.bench.database;
        database.wait_until_alone().await?;
        let cpu = process::cpu_of_ended_children(database.postmaster()?)?;
        self.bench.drop_slot(COPY).await?;
        Ok(cpu.saturating_sub(self.server_cpu_before))
    }
}
