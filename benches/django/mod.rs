//! Comparison with Django on the same database: 100 REST list endpoints (Django REST framework,
//! gunicorn with two workers) with one `/v1/store`; and a view of changed ids that the application
//! maintains itself (`project.py`) with `/v1/changes`.
//!
//! The project's packages are pinned in `requirements.txt` and installed once, by pip, into
//! a virtual environment below `target/bench`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::support::database::{BenchDatabase, make_tables};
use crate::support::http::BenchHttpClient;
use crate::support::plot::Bars;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::rival::{Effort, Rival, compete};
use crate::support::samples::Samples;
use crate::support::service::{BenchService, free_address};
use crate::support::{Common, output_dir};

/// Concurrent requests: a browser's limit for one host.
const BROWSER_CONNECTIONS: u32 = 6;
/// Ids that the view manages.
const CHANGED: u32 = 100;
const LEAST_RATIO: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 100)]
    tables: u32,
    /// Rows of each table.
    #[arg(long, default_value_t = 1000)]
    rows: u32,
    #[command(flatten)]
    effort: Effort,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let python = virtual_environment()?;
    let database = BenchDatabase::start(common, &[]).await?;
    make_tables(&database, options.tables, options.rows).await?;
    let modes = (1..=options.tables).map(|n| (format!("tables.items_{n}.rows"), "preload"));
    let modes = modes.collect::<Vec<_>>();
    let mut settings = vec![("postgres.publication", "bench"), ("postgres.slot", "bench")];
    settings.extend(modes.iter().map(|(key, mode)| (key.as_str(), *mode)));
    let mut service = BenchService::start(&database.url(), &settings)?;
    service.wait_until_ready(database.session.lsn("pg_current_wal_lsn()").await?).await?;
    service.wait_until_healthy().await?;
    let mut report = BenchReport::new("django");
    report.keep("postgresql", database.server.installation().version());
    report.keep("tables", options.tables);
    report.keep("rows", options.rows);
    compare_lists(&python, &database, &service, options, &mut report).await?;
    compare_polls(&python, &database, &service, options, &mut report).await?;
    service.stop()?;
    report.finish()
}

/// All lists of the project, compared with one response of Highwater.
async fn compare_lists(
    python: &Path,
    database: &BenchDatabase,
    service: &BenchService,
    options: &Options,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let gunicorn = Gunicorn::start(python, database, options, 2).await?;
    let (mut lists, mut store) = (Samples::default(), Samples::default());
    for turn in 0..=options.effort.turns {
        let of_lists = time_of_lists(gunicorn.address, options.tables).await?;
        let of_store = time_of_store(service.address).await?;
        // A warm-up of both, not counted.
        if turn > 0 {
            lists.push(of_lists.as_secs_f64() * 1e3);
            store.push(of_store.as_secs_f64() * 1e3);
        }
    }
    let title = format!("{} tables of {} rows", options.tables, options.rows);
    let name = format!("{} lists of Django", options.tables);
    print_table(
        &[&title, "ms"],
        &[vec![name.clone(), lists.to_string()], vec!["one /v1/store".into(), store.to_string()]],
    );
    let ratio = lists.ratio_to(&store);
    report.judge(format!("time of {name} / of one /v1/store"), ratio, Goal::AtLeast(1.0));
    let mut plot = Bars::new("All tables", "milliseconds");
    plot.group(title, vec![(name, lists.median()), ("one /v1/store".into(), store.median())]);
    report.plot("lists", plot.to_svg());
    report.keep("lists_ms", lists);
    report.keep("store_ms", store);
    Ok(())
}

