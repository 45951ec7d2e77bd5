//! Time from COMMIT until a client has received it, at several rates: long polls, Server-Sent Events and WebSockets
//! of `highwater run`, a minimal replication client that reads a slot of its own, and
//! `LISTEN`/`NOTIFY`.
//!
//! Each commit inserts one row, whose id is its number; the clock starts just before the statement
//! is sent and stops when a client has the whole response. So the time of the statement itself is
//! part of every figure. Writers and clients share one thread. They commit with
//! `synchronous_commit = on`; the server does not wait for its disk (fsync off, which is the harder
//! comparison: the disk's time is the same for all). At one commit a second all clients wait at
//! once; at higher rates they take turns.

pub(crate) mod receiver;

use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep, timeout};

use crate::support::Common;
use crate::support::database::BenchDatabase;
use crate::support::http::BenchHttpClient;
use crate::support::plot::{Bars, Lines};
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::{Samples, figure};
use crate::support::service::BenchService;
use crate::support::writers::{Commits, SendTimes, make_table};

use receiver::{DeliveryMethod, Receiver};

/// A slower delivery is a failure.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(20);
/// At lower rates (commits per second) all clients wait at once: they hardly disturb each other.
const TOGETHER_BELOW: f64 = 2.0;
/// Commits counted at such a rate.
const COMMITS_TOGETHER: usize = 20;
/// Share of the commits of each turn that is not counted.
const WARM_UP: f64 = 0.1;
/// Timed HTTP round trips.
const ROUND_TRIPS: usize = 1000;
/// The median is judged at this rate, where writers and clients do not compete for the thread yet.
const QUIET_RATE: f64 = 100.0;
/// The tail is judged at this rate.
const BUSY_RATE: f64 = 1000.0;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Commits per second.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 100.0, 1000.0, 5000.0])]
    rates: Vec<f64>,
    /// Seconds of each client's turn.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Whether the server waits for its disk at every commit.
    #[arg(long)]
    fsync: bool,
}

pub(crate) async fn run(common: &Common, options: &Options) -> anyhow::Result<()> {
    let fsync = if options.fsync { "on" } else { "off" };
    let database = BenchDatabase::start(common, &[("fsync", fsync)]).await?;
    make_table(&database.session).await?;
    let settings = [("postgres.publication", "bench"), ("postgres.slot", "bench")];
    let mut service = BenchService::start(&database.url(), &settings)?;
    service.wait_until_ready(database.session.lsn("pg_current_wal_lsn()").await?).await?;
    let mut bench = LatencyBench { database, service, next: 1, options };
    let round_trip = bench.round_trip().await?;
    let mut report = BenchReport::new("latency");
    report.keep("postgresql", bench.database.server.installation().version());
    report.keep("fsync", fsync);
    report.keep("HTTP round trip, ms", round_trip);
    println!("one HTTP round trip: {} ms", figure(round_trip));
    let mut all = Vec::new();
    for rate in &options.rates {
        let received = bench.measure(*rate).await?;
        print(*rate, fsync, &received, &mut report);
        judge(*rate, &received, round_trip, &mut report);
        all.push((*rate, received));
    }
    bench.service.stop()?;
    plot(&all, &mut report);
    report.finish()
}

/// The delays of one delivery method at one rate.
pub(crate) struct Delays {
    way: DeliveryMethod,
    /// Nanoseconds.
    times: Histogram<u64>,
    /// Whether the commits reached their rate.
    kept_pace: bool,
}

impl Delays {
    const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

    pub(crate) fn milliseconds(&self, quantile: f64) -> f64 {
        self.times.value_at_quantile(quantile) as f64 / 1e6
    }

    pub(crate) fn most_milliseconds(&self) -> f64 {
        self.times.max() as f64 / 1e6
    }

    fn row(&self) -> Vec<String> {
        let quantiles = Self::QUANTILES.map(|quantile| figure(self.milliseconds(quantile)));
        let pace = if self.kept_pace { "" } else { "fewer commits" };
        let count = figure(self.times.len() as f64);
        [vec![self.way.name().to_owned()], quantiles.to_vec(), vec![count, pace.into()]].concat()
    }
}

fn print(rate: f64, fsync: &str, delays: &[Delays], report: &mut BenchReport) {
    let title = format!("{rate} commits/s, ms (fsync {fsync})");
    let rows = delays.iter().map(Delays::row).collect::<Vec<_>>();
    print_table(&[&title, "p50", "p99", "p99.9", "commits", ""], &rows);
    for delays in delays {
        let quantiles = Delays::QUANTILES.map(|quantile| delays.milliseconds(quantile));
        report.keep(&format!("{rate} commits/s, {}", delays.way.name()), quantiles);
    }
}

fn judge(rate: f64, delays: &[Delays], round_trip: f64, report: &mut BenchReport) {
    let of = |way: DeliveryMethod| delays.iter().find(|delays| delays.way == way);
    for way in DeliveryMethod::HIGHWATER {
        let Some(ours) = of(way) else { continue };
        let (name, p50) = (way.name(), ours.milliseconds(0.5));
        if rate == QUIET_RATE
            && let (Some(minimal), Some(notify)) =
                (of(DeliveryMethod::Replication), of(DeliveryMethod::Notify))
        {
            let yardstick = minimal.milliseconds(0.5) + round_trip;
            let what = format!("p50 at {rate}/s, {name} / minimal client and a round trip");
            report.judge(what, p50 / yardstick, Goal::AtMost(1.2));
            let what = format!("p50 at {rate}/s, {name} / LISTEN/NOTIFY");
            report.judge(what, p50 / notify.milliseconds(0.5), Goal::AtMost(1.5));
        }
        if rate == BUSY_RATE {
            let what = format!("p99 / p50 at {rate}/s, {name}");
            report.judge(what, ours.milliseconds(0.99) / p50, Goal::AtMost(3.0));
        }
    }
}

