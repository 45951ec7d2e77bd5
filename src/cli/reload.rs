//! `highwater reload`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::failure::CommandFailure;
use super::flags::ServerFlags;
use super::http_client::HttpClient;
use super::output::tame;
use crate::config::Environment;

/// Drop what is in memory of a table and read it again
///
/// Every client gets a reset of it. Rows of a preloaded table go on being served until the new copy
/// takes their place.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater reload items --url http://127.0.0.1:8080")]
pub(crate) struct ReloadArgs {
    /// The table, or `all`
    #[arg(value_name = "TABLE")]
    table: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The answer of `POST /admin/reload`.
#[derive(Debug, Deserialize)]
struct ReloadReply {
    reloading: Vec<String>,
}

pub(crate) async fn run(args: ReloadArgs, environment: &Environment) -> Result<(), CommandFailure> {
    super::logging::install_quiet();
    let client = HttpClient::new(&args.server, environment)?;
    let answered = client.post("/admin/reload", &[("table", &args.table)], TIMEOUT).await;
    let body = answered.map_err(|error| client.failure(error))?;
    let answer: ReloadReply = client.read(&body)?;
    let mut out = anstream::stdout();
    for table in answer.reloading {
        writeln!(out, "reloading {}", tame(&table))?;
    }
    Ok(())
}
