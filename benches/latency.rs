//! From COMMIT until a waiting client knows: a held poll of `highwater run`, and `LISTEN`/`NOTIFY`
//! to a tokio-postgres client, taking turns commit by commit.
//!
//! Each measurement is one transaction that updates one row; the one for `NOTIFY` also notifies.
//! The clock starts just before COMMIT is sent and stops when the client has the whole answer, or
//! the notification. Writer and both clients share one thread. The writer commits with
//! `synchronous_commit = on`.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::AsyncMessage;

use support::database::{Database, Session};
use support::http::HttpClient;
use support::report::{Goal, Report, print_table};
use support::samples::figure;
use support::service::Service;
use support::{Common, block_on};

/// Commits of each kind before anything is counted.
const WARM_UP: u32 = 50;
/// Pauses between commits, so that the next poll is held in time; of different lengths, so that
/// no timer keeps step with them.
const PAUSES_MS: std::ops::Range<u64> = 5..16;
/// A delivery that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Commits of each kind.
    #[arg(long, default_value_t = 1000)]
    commits: u32,
    /// Whether the server waits for its disk at every commit (its setting fsync).
    #[arg(long, value_enum, default_value_t = Fsync::Off)]
    fsync: Fsync,
}

/// Off is the harder comparison: the disk's time is the same for both and would hide the rest.
#[derive(Clone, Copy, ValueEnum)]
enum Fsync {
    On,
    Off,
}

impl Fsync {
    fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.common.is_wanted("latency") {
        return Ok(());
    }
    block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let fsync = options.fsync.as_str();
    let database = Database::start(&options.common, &[("fsync", fsync)]).await?;
    create_tables(&database.session).await?;
    let settings = [("postgres.publication", "bench"), ("postgres.slot", "bench")];
    let mut service = Service::start(&database.url(), &settings)?;
    let end = database.session.lsn("pg_current_wal_lsn()").await?;
    service.wait_until_ready(end).await?;

    let mut poller = Poller::start(service.address).await?;
    let mut listener = Listener::start(&database.url()).await?;
    let mut to_poller = Delays::new()?;
    let mut to_listener = Delays::new()?;
    for turn in 0..WARM_UP + options.commits {
        let (by_poll, by_notify) =
            (poller.turn(&database.session).await?, listener.turn(&database.session).await?);
        if turn >= WARM_UP {
            to_poller.add(by_poll)?;
            to_listener.add(by_notify)?;
        }
    }
    service.stop()?;
    tell(&database, options, &to_poller, &to_listener)
}

async fn create_tables(session: &Session) -> anyhow::Result<()> {
    session
        .execute(
            "SET synchronous_commit = on; \
             CREATE TABLE polled (id bigint PRIMARY KEY, v int); \
             CREATE TABLE notified (id bigint PRIMARY KEY, v int); \
             INSERT INTO polled SELECT id, 0 FROM generate_series(1, 1000) id; \
             INSERT INTO notified SELECT id, 0 FROM generate_series(1, 1000) id; \
             CREATE PUBLICATION bench FOR TABLE polled",
        )
        .await
}

fn tell(
    database: &Database,
    options: &Options,
    to_poller: &Delays,
    to_listener: &Delays,
) -> anyhow::Result<()> {
    let mut report = Report::new("latency");
    report.keep("postgresql", database.server.installation().version());
    report.keep("fsync", options.fsync.as_str());
    report.keep("commits", options.commits);
    let rows = [("held poll", to_poller), ("LISTEN/NOTIFY", to_listener)].map(|(name, delays)| {
        let quantiles = Delays::QUANTILES.map(|quantile| delays.milliseconds(quantile));
        report.keep(name, quantiles);
        [vec![name.to_owned()], quantiles.map(figure).to_vec()].concat()
    });
    let title = format!("COMMIT to client, ms (fsync {})", options.fsync.as_str());
    print_table(&[&title, "p50", "p90", "p99"], &rows);
    let ratio = to_poller.milliseconds(0.5) / to_listener.milliseconds(0.5);
    report.judge("p50 of a held poll / of LISTEN/NOTIFY", ratio, Goal::AtMost(1.5));
    report.finish()
}

