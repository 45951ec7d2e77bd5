//! Polls a second when nothing is new: `highwater run`, and a bare axum handler that returns the
//! same bytes, taking turns under the same load.
//!
//! The load comes from a process of its own (this program again, see `support/load.rs`), over
//! kept-alive connections. The bare handler runs in a third process; its answer, head and body,
//! is a copy of one of ours. On few processors the generator takes its share from both alike, so
//! the processor time a request costs each server is told as well.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::routing::get;
use axum::serve::ListenerExt;
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use support::database::Database;
use support::http::HttpClient;
use support::load::Load;
use support::process;
use support::report::{Goal, Report, print_table};
use support::samples::Samples;
use support::service::Service;
use support::{Common, block_on};

/// Load before anything is counted.
const WARM_UP_SECONDS: f64 = 1.0;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Kept-alive connections, each asking as fast as it is answered.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Turns of each server; the medians are told.
    #[arg(long, default_value_t = 7)]
    turns: u32,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it runs itself again.
#[derive(Subcommand)]
enum Role {
    /// The load generator.
    #[command(hide = true)]
    Load(Load),
    /// The server to compare with.
    #[command(hide = true)]
    Bare {
        /// A file that holds the answer to give.
        #[arg(long)]
        answer: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match &options.role {
        Some(Role::Load(load)) => load.run_here(),
        Some(Role::Bare { answer }) => serve_bare(answer),
        None if options.common.is_wanted("polls") => block_on(run(&options)),
        None => Ok(()),
    }
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let database = Database::start(&options.common, &[]).await?;
    let session = &database.session;
    session
        .execute(
            "CREATE TABLE items (id bigint PRIMARY KEY, v int); \
             CREATE PUBLICATION bench FOR TABLE items",
        )
        .await?;
    let settings = [("postgres.publication", "bench"), ("postgres.slot", "bench")];
    let mut service = Service::start(&database.url(), &settings)?;
    session.execute("INSERT INTO items SELECT id, 0 FROM generate_series(1, 1000) id").await?;
    service.wait_until_ready(session.lsn("pg_current_wal_lsn()").await?).await?;

    let (path, answer) = Answer::to_a_poll_with_nothing_new(service.address).await?;
    println!("GET {path}\n{}", answer.body);
    let bare = BareServer::start(&answer).await?;
    let mut ours = Server::new("highwater", service.pid(), service.address);
    let mut theirs = Server::new("bare axum handler", bare.pid()?, bare.address);
    for turn in 0..=options.turns {
        for server in [&mut ours, &mut theirs] {
            server.turn(options, &path, turn == 0).await?;
        }
    }
    service.stop()?;
    tell(&database, options, &ours, &theirs)
}

fn tell(
    database: &Database,
    options: &Options,
    ours: &Server,
    theirs: &Server,
) -> anyhow::Result<()> {
    let mut report = Report::new("polls");
    report.keep("postgresql", database.server.installation().version());
    report.keep("connections", options.connections);
    report.keep("seconds", options.seconds);
    for server in [ours, theirs] {
        report.keep(server.name, &server.figures);
    }
    print_table(
        &["nothing new", "answers/s", "p50 µs", "p99 µs", "CPU µs per answer"],
        &[ours.row(), theirs.row()],
    );
    let ratio = ours.figures.rate.ratio_to(&theirs.figures.rate);
    report.judge("rate of polls / of a bare handler", ratio, Goal::AtLeast(0.8));
    report.finish()
}

/// A server under load.
struct Server {
    name: &'static str,
    pid: u32,
    address: SocketAddr,
    figures: Figures,
}

/// What its turns showed.
#[derive(Default, Serialize)]
struct Figures {
    rate: Samples,
    p50_us: Samples,
    p99_us: Samples,
    cpu_us_per_answer: Samples,
}

impl Server {
    fn new(name: &'static str, pid: u32, address: SocketAddr) -> Self {
        Self { name, pid, address, figures: Figures::default() }
    }

    async fn turn(&mut self, options: &Options, path: &str, warm_up: bool) -> anyhow::Result<()> {
        let load = Load {
            address: self.address,
            path: path.to_owned(),
            connections: options.connections,
            seconds: if warm_up { WARM_UP_SECONDS } else { options.seconds },
        };
        let cpu_before = process::cpu(self.pid)?;
        let outcome = load.run_apart().await?;
        let cpu = process::cpu(self.pid)?.saturating_sub(cpu_before);
        if warm_up {
            return Ok(());
        }
        self.figures.rate.push(outcome.rate);
        self.figures.p50_us.push(outcome.p50_us as f64);
        self.figures.p99_us.push(outcome.p99_us as f64);
        let answers = outcome.rate * options.seconds;
        self.figures.cpu_us_per_answer.push(cpu.as_secs_f64() * 1e6 / answers);
        Ok(())
    }

    fn row(&self) -> Vec<String> {
        let Figures { rate, p50_us, p99_us, cpu_us_per_answer } = &self.figures;
        let figures = [rate, p50_us, p99_us, cpu_us_per_answer].map(ToString::to_string);
        [vec![self.name.to_owned()], figures.to_vec()].concat()
    }
}

/// An answer, to be given again.
#[derive(Serialize, Deserialize)]
struct Answer {
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// Polls twice: the second answer is that nothing is new. Tells what was asked as well.
    async fn to_a_poll_with_nothing_new(address: SocketAddr) -> anyhow::Result<(String, Self)> {
        #[derive(Deserialize)]
        struct Polled {
            version: String,
        }
        let mut client = HttpClient::connect(address).await?;
        let first: Polled = serde_json::from_slice(client.get("/v1/changes?tables=items").await?)?;
        let path = format!("/v1/changes?tables=items&after={}", first.version);
        let body = String::from_utf8(client.get(&path).await?.to_vec())?;
        anyhow::ensure!(body.contains(r#""changes":[]"#), "something was new: {body}");
        let head = String::from_utf8(client.head().to_vec())?;
        Ok((path, Self { headers: headers(&head), body }))
    }
}

/// The headers of a head, except those the bare server makes itself.
fn headers(head: &str) -> Vec<(String, String)> {
    let made = ["date", "content-length"];
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .filter(|(name, _)| !made.contains(&name.as_str()))
        .collect()
}

/// The bare server, in a process of its own; ended when dropped.
struct BareServer {
    child: Child,
    address: SocketAddr,
    _answer: tempfile::NamedTempFile,
}

impl BareServer {
    async fn start(answer: &Answer) -> anyhow::Result<Self> {
        let file = tempfile::NamedTempFile::new().context("make a temporary file")?;
        serde_json::to_writer(&file, answer)?;
        let mut child = Command::new(std::env::current_exe().context("find this program")?)
            .arg("bare")
            .arg("--answer")
            .arg(file.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the bare server")?;
        let stdout = child.stdout.take().context("the bare server's output")?;
        let first = BufReader::new(stdout).lines().next_line().await?;
        let address = first.context("the bare server ended")?.parse()?;
        Ok(Self { child, address, _answer: file })
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the bare server ended")
    }
}

/// The bare server itself, on a runtime like that of `highwater run`.
fn serve_bare(answer: &PathBuf) -> anyhow::Result<()> {
    let answer: Answer = serde_json::from_slice(&std::fs::read(answer)?)?;
    let mut headers = HeaderMap::new();
    for (name, value) in answer.headers {
        headers.insert(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
    }
    let body = axum::body::Bytes::from(answer.body);
    let handler = move || async move { (headers, body) };
    let router = Router::new().route("/v1/changes", get(handler));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            // Only delays; never wrong.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await.context("serve")
    })
}
