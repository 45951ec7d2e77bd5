//! `highwater verify`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::failure::CommandFailure;
use super::flags::ServerFlags;
use super::http_client::HttpClient;
use super::output::{GREEN, RED, YELLOW, escape_control, paint, pluralize};
use crate::config::Environment;

/// Compare all cached rows with the database
///
/// Exact, also during concurrent writes. The time is proportional to the number of rows. Exit code 0 if
/// every cached row equals that of the database, else 1.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater verify --url http://127.0.0.1:8080")]
pub(crate) struct VerifyArgs {
    /// The table, or `all`
    #[arg(value_name = "TABLE", default_value = "all")]
    table: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// Time limit of the request. Millions of rows take minutes.
const TIMEOUT: Duration = Duration::from_hours(24);

/// The response of `POST /admin/verify`.
#[derive(Debug, Deserialize)]
struct VerifyReport {
    tables: Vec<VerifiedTable>,
}

#[derive(Debug, Deserialize)]
struct VerifiedTable {
    table: String,
    rows: u64,
    violations: u64,
    undecided: u64,
    differences: Vec<RowDifference>,
    broken_off: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RowDifference {
    id: Value,
    difference: String,
}

pub(crate) async fn run(args: VerifyArgs, environment: &Environment) -> Result<(), CommandFailure> {
    super::logging::install_quiet();
    let client = HttpClient::new(&args.server, environment)?;
    let response = client.post("/admin/verify", &[("table", &args.table)], TIMEOUT).await;
    let body = response.map_err(|error| client.failure(error))?;
    let report: VerifyReport = client.parse(&body)?;
    let mut out = anstream::stdout();
    if report.tables.is_empty() {
        writeln!(out, "no rows are cached")?;
    }
    for table in &report.tables {
        table.print(&mut out)?;
    }
    if report.tables.iter().all(VerifiedTable::is_consistent) {
        Ok(())
    } else {
        Err(CommandFailure::Reported)
    }
}

impl VerifiedTable {
    fn is_consistent(&self) -> bool {
        self.violations == 0 && self.undecided == 0 && self.broken_off.is_none()
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let verdict = match (self.violations, self.is_consistent()) {
            (0, true) => paint(GREEN, "right"),
            (0, false) => paint(YELLOW, "undecided"),
            _ => paint(RED, "WRONG"),
        };
        let rows = pluralize(usize::try_from(self.rows).unwrap_or(usize::MAX), "row");
        write!(out, "{}: {verdict}, {rows} compared", escape_control(&self.table))?;
        if self.violations > 0 {
            write!(out, ", {} not equal to the database", self.violations)?;
        }
        if self.undecided > 0 {
            write!(out, ", {} changed during every comparison", self.undecided)?;
        }
        writeln!(out)?;
        if let Some(why) = &self.broken_off {
            writeln!(out, "  aborted: {}", escape_control(why))?;
        }
        for RowDifference { id, difference } in &self.differences {
            writeln!(out, "  {} {}", escape_control(&id.to_string()), escape_control(difference))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_the_rows_and_their_differences() {
        let printed = |json: &str| {
            let table: VerifiedTable = serde_json::from_str(json).unwrap();
            let mut out = Vec::new();
            table.print(&mut out).unwrap();
            (anstream::adapter::strip_bytes(&out).into_vec(), table.is_consistent())
        };
        let (text, consistent) = printed(
            r#"{"table":"items","rows":2,"violations":1,"undecided":0,"broken_off":null,
                "differences":[{"id":[1,"a\u001b"],"difference":"\"n\" is 1 in memory, 2 in the database"}]}"#,
        );
        assert!(!consistent);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "items: WRONG, 2 rows compared, 1 not equal to the database\n  \
             [1,\"a\\u001b\"] \"n\" is 1 in memory, 2 in the database\n"
        );
        let (text, consistent) = printed(
            r#"{"table":"t","rows":1,"violations":0,"undecided":3,"broken_off":"down","differences":[]}"#,
        );
        assert!(!consistent);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "t: undecided, 1 row compared, 3 changed during every comparison\n  aborted: down\n"
        );
    }
}
