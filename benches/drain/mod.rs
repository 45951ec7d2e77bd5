//! Rate at which a backlog is drained from a replication slot: `highwater run`, `pg_recvlogical` and a
//! minimal reader on the same WAL, alternating.
//!
//! A slot is created before the load; every run reads a copy of it (`pg_copy_logical_replication_slot`).
//! The yardsticks request the same data (proto_version 1, the same publication, values as text) and
//! discard it: `pg_recvlogical` writes to `/dev/null`, the minimal reader ([`reader`]) reads only the
//! heads of the frames. Another turn of it with binary values, which the service never requests, shows
//! what they would gain. All are timed from the start of the process until the last commit has arrived;
//! Highwater until polls return it. Its limits are raised so that every change is reported by id; the
//! time of such a commit that becomes a reset (the default) is shown as well.
//!
//! Processor time of the walsender is the growth of the postmaster's ended children; that of Highwater is
//! what the process used until it had caught up, less what it uses without a backlog.
//!
//! With `--held` the backlog consists of updates of existing rows, and the service caches them with each
//! `rows` setting; with wide rows a publication with a column list is drained as well.

mod load;
pub(crate) mod reader;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use highwater::lsn::Lsn;
use serde::Serialize;
use tokio::process::Command;

use crate::support::Common;
use crate::support::database::BenchDatabase;
use crate::support::plot::Bars;
use crate::support::process;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::{Samples, figure};
use crate::support::service::BenchService;

use load::{LoadShape, WalLoad};
use reader::{MinimalReader, ReaderPace};

const PUBLICATION: &str = "bench";
/// A publication of the same table with only its id.
const OF_IDS: &str = "bench_ids";
/// The slot created before a load, and the copy of it that a run reads.
const BEFORE: &str = "before_load";
const COPY: &str = "of_this_run";
/// The minimal reader with values in binary form.
const MINIMAL_BINARY: &str = "minimal reader, binary values";
/// With `--held`: existing rows, and updates per row.
const UPDATES_PER_ROW: u32 = 10;

/// Limits with which a million changes, also of one commit, are all reported by id.
const EVERYTHING_BY_ID: &[(&str, &str)] = &[
    ("log.max_changes", "100000000"),
    ("log.max_bytes", "8GiB"),
    ("log.max_transaction_changes", "100000000"),
    ("log.max_transaction_bytes", "8GiB"),
    ("cache.max_preload_bytes", "8GiB"),
];

/// How the readers connect.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DrainTransport {
    Tcp,
    Unix,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Row changes in the backlog; default 400,000, of wide rows half as many.
    #[arg(long)]
    rows: Option<u32>,
    /// Runs of each reader; figures are medians.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Rows of each commit; 0 for all.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1, 0])]
    commits: Vec<u32>,
    #[arg(long, value_enum, default_value_t = LoadShape::Small)]
    shape: LoadShape,
    #[arg(long, value_enum, default_value_t = DrainTransport::Tcp)]
    transport: DrainTransport,
    /// Updates of existing rows; the service caches none of them, lazily, and all of them.
    #[arg(long)]
    held: bool,
    #[command(flatten)]
    pace: ReaderPace,
}

impl Options {
    fn rows(&self) -> u32 {
        self.rows.unwrap_or(match self.shape {
            LoadShape::Small => 400_000,
            LoadShape::Wide => 200_000,
        })
    }

    /// The name of the results.
    fn name(&self) -> &'static str {
        match (self.held, self.shape, self.transport) {
            (true, ..) => "drain-held",
            (_, LoadShape::Wide, _) => "drain-wide",
            (.., DrainTransport::Unix) => "drain-unix",
            _ => "drain",
        }
    }

    fn loads(&self) -> Vec<WalLoad> {
        let (rows, mut first) = (self.rows(), 1);
        let loads = self.commits.iter().map(|&rows_per_commit| {
            let rows_per_commit = if rows_per_commit == 0 { rows } else { rows_per_commit };
            let updated = self.held.then_some((rows / UPDATES_PER_ROW).max(rows_per_commit));
            let load = WalLoad { shape: self.shape, rows, rows_per_commit, first, updated };
            first += rows;
            load
        });
        // One size of commits is enough to show the cost of caching.
        loads.take(if self.held { 1 } else { usize::MAX }).collect()
    }

    /// Configurations of the service for this load.
    fn ways(&self, load: &WalLoad) -> Vec<DrainVariant> {
        let way = |name, settings: &[(&'static str, &'static str)]| DrainVariant {
            name,
            publication: PUBLICATION,
            settings: [EVERYTHING_BY_ID, settings].concat(),
        };
        let mut ways = vec![way("highwater", &[])];
        if self.held {
            ways.push(way("highwater, lazy", &[("tables.items.rows", "lazy")]));
            ways.push(way("highwater, preload", &[("tables.items.rows", "preload")]));
        }
        if self.shape == LoadShape::Wide {
            ways.push(DrainVariant { publication: OF_IDS, ..way("highwater, column list", &[]) });
        }
        if load.is_one_commit() {
            ways.push(DrainVariant { settings: vec![], ..way("highwater, a reset", &[]) });
        }
        ways
    }
}

