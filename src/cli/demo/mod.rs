//! `highwater demo`: the whole service on a private PostgreSQL, with changes to watch.
//!
//! [`run`] starts a temporary server and creates a small `shop` in it (the `environment`), runs the
//! given service on it, executes the `scenario`, polls as an ordinary `client`, and prints on the
//! `screen` what was committed and what the client received. In a browser the console shows the same:
//! the `playground` adds a table with buttons to it. However the demo ends, it cleans up.

mod actors;
mod client;
mod environment;
mod error;
mod playground;
mod scenario;
mod screen;
mod shop;

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use error::DemoError;

use crate::temp_postgres::FindOptions;
use client::{PollResponse, PollingClient};
use environment::DemoEnvironment;
use playground::Playground;
use scenario::{BACKGROUND, SCENARIO, ScenarioStep};
use screen::{DemoScreen, Introduction};

/// The default of [`DemoOptions::pause`]: time for a person to read.
pub const PAUSE_DEFAULT: Duration = Duration::from_millis(1500);
/// Limit for the service to answer the first poll.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit for the service to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The poll's wait for a step that commits changes.
const CHANGE_WAIT: Duration = Duration::from_secs(5);
/// The poll's wait for a step that is rolled back, so that no change arrives.
const ROLLBACK_WAIT: Duration = Duration::from_millis(700);
/// The poll's wait while the traffic is paused in the browser.
const PAUSED_WAIT: Duration = Duration::from_millis(300);
/// Delay of a step after its poll was sent, so that the service already holds the poll at the commit.
const HEAD_START: Duration = Duration::from_millis(30);

/// Options of the demo.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where to search for PostgreSQL's programs, and where to download them to.
    pub find: FindOptions,
    /// The service's address: loopback only, because the demo has no authentication.
    pub listen: SocketAddr,
    /// Whether to use another port if that one is in use: it is a default, not the user's choice.
    pub any_port: bool,
    /// Ends the demo this long after the service was started; `None` runs it until `end`.
    pub run_for: Option<Duration>,
    /// Time between two steps.
    pub pause: Duration,
}

/// The configuration of the service that the demo runs until it cancels the [`CancellationToken`].
#[derive(Debug)]
pub struct ServiceRequest {
    /// The URL of the shop's database over the Unix socket, with a role that may only replicate,
    /// connect and read: `postgres://highwater@%2Ftmp%2F…:port/shop`.
    pub database_url: String,
    /// The publication; it exists already.
    pub publication: &'static str,
    /// The slot; the service creates it.
    pub slot: &'static str,
    /// The bound listener, so that no other process takes the port meanwhile.
    pub listener: TcpListener,
    /// Settings that make the service cache rows of some tables.
    pub row_cache_settings: &'static [(&'static str, &'static str)],
    /// Routes to serve in addition to the service's own.
    pub pages: Router,
    /// HTML for the head of the console's page, which loads the playground.
    pub console_head: &'static str,
}

/// Runs the demo until `end` completes, [`DemoOptions::run_for`] has passed, or `out` is closed.
///
/// `serve` runs the service: a future that completes soon after the token is cancelled.
pub async fn run<Serve, Running, E>(
    options: DemoOptions,
    end: impl Future<Output = ()>,
    out: impl Write,
    serve: Serve,
) -> Result<(), DemoError>
where
    Serve: FnOnce(ServiceRequest, CancellationToken) -> Running,
    Running: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut end = pin!(end);
    let (listener, taken) = listen(&options).await?;
    let environment = tokio::select! {
        environment = DemoEnvironment::set_up(options.find.clone()) => environment?,
        () = &mut end => return Ok(()),
    };
    let base =
        format!("http://{}", listener.local_addr().map_err(DemoError::listen(options.listen))?);
    let mut screen = DemoScreen::new(out);
    let (playground, traffic) = Playground::new(environment.actors().clone());
    let request = ServiceRequest {
        database_url: environment.server().socket_url_as(shop::ROLE, shop::DATABASE),
        publication: shop::PUBLICATION,
        slot: shop::SLOT,
        listener,
        row_cache_settings: shop::ROW_CACHE_SETTINGS,
        pages: playground.router(),
        console_head: playground::HEAD,
    };
    let stop = CancellationToken::new();
    let mut running = pin!(serve(request, stop.clone()));

    let introduction = Introduction {
        server_version: environment.server().installation().version(),
        base: &base,
        taken: taken.map(|address| address.to_string()),
        psql: environment.psql(),
    };
    let outcome = tokio::select! {
        outcome = play(&options, &introduction, &environment, traffic, &mut screen) => outcome,
        () = &mut end => Ok(()),
        () = elapsed(options.run_for) => Ok(()),
        ended = &mut running => {
            return Err(DemoError::Service(ended.err().map_or_else(|| "it ended".into(), Into::into)));
        }
    };
    stop.cancel();
    let stopped = timeout(STOP_TIMEOUT, running).await;
    environment.tear_down().await?;
    match outcome {
        Err(error) if error.is_broken_pipe() => return Ok(()),
        outcome => outcome?,
    }
    match stopped {
        Err(_) => return Err(DemoError::Service("it did not stop".into())),
        Ok(outcome) => outcome.map_err(|error| DemoError::Service(error.into()))?,
    }
    match screen.closing().map_err(DemoError::Screen) {
        Err(error) if error.is_broken_pipe() => Ok(()),
        outcome => outcome,
    }
}