fn plot(all: &[(f64, Vec<Delays>)], report: &mut BenchReport) {
    let mut bars = Bars::new("From COMMIT to the client", "ms, median");
    for (rate, delays) in all {
        let bar = |d: &Delays| (d.way.name().to_owned(), d.milliseconds(0.5));
        bars.group(format!("{rate} commits/s"), delays.iter().map(bar).collect());
    }
    report.plot("p50", bars.to_svg());
    let mut lines = Lines::new("From COMMIT to the client: p99", "commits/s", "ms");
    for way in DeliveryMethod::ALL {
        let point = |(rate, delays): &(f64, Vec<Delays>)| {
            let delays = delays.iter().find(|delays| delays.way == way)?;
            Some((*rate, delays.milliseconds(0.99)))
        };
        lines.line(way.name(), all.iter().filter_map(point).collect());
    }
    report.plot("p99", lines.to_svg());
}

struct LatencyBench<'a> {
    database: BenchDatabase,
    service: BenchService,
    /// The id of the next commit.
    next: usize,
    options: &'a Options,
}

impl LatencyBench<'_> {
    /// The median time of a small request, in ms.
    async fn round_trip(&self) -> anyhow::Result<f64> {
        let mut client = BenchHttpClient::connect(self.service.address).await?;
        let mut times = Samples::default();
        for _ in 0..ROUND_TRIPS {
            let started = Instant::now();
            client.get("/livez").await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times.median())
    }

    async fn measure(&mut self, rate: f64) -> anyhow::Result<Vec<Delays>> {
        if rate < TOGETHER_BELOW {
            return self.turn(&DeliveryMethod::ALL, rate, COMMITS_TOGETHER).await;
        }
        let mut all = Vec::new();
        for way in DeliveryMethod::ALL {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
            let count = (rate * self.options.seconds) as usize;
            all.extend(self.turn(&[way], rate, count).await?);
        }
        Ok(all)
    }

    /// Runs `count` commits, which all these clients receive.
    async fn turn(
        &mut self,
        ways: &[DeliveryMethod],
        rate: f64,
        count: usize,
    ) -> anyhow::Result<Vec<Delays>> {
        let mut receivers = Vec::new();
        for way in ways {
            let address = self.service.address;
            receivers.push((*way, Receiver::open(*way, &self.database, address).await?));
        }
        // Until the clients' requests are waiting and the server is idle.
        sleep(Duration::from_millis(100)).await;
        let (first, sent) = (self.next, SendTimes::new(count));
        self.next += count;
        let notifies = ways.contains(&DeliveryMethod::Notify);
        let also = |id: usize| {
            if notifies { format!("; NOTIFY commits, '{id}'") } else { String::new() }
        };
        let commits = Commits { first, count, rate, also: &also, on_sent: &|_| () };
        let listening = receivers.iter_mut().map(|(_, receiver)| {
            let turn = listen(receiver, first, count, &sent);
            async { timeout_after_silence(turn, rate, count).await }
        });
        let (took, received) =
            tokio::try_join!(commits.run(&self.database, &sent), try_join_all(listening))?;
        let kept_pace = took.as_secs_f64() < 1.1 * count as f64 / rate + 0.1;
        let mut all = Vec::new();
        for ((way, receiver), times) in receivers.into_iter().zip(received) {
            receiver.close(&self.database).await?;
            all.push(Delays { way, times, kept_pace });
        }
        Ok(all)
    }
}

async fn timeout_after_silence<T>(
    listening: impl Future<Output = anyhow::Result<T>>,
    rate: f64,
    count: usize,
) -> anyhow::Result<T> {
    let most = Duration::from_secs_f64(count as f64 / rate) + DELIVERY_TIME_MAX;
    timeout(most, listening).await.context("something was not delivered")?
}

/// Receives until all commits have arrived; returns the delay of each.
async fn listen(
    receiver: &mut Receiver,
    first: usize,
    count: usize,
    sent: &SendTimes,
) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    let mut known = vec![false; count];
    let mut left = count;
    while left > 0 {
        let ids = receiver.received().await?;
        let now = Instant::now();
        for id in ids {
            let place = id.wrapping_sub(first);
            let known = known.get_mut(place).with_context(|| format!("{id} was not committed"))?;
            anyhow::ensure!(!std::mem::replace(known, true), "{id} was ids twice");
            left -= 1;
            let sent = sent.at(place).context("ids before it was sent")?;
            if place as f64 >= WARM_UP * count as f64 {
                times.record(u64::try_from((now - sent).as_nanos())?)?;
            }
        }
    }
    Ok(times)
}

/// Delays of server-sent events for the caller's commits, for benchmarks that generate more load.
pub(crate) async fn measure_stream(
    database: &BenchDatabase,
    service: &BenchService,
    commits: &Commits<'_>,
) -> anyhow::Result<(Delays, Duration)> {
    let way = DeliveryMethod::Stream;
    let mut receiver = Receiver::open(way, database, service.address).await?;
    let sent = SendTimes::new(commits.count);
    let listening = listen(&mut receiver, commits.first, commits.count, &sent);
    let listening = timeout_after_silence(listening, commits.rate, commits.count * 2);
    let (took, times) = tokio::try_join!(commits.run(database, &sent), listening)?;
    let kept_pace = took.as_secs_f64() < 1.1 * commits.count as f64 / commits.rate;
    Ok((Delays { way, times, kept_pace }, took))
}