/// One configuration of the service.
struct DrainVariant {
    name: &'static str,
    publication: &'static str,
    settings: Vec<(&'static str, &'static str)>,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let bench = DrainBench::start(common, options).await?;
    let mut report = BenchReport::new(options.name());
    report.keep("postgresql", bench.database.server.installation().version());
    report.keep("rows", options.rows());
    let idle = bench.idle_start().await?;
    println!("start without a backlog: {idle}, not counted in the processor time below");
    report.keep("idle_start", &idle);
    let mut plot = Bars::new("Draining a backlog", "row changes/s");
    for load in options.loads() {
        let readers = bench.measure(&load, &idle).await?;
        let rows = readers.iter().map(|reader| reader.row(load.rows)).collect::<Vec<_>>();
        let title = format!("{} rows, {}", load.rows, load.name());
        print_table(&[&title, "rows/s", "seconds", "its CPU s", "walsender CPU s"], &rows);
        judge(options, &load, &readers, &mut report);
        plot.group(load.name(), readers.iter().map(|reader| reader.bar(load.rows)).collect());
        report.keep(&load.name(), readers);
    }
    report.plot("", plot.to_svg());
    report.finish()
}

fn judge(options: &Options, load: &WalLoad, readers: &[Read], report: &mut BenchReport) {
    let of = |name: &str| readers.iter().find(|reader| reader.name == name);
    let (Some(highwater), Some(yardstick)) = (of("highwater"), of("pg_recvlogical")) else {
        return;
    };
    let what = |what: &str| format!("{}: {what}", load.name());
    if options.held {
        for name in ["highwater, lazy", "highwater, preload"] {
            if let Some(cached) = of(name) {
                let ratio = cached.seconds.ratio_to(&highwater.seconds);
                report.judge(what(&format!("time, {name} / ids only")), ratio, Goal::AtMost(1.3));
            }
        }
        return;
    }
    // The walsender sends a single commit as fast as it can, for any reader.
    let least = if load.is_one_commit() { 1.0 } else { 2.5 };
    let faster = yardstick.seconds.ratio_to(&highwater.seconds);
    if options.transport == DrainTransport::Tcp && options.shape == LoadShape::Small {
        report.judge(what("rate / pg_recvlogical's"), faster, Goal::AtLeast(least));
    } else {
        report.keep(&what("rate / pg_recvlogical's"), faster);
    }
    if let Some(minimal) = of("minimal reader") {
        let ratio = minimal.seconds.ratio_to(&highwater.seconds);
        report.judge(what("rate / the minimal reader's"), ratio, Goal::AtLeast(0.9));
        if let Some(binary) = of(MINIMAL_BINARY) {
            let ratio = minimal.seconds.ratio_to(&binary.seconds);
            report.keep(&what("gain of binary values for the minimal reader"), ratio);
        }
    }
    if let Some(list) = of("highwater, column list") {
        let ratio = highwater.seconds.ratio_to(&list.seconds);
        report.keep(&what("gain of a column list"), ratio);
        println!("a column list makes it {} times as fast", figure(ratio));
    }
    let busier = highwater.own_cpu_seconds.ratio_to(&highwater.walsender_cpu_seconds);
    report.judge(what("CPU / walsender's"), busier, Goal::AtMost(0.2));
}

/// One reader's runs over one backlog.
#[derive(Serialize)]
struct Read {
    name: &'static str,
    seconds: Samples,
    own_cpu_seconds: Samples,
    walsender_cpu_seconds: Samples,
}