/// Binds the requested address. If it is in use and any port will do, binds another one and returns the
/// address in use, too.
async fn listen(options: &DemoOptions) -> Result<(TcpListener, Option<SocketAddr>), DemoError> {
    let address = options.listen;
    if !address.ip().is_loopback() {
        return Err(DemoError::NotLoopback(address));
    }
    match TcpListener::bind(address).await {
        Err(error) if options.any_port && error.kind() == std::io::ErrorKind::AddrInUse => {
            let any = SocketAddr::new(address.ip(), 0);
            let listener = TcpListener::bind(any).await.map_err(DemoError::listen(any))?;
            Ok((listener, Some(address)))
        }
        outcome => Ok((outcome.map_err(DemoError::listen(address))?, None)),
    }
}

/// Completes after the duration; never for `None`.
async fn elapsed(run_for: Option<Duration>) {
    match run_for {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Prints the introduction, runs the scenario once, then background traffic without end.
async fn play<W: Write>(
    options: &DemoOptions,
    introduction: &Introduction<'_>,
    environment: &DemoEnvironment,
    traffic: watch::Receiver<bool>,
    screen: &mut DemoScreen<W>,
) -> Result<(), DemoError> {
    let mut client = PollingClient::new(introduction.base).map_err(DemoError::Poll)?;
    let response = first_poll(&mut client).await?;
    screen.introduction(introduction, &response.version).map_err(DemoError::Screen)?;
    screen.first_poll(&response).map_err(DemoError::Screen)?;
    for (number, step) in (1..).zip(SCENARIO) {
        pause(options.pause, &traffic, &mut client, screen).await?;
        run_step(Some(number), step, environment, &mut client, screen).await?;
    }
    let end = if options.run_for.is_some() { "the time is over" } else { "Ctrl-C" };
    screen.scenario_over(end).map_err(DemoError::Screen)?;
    for step in BACKGROUND.iter().cycle() {
        pause(options.pause, &traffic, &mut client, screen).await?;
        run_step(None, step, environment, &mut client, screen).await?;
    }
    Ok(())
}

/// Polls until the service responds.
async fn first_poll(client: &mut PollingClient) -> Result<PollResponse, DemoError> {
    let started = Instant::now();
    loop {
        match client.poll(Duration::ZERO).await {
            Ok(response) => return Ok(response),
            Err(error) if started.elapsed() > READY_TIMEOUT => return Err(DemoError::Poll(error)),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Waits for `duration`, and longer while the traffic is paused in the browser. Meanwhile the client
/// polls for changes that the demo did not make.
async fn pause<W: Write>(
    duration: Duration,
    traffic: &watch::Receiver<bool>,
    client: &mut PollingClient,
    screen: &mut DemoScreen<W>,
) -> Result<(), DemoError> {
    let mut until = Instant::now() + duration;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let response = client.poll(left).await.map_err(DemoError::Poll)?;
        if !response.is_empty() {
            screen.foreign_changes(&response).map_err(DemoError::Screen)?;
        }
        if !*traffic.borrow() {
            until = Instant::now() + PAUSED_WAIT;
        } else if Instant::now() >= until && !response.more {
            return Ok(());
        }
    }
}

/// Runs one step while the service holds a poll, and prints both.
async fn run_step<W: Write>(
    number: Option<usize>,
    step: &ScenarioStep,
    environment: &DemoEnvironment,
    client: &mut PollingClient,
    screen: &mut DemoScreen<W>,
) -> Result<(), DemoError> {
    let wait = if step.commits() { CHANGE_WAIT } else { ROLLBACK_WAIT };
    let received = async {
        let mut response = client.poll(wait).await?;
        let at = Instant::now();
        while response.more {
            let rest = client.poll(Duration::ZERO).await?;
            response.more = rest.more;
            response.reset.extend(rest.reset);
            response.changes.extend(rest.changes);
        }
        Ok((response, at))
    };
    let committed = async {
        sleep(HEAD_START).await;
        step.run(environment.actors()).await.map(|()| Instant::now())
    };
    let (received, committed) = tokio::join!(received, committed);
    let committed = committed.map_err(DemoError::sql(step.title))?;
    let (response, at) = received.map_err(DemoError::Poll)?;
    let latency = at.saturating_duration_since(committed);
    screen.step(number, step, &response, latency).map_err(DemoError::Screen)
}

#[cfg(test)]
mod tests;
