//! `highwater demo`: the whole service on a private PostgreSQL, and a story to watch.
//!
//! [`run`] starts a throw-away server, opens a small `shop` in it, lets the service it is given
//! serve that, lets the `story` happen, polls like any other `client`, and writes on the
//! `screen` what was committed and what was told. In a browser the console shows the same: the `counter`
//! adds a table with buttons to it. However it ends, nothing is left behind.

mod client;
mod counter;
mod error;
mod screen;
mod shop;
mod stage;
mod story;

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

use crate::throwaway::FindOptions;
use client::PollingClient;
use counter::Counter;
use screen::{Opening, Screen};
use stage::Stage;
use story::{EVERYDAY, STORY, Step};

/// The time to read between two steps, unless told otherwise.
pub const PAUSE_DEFAULT: Duration = Duration::from_millis(1500);
/// How long the service may take until it answers the first poll.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the service may take to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// How long the client waits to be told of a commit.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How long it waits where there is nothing to tell.
const SILENCE: Duration = Duration::from_millis(700);
/// How often a quiet shop is looked at.
const QUIET_LOOK: Duration = Duration::from_millis(300);
/// How long a poll is already held when something is committed.
const HEAD_START: Duration = Duration::from_millis(30);

/// What the demo can be told.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where PostgreSQL's programs may be.
    pub find: FindOptions,
    /// Where the service listens: loopback only, as it asks nobody who they are.
    pub listen: SocketAddr,
    /// Whether another port does as well when that one is taken: nobody asked for it.
    pub any_port: bool,
    /// Ends the demo so long after the service was started.
    pub run_for: Option<Duration>,
    /// Time to read between two steps; [`PAUSE_DEFAULT`] suits a person.
    pub pause: Duration,
}

/// What the service is asked to serve, until its [`CancellationToken`] is cancelled.
#[derive(Debug)]
pub struct ServiceRequest {
    /// The shop's database, as a role that may only replicate, connect and read. Over the Unix
    /// socket: `postgres://highwater@%2Ftmp%2F…:port/shop`.
    pub database_url: String,
    /// The publication, which exists.
    pub publication: &'static str,
    /// The slot, to be created.
    pub slot: &'static str,
    /// Where to listen: bound already, so that nobody takes the port meanwhile.
    pub listener: TcpListener,
    /// Settings that say which tables' rows are held.
    pub rows_held: &'static [(&'static str, &'static str)],
    /// Routes that are answered beside the service's own.
    pub pages: Router,
    /// What makes them a part of the console: HTML for its head.
    pub console_head: &'static str,
}

/// Runs the demo until `end` is done, [`DemoOptions::run_for`] is over, or nobody reads `out`.
///
/// `serve` is the service: a future that ends soon after the token is cancelled.
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
    let stage = tokio::select! {
        stage = Stage::set_up(options.find.clone()) => stage?,
        () = &mut end => return Ok(()),
    };
    let base =
        format!("http://{}", listener.local_addr().map_err(DemoError::listen(options.listen))?);
    let mut screen = Screen::new(out);
    let (counter, open) = Counter::new(stage.players().clone());
    let request = ServiceRequest {
        database_url: stage.server().socket_url_as(shop::ROLE, shop::DATABASE),
        publication: shop::PUBLICATION,
        slot: shop::SLOT,
        listener,
        rows_held: shop::ROWS_HELD,
        pages: counter.router(),
        console_head: counter::HEAD,
    };
    let stop = CancellationToken::new();
    let mut running = pin!(serve(request, stop.clone()));

    let opening = Opening {
        server_version: stage.server().installation().version(),
        base: &base,
        taken: taken.map(|address| address.to_string()),
        psql: stage.psql(),
    };
    let outcome = tokio::select! {
        outcome = show(&options, &opening, &stage, open, &mut screen) => outcome,
        () = &mut end => Ok(()),
        () = over(options.run_for) => Ok(()),
        ended = &mut running => {
            return Err(DemoError::Service(ended.err().map_or_else(|| "it ended".into(), Into::into)));
        }
    };
    stop.cancel();
    let stopped = timeout(STOPPED_WITHIN, running).await;
    stage.tear_down().await?;
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