/// The view of changed ids, compared with a poll; neither has changes.
async fn compare_polls(
    python: &Path,
    database: &BenchDatabase,
    service: &BenchService,
    options: &Options,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    // With two workers each would know only the changes that it made itself.
    let gunicorn = Gunicorn::start(python, database, options, 1).await?;
    for id in 1..=CHANGED.min(options.rows) {
        gunicorn.get(&format!("/save/{id}")).await?;
    }
    let version = CHANGED.min(options.rows);
    let response = gunicorn.get(&format!("/update?after={version}")).await?;
    ensure!(response.contains("\"changes\": []"), "unexpected changes: {response}");
    let mut client = BenchHttpClient::connect(service.address).await?;
    let first: serde_json::Value = serde_json::from_slice(client.get("/v1/changes").await?)?;
    let after = first.get("version").and_then(|v| v.as_str()).context("no version")?;
    let path = format!("/v1/changes?after={after}");
    let their_path = format!("/update?after={version}");
    let mut rivals = [
        Rival::new("highwater", &[service.pid()], service.address, &path),
        Rival::new("Django view", &gunicorn.pids()?, gunicorn.address, &their_path),
    ];
    compete(&options.effort, &mut rivals).await?;
    let rows = rivals.iter().map(Rival::row).collect::<Vec<_>>();
    print_table(&[&["nothing new"], &Rival::HEADINGS[..]].concat(), &rows);
    let [highwater, yardstick] = &rivals;
    let ratio = highwater.figures.rate.ratio_to(&yardstick.figures.rate);
    report.judge("polls/s / the Django view's", ratio, Goal::AtLeast(LEAST_RATIO));
    let highwater = &highwater.figures.cpu_us_per_answer;
    let ratio = yardstick.figures.cpu_us_per_answer.ratio_to(highwater);
    report.keep("processor time of a poll, Django view / Highwater", ratio);
    let mut plot = Bars::new("Polls without changes", "responses/s");
    plot.group("nothing new", rivals.iter().map(Rival::bar).collect());
    report.plot("polls", plot.to_svg());
    report.keep("polls", &rivals);
    Ok(())
}

/// Requests every list once, over as many connections as a browser opens.
async fn time_of_lists(address: SocketAddr, tables: u32) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let connections = (0..BROWSER_CONNECTIONS).map(|first| async move {
        for table in (1 + first..=tables).step_by(BROWSER_CONNECTIONS as usize) {
            let mut client = BenchHttpClient::connect(address).await?;
            client.get(&format!("/api/items_{table}/")).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(connections).await?;
    Ok(started.elapsed())
}

async fn time_of_store(address: SocketAddr) -> anyhow::Result<Duration> {
    let mut client = BenchHttpClient::connect(address).await?;
    let started = Instant::now();
    client.get("/v1/store").await?;
    Ok(started.elapsed())
}

/// The project's Python, with its packages.
fn virtual_environment() -> anyhow::Result<PathBuf> {
    let directory = output_dir()?.join("django");
    let python = directory.join("bin/python");
    let requirements = project().join("requirements.txt");
    let installed = directory.join("installed");
    let wanted = std::fs::read_to_string(&requirements)?;
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(python);
    }
    println!("installing Django and its dependencies into {}", directory.display());
    run_to_end(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run_to_end(Command::new(&python).args(install).arg(&requirements))?;
    std::fs::write(installed, wanted)?;
    Ok(python)
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/django")
}

fn run_to_end(command: &mut Command) -> anyhow::Result<()> {
    let status =
        command.status().with_context(|| format!("run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} failed: {status}", command.get_program().display());
    }
    Ok(())
}

/// The project, served by gunicorn; stopped when dropped.
struct Gunicorn {
    child: Child,
    address: SocketAddr,
}

impl Gunicorn {
    async fn start(
        python: &Path,
        database: &BenchDatabase,
        options: &Options,
        workers: u32,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(python);
        command
            .args(["-m", "gunicorn", "project:application"])
            .args(["--bind", &address.to_string(), "--workers", &workers.to_string()])
            .args(["--chdir".as_ref(), project().as_os_str()])
            .args(["--log-level", "error", "--no-control-socket"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("BENCH_HOST", "127.0.0.1")
            .env("BENCH_PORT", database.server.port().to_string())
            .env("BENCH_DATABASE", "postgres")
            .env("BENCH_USER", "postgres")
            .env("BENCH_TABLES", options.tables.to_string())
            .stdin(Stdio::null());
        let child = command.spawn().context("start gunicorn")?;
        let mut gunicorn = Self { child, address };
        gunicorn.wait_until_it_answers().await?;
        Ok(gunicorn)
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            if self.get("/update").await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("gunicorn exited: {status}");
            }
            if Instant::now() > end {
                bail!("gunicorn does not respond");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut client = BenchHttpClient::connect(self.address).await?;
        Ok(String::from_utf8_lossy(client.get(path).await?).into_owned())
    }

    /// Process ids: the workers are children of the first.
    fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().map(str::parse);
        Ok(children.collect::<Result<Vec<_>, _>>()?)
    }
}

impl Drop for Gunicorn {
    fn drop(&mut self) {
        // SIGTERM, so that the workers end as well.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
