//! `highwater tail`.

mod line;

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;

use super::failure::CommandFailure;
use super::flags::{Format, ServerFlags};
use super::http_client::{HttpClient, RequestError};
use super::signals;
use crate::config::Environment;
use line::{Printer, TailedChanges};

/// Print the changes of a running Highwater as they happen
///
/// A long-polling client: it continues from its last version when the connection is lost.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater tail --url http://127.0.0.1:8080 --tables items,users")]
pub(crate) struct TailArgs {
    #[command(flatten)]
    server: ServerFlags,
    /// Only these tables [default: all tables]
    #[arg(long, value_name = "TABLES")]
    tables: Option<String>,
    /// Start after this version [default: now]
    #[arg(long, value_name = "VERSION")]
    after: Option<String>,
    /// Output format; json prints one object per line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Duration of one long poll.
const WAIT: Duration = Duration::from_secs(30);
/// Additional time for the response of a long poll to arrive.
const GRACE: Duration = Duration::from_secs(15);
/// An empty response that arrives sooner was not a long poll: a proxy answered, or the service is
/// stopping. The next request waits, so that there is no busy loop.
const MIN_POLL: Duration = Duration::from_secs(1);
/// The first pause after a failure; it doubles up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: TailArgs, environment: &Environment) -> Result<(), CommandFailure> {
    super::logging::install_quiet();
    let terminated = signals::terminated();
    let client = HttpClient::new(&args.server, environment)?;
    let printer = Printer::new(anstream::stdout(), args.format);
    let mut tail =
        Tail { client, tables: args.tables, version: args.after, printer, pause: FIRST_PAUSE };
    tokio::select! {
        failure = tail.follow() => Err(failure),
        () = terminated => Ok(()),
    }
}

struct Tail<W> {
    client: HttpClient,
    tables: Option<String>,
    /// The version of the last response.
    version: Option<String>,
    printer: Printer<W>,
    pause: Duration,
}

impl<W: Write> Tail<W> {
    /// Polls and prints until a permanent failure.
    async fn follow(&mut self) -> CommandFailure {
        loop {
            let sent = Instant::now();
            let pause = match self.poll().await {
                Ok(response) => {
                    self.pause = FIRST_PAUSE;
                    if let Err(error) = self.printer.print(&response, self.version.is_none()) {
                        return error.into();
                    }
                    let was_held =
                        !response.is_empty() || response.more || sent.elapsed() >= MIN_POLL;
                    self.version = Some(response.version);
                    if was_held { Duration::ZERO } else { FIRST_PAUSE }
                }
                Err(RequestError::Permanent(why)) => return self.failed(&why),
                Err(RequestError::Temporary(why, retry_after)) => {
                    self.pause_after(&why, retry_after)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn poll(&self) -> Result<TailedChanges, RequestError> {
        let wait = format!("{}s", WAIT.as_secs());
        let mut query = vec![("detail", "true"), ("wait", wait.as_str())];
        query.extend(self.tables.as_deref().map(|tables| ("tables", tables)));
        query.extend(self.version.as_deref().map(|version| ("after", version)));
        let body = self.client.get("/v1/changes", &query, WAIT + GRACE).await?;
        serde_json::from_str(&body).map_err(|error| {
            RequestError::Permanent(format!("the response is not from Highwater ({error})"))
        })
    }

    fn failed(&self, why: &str) -> CommandFailure {
        CommandFailure::failed(format!("{}: {why}", self.client.base()))
    }

    /// Prints the reason and returns the pause before the next attempt.
    fn pause_after(&mut self, why: &str, retry_after: Option<Duration>) -> Duration {
        let pause = retry_after.map_or(self.pause, |after| after.min(MAX_PAUSE));
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        let (base, shown) = (self.client.base(), humantime::format_duration(pause));
        anstream::eprintln!("highwater: {base}: {why}; retrying in {shown}");
        pause
    }
}
