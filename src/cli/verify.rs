//! `highwater verify`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::failure::CommandFailure;
use super::flags::ServerFlags;
use super::http_client::HttpClient;
use super::output::{GREEN, RED, YELLOW, counted, paint, tame};
use crate::config::Environment;

/// Compare all rows in memory with the database
///
/// Exact, whatever is written meanwhile. Takes time with the number of rows. The exit code is 0 when
/// every row in memory is what the database says, else 1.
#[derive(Debug, Args)]
#[command(after_help = "Example: highwater verify --url http://127.0.0.1:8080")]
pub(crate) struct VerifyArgs {
    /// The table, or `all`
    #[arg(value_name = "TABLE", default_value = "all")]
    table: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_hours(24);

/// The answer of `POST /admin/verify`.
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
    let answered = client.post("/admin/verify", &[("table", &args.table)], TIMEOUT).await;
    let body = answered.map_err(|error| client.failure(error))?;
    let report: VerifyReport = client.read(&body)?;
    let mut out = anstream::stdout();
    if report.tables.is_empty() {
        writeln!(out, "no rows are held in memory")?;
    }
    for table in &report.tables {
        table.print(&mut out)?;
    }
    if report.tables.iter().all(VerifiedTable::is_right) {
        Ok(())
    } else {
        Err(CommandFailure::Said)
    }
}

impl VerifiedTable {
    fn is_right(&self) -> bool {
        self.violations == 0 && self.undecided == 0 && self.broken_off.is_none()
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let verdict = match (self.violations, self.is_right()) {
            (0, true) => paint(GREEN, "right"),
            (0, false) => paint(YELLOW, "not decided"),
            _ => paint(RED, "WRONG"),
        };
        let rows = counted(usize::try_from(self.rows).unwrap_or(usize::MAX), "row");
        write!(out, "{}: {verdict}, {rows} compared", tame(&self.table))?;
        if self.violations > 0 {
            write!(out, ", {} not what the database says", self.violations)?;
        }
        if self.undecided > 0 {
            write!(out, ", {} changed all the time", self.undecided)?;
        }
        writeln!(out)?;
        if let Some(why) = &self.broken_off {
            writeln!(out, "  broken off: {}", tame(why))?;
        }
        for RowDifference { id, difference } in &self.differences {
            writeln!(out, "  {} {}", tame(&id.to_string()), tame(difference))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_is_wrong_with_which_rows() {
        let printed = |json: &str| {
            let table: VerifiedTable = serde_json::from_str(json).unwrap();
            let mut out = Vec::new();
            table.print(&mut out).unwrap();
            (anstream::adapter::strip_bytes(&out).into_vec(), table.is_right())
        };
        let (text, right) = printed(
            r#"{"table":"items","rows":2,"violations":1,"undecided":0,"broken_off":null,
                "differences":[{"id":[1,"a\u001b"],"difference":"\"n\" is 1 in memory, 2 in the database"}]}"#,
        );
        assert!(!right);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "items: WRONG, 2 rows compared, 1 not what the database says\n  \
             [1,\"a\\u001b\"] \"n\" is 1 in memory, 2 in the database\n"
        );
        let (text, right) = printed(
            r#"{"table":"t","rows":1,"violations":0,"undecided":3,"broken_off":"down","differences":[]}"#,
        );
        assert!(!right);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "t: not decided, 1 row compared, 3 changed all the time\n  broken off: down\n"
        );
    }
}
