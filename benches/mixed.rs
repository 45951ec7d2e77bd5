//! Everything at once for a minute: 5,000 commits per second, 10,000 polls per second that follow them,
//! and 1,000 waiting clients. No change may be missed, and the delay to the client must not grow.
//!
//! Each commit inserts one row; at the end every polling and every waiting client must have
//! received every id exactly once (`support/clients.rs`). One more client, a stream, is timed. If the
//! machine does not reach a rate, the actual rate is reported.

use std::time::Duration;

use anyhow::Context;

use crate::latency::measure_stream;
use crate::support::Common;
use crate::support::clients::{Clients, ClientsProcess, CrowdKind};
use crate::support::database::BenchDatabase;
use crate::support::http::BenchHttpClient;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::figure;
use crate::support::service::BenchService;
use crate::support::writers::{Commits, make_table};

/// Connections that share the polls: each polls often, so that a response has few changes.
const POLLING_CONNECTIONS: usize = 32;
/// Longest accepted delay.
const MOST_LAG: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5000.0)]
    commits_per_second: f64,
    #[arg(long, default_value_t = 10_000.0)]
    polls_per_second: f64,
    #[arg(long, default_value_t = 1000)]
    waiting: usize,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let database = BenchDatabase::start(common, &[("fsync", "off")]).await?;
    make_table(&database.session).await?;
    let settings = [("postgres.publication", "bench"), ("postgres.slot", "bench")];
    let mut service = BenchService::start(&database.url(), &settings)?;
    service.wait_until_ready(database.session.lsn("pg_current_wal_lsn()").await?).await?;
    let mut client = BenchHttpClient::connect(service.address).await?;
    let first: serde_json::Value = serde_json::from_slice(client.get("/v1/changes").await?)?;
    let after = first.get("version").and_then(|v| v.as_str()).context("no version")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few commits")]
    let count = (options.commits_per_second * options.seconds) as usize;
    let clients = |kind, count_of_clients| Clients {
        address: service.address,
        kind,
        count: count_of_clients,
        after: after.to_owned(),
        last: count,
        rate: options.polls_per_second,
    };
    let waiting = ClientsProcess::start(&clients(CrowdKind::Stream, options.waiting)).await?;
    let polling = ClientsProcess::start(&clients(CrowdKind::Follow, POLLING_CONNECTIONS)).await?;
    let cpu_before = service.cpu()?;
    let rate = options.commits_per_second;
    let commits = Commits { first: 1, count, rate, also: &|_| String::new(), on_sent: &|_| () };
    let (delays, took) = measure_stream(&database, &service, &commits).await?;
    let cpu = service.cpu()?.saturating_sub(cpu_before).as_secs_f64() / took.as_secs_f64();
    let memory = service.resident_bytes()?;
    let (waiting, polling) = tokio::try_join!(waiting.received(), polling.received())?;
    service.stop()?;

    let commit_rate = count as f64 / took.as_secs_f64();
    let poll_rate = polling.answers as f64 / took.as_secs_f64();
    let quantiles = [0.5, 0.99, 0.999].map(|quantile| delays.milliseconds(quantile));
    let figures = [&[commit_rate, poll_rate], &quantiles[..], &[delays.most_milliseconds(), cpu]];
    let row = figures.concat().into_iter().map(figure).collect::<Vec<_>>();
    let title = format!("{} s, {} waiting", figure(took.as_secs_f64()), options.waiting);
    print_table(
        &[&title, "commits/s", "polls/s", "p50 ms", "p99 ms", "p99.9 ms", "most ms", "CPUs"],
        &[[vec!["highwater".to_owned()], row].concat()],
    );
    let mut report = BenchReport::new("mixed");
    report.keep("postgresql", database.server.installation().version());
    report.keep("seconds", took.as_secs_f64());
    report.keep("delay_ms_p50_p99_p999", quantiles);
    report.keep("resident_bytes", memory);
    report.keep("processors_used", cpu);
    let missed = |complete: bool| if complete { 0.0 } else { 1.0 };
    let goal = Goal::AtMost(0.0);
    report.judge("waiting clients that missed something", missed(waiting.complete), goal);
    report.judge("polling clients that missed something", missed(polling.complete), goal);
    let most = delays.most_milliseconds();
    report.judge("longest delay, ms", most, Goal::AtMost(MOST_LAG.as_secs_f64() * 1e3));
    report.judge("commits a second", commit_rate, Goal::AtLeast(0.95 * rate));
    let wanted = 0.95 * options.polls_per_second;
    report.judge("polls a second", poll_rate, Goal::AtLeast(wanted));
    report.finish()
}
