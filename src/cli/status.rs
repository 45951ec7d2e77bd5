//! `highwater status`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::failure::CommandFailure;
use super::flags::{Format, ServerFlags};
use super::http_client::HttpClient;
use super::output::{BOLD, DIM, GREEN, RED, YELLOW, bytes, escape_control, paint};
use crate::config::Environment;

/// Show the state of a running Highwater
///
/// Exit code 1 if it cannot be reached. The output shows whether it is caught up; programs use /readyz
/// for that.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater status --url http://127.0.0.1:8080")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    server: ServerFlags,
    /// Output format; json prints the unchanged response
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Time limit of the request.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The members of `/v1/status` that are printed. Members that other versions omit are optional.
#[derive(Debug, Deserialize)]
struct ServiceStatus {
    #[serde(default)]
    highwater: String,
    source: SourceSummary,
    applied: Option<AppliedSummary>,
    log: Option<LogSummary>,
    #[serde(default)]
    tables: Vec<TableSummary>,
}

#[derive(Debug, Deserialize)]
struct SourceSummary {
    server: String,
    server_version: Option<String>,
    publication: String,
    slot: String,
    phase: String,
    reason: Option<String>,
    #[serde(default)]
    lag_bytes: u64,
    slot_retained_bytes: Option<u64>,
    slot_wal_status: Option<String>,
    #[serde(default)]
    reconnects: u64,
}

#[derive(Debug, Deserialize)]
struct AppliedSummary {
    version: String,
    lsn: String,
}

#[derive(Debug, Deserialize)]
struct LogSummary {
    bytes: u64,
    entries: u64,
}

#[derive(Debug, Deserialize)]
struct TableSummary {
    #[serde(rename = "table")]
    name: String,
    #[serde(default)]
    entries: u64,
    #[serde(default)]
    floor_age_seconds: f64,
    reason: Option<String>,
    #[serde(default)]
    key_columns: Vec<String>,
}

pub(crate) async fn run(args: StatusArgs, environment: &Environment) -> Result<(), CommandFailure> {
    super::logging::install_quiet();
    let client = HttpClient::new(&args.server, environment)?;
    let response = client.get("/v1/status", &[], TIMEOUT).await;
    let body = response.map_err(|error| client.failure(error))?;
    let mut out = anstream::stdout();
    if args.format == Format::Json {
        return Ok(writeln!(out, "{body}")?);
    }
    let status: ServiceStatus = client.parse(&body)?;
    Ok(print(&mut out, &status)?)
}

fn print(out: &mut impl Write, status: &ServiceStatus) -> io::Result<()> {
    let source = &status.source;
    let phase = match source.phase.as_str() {
        "streaming" => paint(GREEN.bold(), "streaming"),
        "disconnected" => paint(RED.bold(), "disconnected"),
        other => paint(YELLOW.bold(), escape_control(&other.replace('_', " "))),
    };
    let reason = source.reason.as_ref().map(|reason| format!(": {}", escape_control(reason)));
    writeln!(out, "{} {phase}{}", paint(BOLD, "highwater"), reason.unwrap_or_default())?;
    for (label, value) in lines(status) {
        writeln!(out, "  {} {}", paint(DIM, format!("{label:<12}")), escape_control(&value))?;
    }
    writeln!(out)?;
    for table in &status.tables {
        print_table(out, table)?;
    }
    Ok(())
}

fn lines(status: &ServiceStatus) -> Vec<(&'static str, String)> {
    let source = &status.source;
    let postgres = source.server_version.as_ref().map(|version| format!(" (PostgreSQL {version})"));
    let retained = source.slot_retained_bytes;
    let retained = retained.map(|retained| format!(", {} of WAL retained", bytes(retained)));
    let wal_status = source.slot_wal_status.as_ref().map(|status| format!(", {status}"));
    let slot = [Some(source.slot.clone()), retained, wal_status].into_iter().flatten().collect();
    let mut lines = vec![
        ("version", status.highwater.clone()),
        ("server", format!("{}{}", source.server, postgres.unwrap_or_default())),
        ("publication", source.publication.clone()),
        ("slot", slot),
        ("lag", bytes(source.lag_bytes)),
        ("reconnects", source.reconnects.to_string()),
    ];
    let applied = status.applied.as_ref();
    lines.extend(applied.map(|a| ("applied", format!("{} (version {})", a.lsn, a.version))));
    let log = status.log.as_ref();
    lines.extend(log.map(|log| ("log", format!("{} ids in {}", log.entries, bytes(log.bytes)))));
    lines
}

fn print_table(out: &mut impl Write, table: &TableSummary) -> io::Result<()> {
    let name = paint(BOLD, escape_control(&table.name));
    if let Some(reason) = &table.reason {
        return writeln!(
            out,
            "  {name}  {}",
            paint(YELLOW, format!("resets only: {}", escape_control(reason)))
        );
    }
    let key = escape_control(&table.key_columns.join(", "));
    // The number may be negative or not finite; a Duration may not.
    let age = Duration::try_from_secs_f64(table.floor_age_seconds.max(0.0)).unwrap_or_default();
    let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
    writeln!(out, "  {name} ({key})  {} ids in the log, which reaches back {age}", table.entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_printed() {
        let status = serde_json::json!({
            "highwater": "0.1.0",
            "source": {
                "server": "db:5432/shop", "server_version": "17.5", "publication": "p", "slot": "s",
                "phase": "catching_up", "reason": "still reading", "was_ready": false,
                "received": "0/1", "confirmed": "0/1", "server_wal_end": "0/2", "lag_bytes": 2048,
                "slot_retained_bytes": 1_048_576, "slot_wal_status": "reserved", "reconnects": 2
            },
            "applied": {"version": "v", "epoch": "e", "lsn": "0/1"},
            "log": {"bytes": 4096, "entries": 12},
            "tables": [
                {"table": "items", "entries": 12, "floor_age_seconds": 61.5, "reason": null, "key_columns": ["a", "b"]},
                {"table": "log", "entries": 0, "floor_age_seconds": -1.0, "reason": "no key", "key_columns": []}
            ]
        });
        let status: ServiceStatus = serde_json::from_value(status).unwrap();
        let mut out = anstream::StripStream::new(Vec::new());
        print(&mut out, &status).unwrap();
        let text = String::from_utf8(out.into_inner()).unwrap();
        for expected in [
            "highwater catching up: still reading\n",
            "server       db:5432/shop (PostgreSQL 17.5)\n",
            "slot         s, 1.0 MiB of WAL retained, reserved\n",
            "lag          2.0 KiB\n",
            "applied      0/1 (version v)\n",
            "log          12 ids in 4.0 KiB\n",
            "items (a, b)  12 ids in the log, which reaches back 1m 1s\n",
            "log  resets only: no key\n",
        ] {
            assert!(text.contains(expected), "{expected}{text}");
        }
    }
}
