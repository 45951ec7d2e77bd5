//! Polls a second, with nothing new, with 10 and with 1,000 changes to tell: `highwater run`, a bare
//! axum handler that returns the same bytes with the same headers, and (where there is one) nginx
//! that has them as a file, taking turns under the same load.
//!
//! The load comes from `wrk`, or where that is not installed from a process of its own (this program
//! again, see `support/load.rs`), over kept-alive connections. On few processors the generator takes its
//! share from all alike, so the processor time that a request costs each server is reported as well. What
//! is judged is the median of the ratios of turns that follow each other: other load on the machine
//! disturbs both alike.

use highwater::version::Version;
use serde::Deserialize;
use std::net::SocketAddr;

use crate::support::Common;
use crate::support::bare::{BareServer, CannedResponse};
use crate::support::database::BenchDatabase;
use crate::support::http::BenchHttpClient;
use crate::support::nginx::Nginx;
use crate::support::plot::Bars;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::rival::{Effort, Rival, compete};
use crate::support::service::BenchService;

/// Changes that a poll has to tell.
const CASES: [u32; 3] = [0, 10, 1000];
/// Least rate compared with the bare handler.
const LEAST_RATIO: f64 = 0.8;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    effort: Effort,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let database = BenchDatabase::start(common, &[]).await?;
    database
        .session
        .execute(
            "CREATE TABLE items (id bigint PRIMARY KEY, v int); \
             CREATE PUBLICATION bench FOR TABLE items",
        )
        .await?;
    let settings = [("postgres.publication", "bench"), ("postgres.slot", "bench")];
    let mut service = BenchService::start(&database.url(), &settings)?;
    let mut report = BenchReport::new("polls");
    report.keep("postgresql", database.server.installation().version());
    report.keep("connections", options.effort.connections);
    report.keep("seconds", options.effort.seconds);
    let mut plot = Bars::new("Polls", "answers a second");
    for changes in CASES {
        let path = prepare(&database, &mut service, changes).await?;
        let rivals = compare(&service, &path, options).await?;
        let case = format!("{changes} changes");
        let rows = rivals.iter().map(Rival::row).collect::<Vec<_>>();
        print_table(&[&[case.as_str()], &Rival::HEADINGS[..]].concat(), &rows);
        plot.group(&case, rivals.iter().map(Rival::bar).collect());
        if let [ours, bare, ..] = rivals.as_slice() {
            let ratio = ours.figures.rate.paired_ratio_to(&bare.figures.rate);
            let what = format!("rate with {case} / of a bare handler");
            report.judge(what, ratio, Goal::AtLeast(LEAST_RATIO));
        }
        report.keep(&case, &rivals);
    }
    service.stop()?;
    report.plot("", plot.to_svg());
    report.finish()
}

/// Changes `changes` rows; returns the path of a poll that returns them.
async fn prepare(
    database: &BenchDatabase,
    service: &mut BenchService,
    changes: u32,
) -> anyhow::Result<String> {
    let session = &database.session;
    session.execute("INSERT INTO items VALUES (0, 0) ON CONFLICT (id) DO UPDATE SET v = 0").await?;
    service.wait_until_ready(session.lsn("pg_current_wal_lsn()").await?).await?;
    let after = version(service.address).await?;
    let insert = format!(
        "INSERT INTO items SELECT {changes} * 1000 + id, 0 FROM generate_series(1, {changes}) id"
    );
    session.execute(&insert).await?;
    service.wait_until_ready(session.lsn("pg_current_wal_lsn()").await?).await?;
    Ok(format!("/v1/changes?tables=items&limit=10000&after={after}"))
}

async fn version(address: SocketAddr) -> anyhow::Result<Version> {
    #[derive(Deserialize)]
    struct PollBatch {
        version: String,
    }
    let mut client = BenchHttpClient::connect(address).await?;
    let polled: PollBatch = serde_json::from_slice(client.get("/v1/changes?tables=items").await?)?;
    Ok(polled.version.parse()?)
}

async fn compare(
    service: &BenchService,
    path: &str,
    options: &Options,
) -> anyhow::Result<Vec<Rival>> {
    let answer = CannedResponse::of(service.address, path).await?;
    let bare = BareServer::start(&answer).await?;
    let mut rivals = vec![
        Rival::new("highwater", &[service.pid()], service.address, path),
        Rival::new("bare axum handler", &[bare.pid()?], bare.address, path),
    ];
    let nginx = Nginx::start(&answer.body)?;
    if let Some(nginx) = &nginx {
        rivals.push(Rival::new("nginx, a file", &nginx.pids()?, nginx.address, "/answer"));
    } else {
        println!("no nginx on this machine");
    }
    compete(&options.effort, &mut rivals).await?;
    Ok(rivals)
}
