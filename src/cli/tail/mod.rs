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

/// Print changes as they come, from a running Highwater
///
/// Polls like any client: holds a question until something changes, prints it, asks again from
/// there, and takes up where it was when the connection is lost.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater tail --url http://127.0.0.1:8080 --tables items,users")]
pub(crate) struct TailArgs {
    #[command(flatten)]
    server: ServerFlags,
    /// Only these tables [default: every table]
    #[arg(long, value_name = "TABLES")]
    tables: Option<String>,
    /// Begin after this version [default: now]
    #[arg(long, value_name = "VERSION")]
    after: Option<String>,
    /// How to print: text, or json for one object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How long one question is held.
const WAIT: Duration = Duration::from_secs(30);
/// How much longer an answer may take on its way.
const GRACE: Duration = Duration::from_secs(15);
/// An empty answer that comes sooner than this was not held: somebody answers in a hurry (a proxy, a
/// service that stops).
const HURRY: Duration = Duration::from_secs(1);
/// The first pause after something failed; it doubles up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: TailArgs, environment: &Environment) -> Result<(), CommandFailure> {
    super::logging::install_quiet();
    let asked_to_stop = signals::asked_to_stop();
    let client = HttpClient::new(&args.server, environment)?;
    let printer = Printer::new(anstream::stdout(), args.format);
    let mut tail =
        Tail { client, tables: args.tables, version: args.after, printer, pause: PAUSE_FIRST };
    tokio::select! {
        failure = tail.follow() => Err(failure),
        () = asked_to_stop => Ok(()),
    }
}

struct Tail<W> {
    client: HttpClient,
    tables: Option<String>,
    /// Where the last answer left us.
    version: Option<String>,
    printer: Printer<W>,
    pause: Duration,
}

impl<W: Write> Tail<W> {
    /// Prints until nothing more can be printed.
    async fn follow(&mut self) -> CommandFailure {
        loop {
            let asked = Instant::now();
            let rest = match self.ask().await {
                Ok(answer) => {
                    self.pause = PAUSE_FIRST;
                    if let Err(error) = self.printer.answer(&answer, self.version.is_none()) {
                        return error.into();
                    }
                    let hurried = answer.is_empty() && !answer.more && asked.elapsed() < HURRY;
                    self.version = Some(answer.version);
                    if hurried { PAUSE_FIRST } else { Duration::ZERO }
                }
                Err(RequestError::Never(why)) => return self.failed(&why),
                Err(RequestError::Later(why, wished)) => self.wait_after(&why, wished),
            };
            tokio::time::sleep(rest).await;
        }
    }

    async fn ask(&self) -> Result<TailedChanges, RequestError> {
        let wait = format!("{}s", WAIT.as_secs());
        let mut query = vec![("detail", "true"), ("wait", wait.as_str())];
        query.extend(self.tables.as_deref().map(|tables| ("tables", tables)));
        query.extend(self.version.as_deref().map(|version| ("after", version)));
        let body = self.client.get("/v1/changes", &query, WAIT + GRACE).await?;
        serde_json::from_str(&body).map_err(|error| {
            RequestError::Never(format!("the answer is not Highwater's ({error})"))
        })
    }

    fn failed(&self, why: &str) -> CommandFailure {
        CommandFailure::failed(format!("{}: {why}", self.client.base()))
    }

    /// Says why nothing comes, once for every pause, and how long to wait.
    fn wait_after(&mut self, why: &str, wished: Option<Duration>) -> Duration {
        let pause = wished.map_or(self.pause, |wished| wished.min(PAUSE_LAST));
        self.pause = (self.pause * 2).min(PAUSE_LAST);
        let (base, shown) = (self.client.base(), humantime::format_duration(pause));
        anstream::eprintln!("highwater: {base}: {why}; trying again in {shown}");
        pause
    }
}