impl Read {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            seconds: Samples::default(),
            own_cpu_seconds: Samples::default(),
            walsender_cpu_seconds: Samples::default(),
        }
    }

    fn add(&mut self, cost: Cost) {
        self.seconds.push(cost.time.as_secs_f64());
        self.own_cpu_seconds.push(cost.reader_cpu.as_secs_f64());
        self.walsender_cpu_seconds.push(cost.walsender_cpu.as_secs_f64());
    }

    fn row(&self, rows: u32) -> Vec<String> {
        vec![
            self.name.to_owned(),
            figure(f64::from(rows) / self.seconds.median()),
            self.seconds.to_string(),
            self.own_cpu_seconds.to_string(),
            self.walsender_cpu_seconds.to_string(),
        ]
    }

    fn bar(&self, rows: u32) -> (String, f64) {
        (self.name.to_owned(), f64::from(rows) / self.seconds.median())
    }
}

/// Cost of one run.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    reader_cpu: Duration,
    walsender_cpu: Duration,
}

/// Cost of starting the service without a backlog.
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

struct DrainBench<'a> {
    options: &'a Options,
    database: BenchDatabase,
}

impl<'a> DrainBench<'a> {
    async fn start(common: &Common, options: &'a Options) -> anyhow::Result<Self> {
        let database = BenchDatabase::start(common, &[]).await?;
        let columns = options.shape.columns();
        database
            .session
            .execute(&format!(
                "SET synchronous_commit = off; \
                 CREATE TABLE items ({columns}); \
                 CREATE PUBLICATION {PUBLICATION} FOR TABLE items"
            ))
            .await?;
        if options.shape == LoadShape::Wide {
            let of_ids = format!("CREATE PUBLICATION {OF_IDS} FOR TABLE items (id)");
            database.session.execute(&of_ids).await?;
        }
        Ok(Self { options, database })
    }

    /// Writes the load, then runs the readers, alternating.
    async fn measure(&self, load: &WalLoad, idle: &IdleStart) -> anyhow::Result<Vec<Read>> {
        let session = &self.database.session;
        if let Some(rows_before) = load.rows_before() {
            session.execute(&rows_before).await?;
        }
        self.create_slot(BEFORE).await?;
        session.execute(&load.sql()).await?;
        let end = self.end_of_wal().await?;

        let ways = self.options.ways(load);
        let (mut recvlogical, mut minimal, mut binary) =
            (Read::new("pg_recvlogical"), Read::new("minimal reader"), Read::new(MINIMAL_BINARY));
        let mut highwater = ways.iter().map(|way| Read::new(way.name)).collect::<Vec<_>>();
        for _ in 0..self.options.runs {
            recvlogical.add(self.other(self.recvlogical(end)).await?);
            minimal.add(self.other(self.minimal_reader(end, false)?).await?);
            binary.add(self.other(self.minimal_reader(end, true)?).await?);
            for (way, read) in ways.iter().zip(&mut highwater) {
                read.add(self.highwater(end, way, idle).await?);
            }
        }
        self.drop_slot(BEFORE).await?;
        Ok([recvlogical, minimal, binary].into_iter().chain(highwater).collect())
    }

    /// The end of one more commit, the last of the WAL: `pg_recvlogical` ends when it has written exactly
    /// this.
    async fn end_of_wal(&self) -> anyhow::Result<Lsn> {
        let session = &self.database.session;
        session.execute("CHECKPOINT").await?;
        session.execute("SET synchronous_commit = on").await?;
        let marker = "INSERT INTO items (id, v) VALUES (-1, 0) \
                      ON CONFLICT (id) DO UPDATE SET v = items.v + 1";
        session.execute(marker).await?;
        let end = session.lsn("pg_current_wal_lsn()").await?;
        session.execute("SET synchronous_commit = off").await?;
        Ok(end)
    }

    fn url(&self) -> String {
        match self.options.transport {
            DrainTransport::Tcp => self.database.url(),
            DrainTransport::Unix => self.database.socket_url(),
        }
    }

    fn recvlogical(&self, end: Lsn) -> Command {
        let mut command = Command::new(self.database.client_program("pg_recvlogical"));
        command
            .args(["--start", "--no-loop", "--slot", COPY, "--dbname", &self.url()])
            .args(["--endpos", &end.to_string()])
            .args(["--option", "proto_version=1"])
            .args(["--option", &format!("publication_names={PUBLICATION}")])
            .arg("--file")
            .arg(Path::new("/dev/null"));
        command
    }

