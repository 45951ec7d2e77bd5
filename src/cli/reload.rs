//! `highwater reload`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::failure::CommandFailure;
use super::flags::ServerFlags;
use super::http_client::HttpClient;
use super::output::escape_control;
use crate::config::Environment;

/// Drop the cached state of a table and read it again
///
/// Every client gets a reset of the table. The rows of a preloaded table are served until the new copy
/// replaces them.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater reload items --url http://127.0.0.1:8080")]
pub(crate) struct ReloadArgs {
    /// The table, or `all`
    #[arg(value_name = "TABLE")]
    table: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// Time limit of the request.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The response of `POST /admin/reload`.
#[derive(Debug, Deserialize)]
struct ReloadReply {
    reloading: Vec<String>,
}

pub(crate) async fn run(args: ReloadArgs, environment: &Environment) -> Result<(), CommandFailure> {
    super::logging::install_quiet();
    let client = HttpClient::new(&args.server, environment)?;
    let response = client.post("/admin/reload", &[("table", &args.table)], TIMEOUT).await;
    let body = response.map_err(|error| client.failure(error))?;
    let reply: ReloadReply = client.parse(&body)?;
    let mut out = anstream::stdout();
    for table in reply.reloading {
        writeln!(out, "reloading {}", escape_control(&table))?;
    }
    Ok(())
}
