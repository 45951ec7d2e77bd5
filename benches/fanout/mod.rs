//! Time from a commit until the last of thousands of waiting clients has received it: SSE, WebSockets
//! and long polls of `highwater run`, and a bare tokio server that broadcasts the same bytes.
//!
//! The clients run in their own process (`support/clients.rs`). Each must receive every id exactly once,
//! otherwise the run fails. At high rates neither server can write one message per commit to each client;
//! Highwater merges the changes that a client has not received yet.
//!
//! Memory of a waiting client is the growth of the service's resident memory while they connect.

mod broadcast;

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::sleep;

use crate::support::Common;
use crate::support::clients::{Clients, ClientsProcess, CrowdKind, CrowdResult};
use crate::support::database::BenchDatabase;
use crate::support::http::BenchHttpClient;
use crate::support::plot::Bars;
use crate::support::process;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::{Samples, figure};
use crate::support::service::BenchService;
use crate::support::writers::{Commits, SendTimes, make_table};

pub(crate) use broadcast::Broadcast;
use broadcast::Broadcaster;

const MOST_BYTES: f64 = 12_000.0;
/// Time for the service to become idle after the connections were opened.
const REST: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Clients of each kind, which take turns.
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Commits per second.
    #[arg(long, value_delimiter = ',', default_values_t = [2.0, 100.0])]
    rates: Vec<f64>,
    /// Seconds of commits.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

/// Figures of one kind of client at one rate.
#[derive(Serialize)]
struct Shown {
    name: String,
    rate: f64,
    /// From sending a commit until the last client received it, in ms.
    last_received_ms: Samples,
    first_received_ms: f64,
    cpu_us_per_client_and_commit: f64,
    bytes_per_client_and_commit: f64,
    bytes_of_memory_per_client: f64,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let mut report = BenchReport::new("fanout");
    let mut plot = Bars::new("From COMMIT to the last client", "ms, median");
    for rate in &options.rates {
        let mut all = Vec::new();
        for kind in [CrowdKind::Stream, CrowdKind::Socket, CrowdKind::Poll] {
            all.push(highwater(common, options, kind, *rate).await?);
        }
        all.push(bare(options, *rate).await?);
        let row = |shown: &Shown| {
            let figures = [
                shown.first_received_ms,
                shown.last_received_ms.median(),
                shown.last_received_ms.at(0.99),
                shown.cpu_us_per_client_and_commit,
                shown.bytes_per_client_and_commit,
                shown.bytes_of_memory_per_client,
            ];
            [vec![shown.name.clone()], figures.map(figure).to_vec()].concat()
        };
        let title = format!("{} clients, {rate} commits/s", options.clients);
        let headings =
            ["first ms", "last ms", "last p99", "CPU µs each", "bytes each", "memory each"];
        print_table(
            &[&[title.as_str()], &headings[..]].concat(),
            &all.iter().map(row).collect::<Vec<_>>(),
        );
        let bars = all.iter().map(|s| (s.name.clone(), s.last_received_ms.median()));
        plot.group(format!("{rate} commits/s"), bars.collect());
        judge(&all, &mut report);
        report.keep(&title, &all);
    }
    report.plot("", plot.to_svg());
    report.finish()
}

fn judge(all: &[Shown], report: &mut BenchReport) {
    let Some((bare, highwater)) = all.split_last() else { return };
    for shown in highwater {
        let Shown { name, rate, .. } = shown;
        let ratio = shown.last_received_ms.ratio_to(&bare.last_received_ms);
        let what = format!("{name}, {rate} commits/s: time until the last / of a bare broadcast");
        report.judge(what, ratio, Goal::AtMost(1.5));
        let what = format!("{name}, {rate} commits/s: bytes of memory per waiting client");
        report.judge(what, shown.bytes_of_memory_per_client, Goal::AtMost(MOST_BYTES));
    }
}