/// Binds the address asked for; if another will do, another, with the one that is taken.
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

/// Done when the time is over; never if there is no such time.
async fn over(run_for: Option<Duration>) {
    match run_for {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// The performance: the opening, the story once, then everyday business for ever.
async fn show<W: Write>(
    options: &DemoOptions,
    opening: &Opening<'_>,
    stage: &Stage,
    open: watch::Receiver<bool>,
    screen: &mut Screen<W>,
) -> Result<(), DemoError> {
    let mut client = PollingClient::new(opening.base).map_err(DemoError::Poll)?;
    let answer = first_answer(&mut client).await?;
    screen.opening(opening, &answer.version).map_err(DemoError::Screen)?;
    screen.start(&answer).map_err(DemoError::Screen)?;
    for (number, step) in (1..).zip(STORY) {
        pause(options.pause, &open, &mut client, screen).await?;
        perform(Some(number), step, stage, &mut client, screen).await?;
    }
    let for_how_long = if options.run_for.is_some() { "for a while" } else { "until Ctrl-C" };
    screen.everyday(for_how_long).map_err(DemoError::Screen)?;
    for step in EVERYDAY.iter().cycle() {
        pause(options.pause, &open, &mut client, screen).await?;
        perform(None, step, stage, &mut client, screen).await?;
    }
    Ok(())
}

/// Asks until the service answers.
async fn first_answer(client: &mut PollingClient) -> Result<client::Answer, DemoError> {
    let started = Instant::now();
    loop {
        match client.poll(Duration::ZERO).await {
            Ok(answer) => return Ok(answer),
            Err(error) if started.elapsed() > READY_WITHIN => return Err(DemoError::Poll(error)),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Time to read, in which the client hears what others change; longer while somebody in a browser
/// wants the shop to be quiet.
async fn pause<W: Write>(
    duration: Duration,
    open: &watch::Receiver<bool>,
    client: &mut PollingClient,
    screen: &mut Screen<W>,
) -> Result<(), DemoError> {
    let mut until = Instant::now() + duration;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let answer = client.poll(left).await.map_err(DemoError::Poll)?;
        if !answer.is_empty() {
            screen.meanwhile(&answer).map_err(DemoError::Screen)?;
        }
        if !*open.borrow() {
            until = Instant::now() + QUIET_LOOK;
        } else if Instant::now() >= until && !answer.more {
            return Ok(());
        }
    }
}

/// Lets one step happen while a poll is held, and shows both.
async fn perform<W: Write>(
    number: Option<usize>,
    step: &Step,
    stage: &Stage,
    client: &mut PollingClient,
    screen: &mut Screen<W>,
) -> Result<(), DemoError> {
    let wait = if step.is_told() { TOLD_WITHIN } else { SILENCE };
    let told = async {
        let mut answer = client.poll(wait).await?;
        let at = Instant::now();
        while answer.more {
            let rest = client.poll(Duration::ZERO).await?;
            answer.more = rest.more;
            answer.reset.extend(rest.reset);
            answer.changes.extend(rest.changes);
        }
        Ok((answer, at))
    };
    let committed = async {
        sleep(HEAD_START).await;
        step.happen(stage.players()).await.map(|()| Instant::now())
    };
    let (told, committed) = tokio::join!(told, committed);
    let committed = committed.map_err(DemoError::sql(step.title))?;
    let (answer, at) = told.map_err(DemoError::Poll)?;
    let after = at.saturating_duration_since(committed);
    screen.step(number, step, &answer, after).map_err(DemoError::Screen)
}

#[cfg(test)]
mod tests;