    fn minimal_reader(&self, end: Lsn, binary: bool) -> anyhow::Result<Command> {
        let server = &self.database.server;
        let address = match self.options.transport {
            DrainTransport::Tcp => format!("127.0.0.1:{}", server.port()),
            DrainTransport::Unix => {
                format!("{}/.s.PGSQL.{}", server.socket_dir().display(), server.port())
            }
        };
        let reader = MinimalReader {
            server: address,
            slot: COPY.into(),
            publication: PUBLICATION.into(),
            end,
            binary,
            pace: self.options.pace,
        };
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(reader.arguments()).stdout(Stdio::null());
        Ok(command)
    }

    /// One run of another reader.
    async fn other(&self, mut command: Command) -> anyhow::Result<Cost> {
        let turn = DrainTurn::begin(self).await?;
        let cpu_before = process::cpu_of_ended_children(std::process::id())?;
        let started = Instant::now();
        let status = command.kill_on_drop(true).status().await;
        let status =
            status.with_context(|| format!("run {}", command.as_std().get_program().display()))?;
        let time = started.elapsed();
        if !status.success() {
            bail!("{} failed: {status}", command.as_std().get_program().display());
        }
        let cpu = process::cpu_of_ended_children(std::process::id())?;
        let walsender_cpu = turn.end().await?;
        Ok(Cost { time, reader_cpu: cpu.saturating_sub(cpu_before), walsender_cpu })
    }

    /// One run of the service; the processor time of an idle start is subtracted.
    async fn highwater(
        &self,
        end: Lsn,
        way: &DrainVariant,
        idle: &IdleStart,
    ) -> anyhow::Result<Cost> {
        let cost = self.highwater_from_start(end, way).await?;
        let less = |time: Duration, idle: &Samples| {
            time.saturating_sub(Duration::from_secs_f64(idle.median()))
        };
        Ok(Cost {
            time: cost.time,
            reader_cpu: less(cost.reader_cpu, &idle.cpu_seconds),
            walsender_cpu: less(cost.walsender_cpu, &idle.server_cpu_seconds),
        })
    }

    async fn highwater_from_start(&self, end: Lsn, way: &DrainVariant) -> anyhow::Result<Cost> {
        let turn = DrainTurn::begin(self).await?;
        let mut settings = vec![("postgres.slot", COPY), ("postgres.publication", way.publication)];
        settings.extend(&way.settings);
        let mut service = BenchService::start(&self.url(), &settings)?;
        let time = service.wait_until_applied(end).await?;
        // Cached rows count as drained once they can be read.
        let time = time.max(service.wait_until_healthy().await?);
        let reader_cpu = service.cpu()?;
        service.stop()?;
        Ok(Cost { time, reader_cpu, walsender_cpu: turn.end().await? })
    }

    async fn idle_start(&self) -> anyhow::Result<IdleStart> {
        self.create_slot(BEFORE).await?;
        let end = self.end_of_wal().await?;
        let way = DrainVariant { name: "", publication: PUBLICATION, settings: vec![] };
        let mut idle = IdleStart::default();
        for _ in 0..self.options.runs {
            let cost = self.highwater_from_start(end, &way).await?;
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

/// One reader's turn: its copy of the slot, and the server's processor time.
struct DrainTurn<'a> {
    bench: &'a DrainBench<'a>,
    server_cpu_before: Duration,
}

impl<'a> DrainTurn<'a> {
    async fn begin(bench: &'a DrainBench<'a>) -> anyhow::Result<Self> {
        let copy = format!("SELECT pg_copy_logical_replication_slot('{BEFORE}', '{COPY}')");
        bench.database.session.execute(&copy).await?;
        let server_cpu_before = process::cpu_of_ended_children(bench.database.postmaster()?)?;
        Ok(Self { bench, server_cpu_before })
    }

    /// Waits until the walsender has exited; returns its processor time.
    async fn end(self) -> anyhow::Result<Duration> {
        let database = &self.bench.database;
        database.wait_until_alone().await?;
        let cpu = process::cpu_of_ended_children(database.postmaster()?)?;
        self.bench.drop_slot(COPY).await?;
        Ok(cpu.saturating_sub(self.server_cpu_before))
    }
}