/// The service and its clients.
async fn highwater(
    common: &Common,
    options: &Options,
    kind: CrowdKind,
    rate: f64,
) -> anyhow::Result<Shown> {
    let database = BenchDatabase::start(common, &[("fsync", "off")]).await?;
    make_table(&database.session).await?;
    let settings = [
        ("postgres.publication", "bench"),
        ("postgres.slot", "bench"),
        ("http.max_push_clients", "15000"),
    ];
    let mut service = BenchService::start(&database.url(), &settings)?;
    service.wait_until_ready(database.session.lsn("pg_current_wal_lsn()").await?).await?;
    let mut client = BenchHttpClient::connect(service.address).await?;
    let first: serde_json::Value = serde_json::from_slice(client.get("/v1/changes").await?)?;
    let after = first.get("version").and_then(|v| v.as_str()).context("no version")?;
    let count = commits(options, rate);
    let before = service.resident_bytes()?;
    let clients = Clients {
        address: service.address,
        kind,
        count: options.clients,
        after: after.to_owned(),
        last: count,
        rate: 1.0,
    };
    let clients = ClientsProcess::start(&clients).await?;
    sleep(REST).await;
    let memory = service.resident_bytes()?.saturating_sub(before);
    let cpu_before = service.cpu()?;
    let sent = SendTimes::new(count);
    let commits = Commits { first: 1, count, rate, also: &|_| String::new(), on_sent: &|_| () };
    commits.run(&database, &sent).await?;
    let received = clients.received().await?;
    let cpu = service.cpu()?.saturating_sub(cpu_before);
    service.stop()?;
    ensure!(
        received.complete,
        "{}: some client did not receive every id exactly once",
        kind.name()
    );
    Ok(shown(kind.name(), options, rate, &received, &sent, cpu, memory))
}

/// The same number of messages, sent by a bare server at the times of the commits.
async fn bare(options: &Options, rate: f64) -> anyhow::Result<Shown> {
    let count = commits(options, rate);
    let mut server = Broadcaster::start().await?;
    let before = process::resident_bytes(server.pid()?)?;
    let clients = Clients {
        address: server.address,
        kind: CrowdKind::Stream,
        count: options.clients,
        after: String::new(),
        last: count,
        rate: 1.0,
    };
    let clients = ClientsProcess::start(&clients).await?;
    sleep(REST).await;
    let memory = process::resident_bytes(server.pid()?)?.saturating_sub(before);
    let cpu_before = process::cpu(server.pid()?)?;
    let sent = server.broadcast(count, rate).await?;
    let received = clients.received().await?;
    let cpu = process::cpu(server.pid()?)?.saturating_sub(cpu_before);
    ensure!(
        received.complete,
        "some client of the bare server did not receive every id exactly once"
    );
    Ok(shown("bare broadcast", options, rate, &received, &sent, cpu, memory))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few commits")]
fn commits(options: &Options, rate: f64) -> usize {
    (rate * options.seconds).max(1.0) as usize
}

fn shown(
    name: &str,
    options: &Options,
    rate: f64,
    received: &CrowdResult,
    sent: &SendTimes,
    cpu: Duration,
    memory: u64,
) -> Shown {
    let delays = |received_us: &[u64]| {
        let mut delays = Samples::default();
        for (place, at) in received_us.iter().enumerate() {
            let sent = sent.at_us(place).unwrap_or(*at);
            delays.push(at.saturating_sub(sent) as f64 / 1e3);
        }
        delays
    };
    let each = options.clients as f64 * received.last_received_us.len() as f64;
    Shown {
        name: name.to_owned(),
        rate,
        last_received_ms: delays(&received.last_received_us),
        first_received_ms: delays(&received.first_received_us).median(),
        cpu_us_per_client_and_commit: cpu.as_secs_f64() * 1e6 / each,
        bytes_per_client_and_commit: received.bytes as f64 / each,
        bytes_of_memory_per_client: memory as f64 / options.clients as f64,
    }
}