/// The delays of one way of delivery.
struct Delays(Histogram<u64>);

impl Delays {
    const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

    fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    fn add(&mut self, delay: Duration) -> anyhow::Result<()> {
        self.0.record(u64::try_from(delay.as_nanos())?)?;
        Ok(())
    }

    fn milliseconds(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }
}

/// Lets the server and the service come to rest, differently long each time.
async fn rest(turn: u64) {
    let kinds = PAUSES_MS.end - PAUSES_MS.start;
    sleep(Duration::from_millis(PAUSES_MS.start + turn * 7 % kinds)).await;
}

/// Begins a transaction and updates a row.
async fn begin_update(session: &Session, table: &str, turn: u64) -> anyhow::Result<()> {
    let id = 1 + turn % 1000;
    session.execute(&format!("BEGIN; UPDATE {table} SET v = v + 1 WHERE id = {id}")).await
}

/// Commits, and waits for the delivery: how long that took.
async fn commit<T>(
    session: &Session,
    delivery: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Duration)> {
    let started = Instant::now();
    let timed = async {
        let delivered = timeout(PATIENCE, delivery).await.context("nothing was delivered")??;
        anyhow::Ok((delivered, started.elapsed()))
    };
    let (committed, delivered) = tokio::join!(session.execute("COMMIT"), timed);
    committed?;
    delivered
}

/// A client that holds a poll.
struct Poller {
    client: HttpClient,
    after: String,
    turns: u64,
}

/// What is read of an answer.
#[derive(Deserialize)]
struct Answer {
    version: String,
    changes: Vec<serde_json::Value>,
}

impl Poller {
    async fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let mut client = HttpClient::connect(address).await?;
        let answer: Answer =
            serde_json::from_slice(client.get("/v1/changes?tables=polled").await?)?;
        Ok(Self { client, after: answer.version, turns: 0 })
    }

    /// One commit, from COMMIT until the held poll was answered.
    async fn turn(&mut self, session: &Session) -> anyhow::Result<Duration> {
        self.turns += 1;
        let path = format!("/v1/changes?tables=polled&wait=60s&after={}", self.after);
        self.client.send(&HttpClient::request(&path)).await?;
        begin_update(session, "polled", self.turns).await?;
        rest(self.turns).await;
        let (status, delay) = commit(session, self.client.receive()).await?;
        let answer: Answer = serde_json::from_slice(self.client.body())
            .with_context(|| format!("an answer of status {status}"))?;
        if answer.changes.len() != 1 {
            bail!("one row was changed, but {} were told", answer.changes.len());
        }
        self.after = answer.version;
        Ok(delay)
    }
}

/// A client that listens.
struct Listener {
    notifications: mpsc::Receiver<()>,
    turns: u64,
    _session: Session,
}

impl Listener {
    async fn start(url: &str) -> anyhow::Result<Self> {
        let (told, notifications) = mpsc::channel(1);
        let session = Session::open_listening(url, move |message| {
            if matches!(message, AsyncMessage::Notification(_)) {
                // One notification is under way at a time.
                let _ = told.try_send(());
            }
        })
        .await?;
        session.execute("LISTEN changed").await?;
        Ok(Self { notifications, turns: 0, _session: session })
    }

    /// One commit, from COMMIT until the notification was received.
    async fn turn(&mut self, session: &Session) -> anyhow::Result<Duration> {
        self.turns += 1;
        begin_update(session, "notified", self.turns).await?;
        session.execute(&format!("NOTIFY changed, '{}'", self.turns)).await?;
        rest(self.turns).await;
        let delivery = async { self.notifications.recv().await.context("the listener has ended") };
        let ((), delay) = commit(session, delivery).await?;
        Ok(delay)
    }
}
