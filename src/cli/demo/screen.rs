//! The demo's output on the terminal: what was committed, and what a client received.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::client::{PollResponse, PolledChange};
use super::scenario::ScenarioStep;

/// Ids printed per operation and table; of the others only the number is printed.
const IDS_SHOWN_MAX: usize = 8;

const HEADLINE: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const COMMAND: Style = AnsiColor::Cyan.on_default();
const INSERT: Style = AnsiColor::Green.on_default();
const UPDATE: Style = AnsiColor::Yellow.on_default();
const DELETE: Style = AnsiColor::Red.on_default();
const RESET: Style = AnsiColor::Magenta.on_default();

/// The facts that the introduction shows, so that a person can try the service.
pub(crate) struct Introduction<'a> {
    /// PostgreSQL's version.
    pub(crate) server_version: &'a str,
    /// The base URL of the service.
    pub(crate) base: &'a str,
    /// The default address, if another process listens there.
    pub(crate) taken: Option<String>,
    /// A shell command that runs psql in the shop's database.
    pub(crate) psql: String,
}

/// Prints the demo with ANSI colours; `out` strips them where necessary.
pub(crate) struct DemoScreen<W> {
    out: W,
}

impl<W: Write> DemoScreen<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// Prints what is running and which commands to try. `version` is a version from before the
    /// scenario, so that a poll with it returns changes.
    pub(crate) fn introduction(
        &mut self,
        introduction: &Introduction<'_>,
        version: &str,
    ) -> io::Result<()> {
        let Introduction { server_version, base, taken, psql } = introduction;
        if let Some(taken) = taken {
            writeln!(self.out, "{taken} is in use, so the service listens on another port.")?;
        }
        writeln!(
            self.out,
            "{HEADLINE}A small shop on a private PostgreSQL {server_version}, and Highwater on \
             {base}/{HEADLINE:#}\n\
             Open it in a browser: a table with buttons that change its rows, and beside it the changes \
             that a client receives.\n\
             Everything is deleted at the end. Meanwhile, try in another terminal:\n\n  \
             {COMMAND}curl '{base}/v1/changes'{COMMAND:#}   {QUIET}the starting point: a \
             version{QUIET:#}\n  \
             {COMMAND}curl '{base}/v1/changes?wait=30s&after={version}'{COMMAND:#}   {QUIET}changes \
             since then{QUIET:#}\n  \
             {COMMAND}{psql}{COMMAND:#}   {QUIET}make a change yourself{QUIET:#}\n"
        )
    }

    /// Prints the first response of a client without a version.
    pub(crate) fn first_poll(&mut self, response: &PollResponse) -> io::Result<()> {
        writeln!(self.out, "{HEADLINE}A client polls for the first time{HEADLINE:#}")?;
        self.received(response)?;
        self.label("version", &response.version)?;
        writeln!(self.out)
    }

    /// Prints one step: its SQL, the changes the client received, and how long after the commit.
    pub(crate) fn step(
        &mut self,
        number: Option<usize>,
        step: &ScenarioStep,
        response: &PollResponse,
        latency: Duration,
    ) -> io::Result<()> {
        let number = number.map(|number| format!("{number}  ")).unwrap_or_default();
        writeln!(self.out, "{HEADLINE}{number}{}{HEADLINE:#}", step.title)?;
        let label = if step.commits() { "committed" } else { "sent" };
        for (line, statement) in statements(step.sql).enumerate() {
            self.label(if line == 0 { label } else { "" }, statement)?;
        }
        self.received(response)?;
        if !response.is_empty() {
            self.label("after", &format_latency(latency))?;
        }
        writeln!(self.out)?;
        self.out.flush()
    }

    /// Prints changes that the demo did not make.
    pub(crate) fn foreign_changes(&mut self, response: &PollResponse) -> io::Result<()> {
        writeln!(self.out, "{HEADLINE}Meanwhile, from another session (yours?){HEADLINE:#}")?;
        self.received(response)?;
        writeln!(self.out)?;
        self.out.flush()
    }

    /// Prints that the scenario is over and background traffic follows, until `end`.
    pub(crate) fn scenario_over(&mut self, end: &str) -> io::Result<()> {
        writeln!(
            self.out,
            "{HEADLINE}End of the scenario. Background traffic continues until {end}.{HEADLINE:#}\n"
        )
    }

    /// Prints that the demo ended and cleaned up.
    pub(crate) fn closing(&mut self) -> io::Result<()> {
        writeln!(self.out, "{QUIET}Stopped. The server and its files are deleted.{QUIET:#}")?;
        self.out.flush()
    }

    fn received(&mut self, response: &PollResponse) -> io::Result<()> {
        let mut label = "received";
        if response.is_empty() {
            return self.label(label, &format!("{QUIET}nothing{QUIET:#}"));
        }
        for line in reset_line(response).into_iter().chain(change_lines(&response.changes)) {
            self.label(label, &line)?;
            label = "";
        }
        Ok(())
    }

    fn label(&mut self, label: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "   {QUIET}{label:<9}{QUIET:#}  {text}")
    }
}

/// The statements of a step, without surrounding spaces. No step has a `;` in a literal.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(';').map(str::trim).filter(|statement| !statement.is_empty())
}

fn reset_line(response: &PollResponse) -> Option<String> {
    let tables = response.reset.join(", ");
    (!tables.is_empty()).then(|| format!("{RESET}reset{RESET:#}   {tables} (read in full)"))
}

/// One line per operation and table, in the order of their first occurrence.
fn change_lines(changes: &[PolledChange]) -> Vec<String> {
    let mut groups: Vec<(&PolledChange, Vec<String>)> = Vec::new();
    for change in changes {
        let same = |first: &PolledChange| first.op == change.op && first.table == change.table;
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, ids)) => ids.push(change.id.to_string()),
            None => groups.push((change, vec![change.id.to_string()])),
        }
    }
    groups.iter().map(|(first, ids)| change_line(first, ids)).collect()
}

fn change_line(first: &PolledChange, ids: &[String]) -> String {
    let style = match first.op.as_str() {
        "insert" => INSERT,
        "delete" => DELETE,
        _ => UPDATE,
    };
    let shown: Vec<&str> = ids.iter().take(IDS_SHOWN_MAX).map(String::as_str).collect();
    let hidden = ids.len() - shown.len();
    let more = if hidden > 0 { format!(" and {hidden} more") } else { String::new() };
    let (op, table) = (&first.op, &first.table);
    format!("{style}{op}{style:#}  {table} {}{QUIET}{more}{QUIET:#}", shown.join(" "))
}

/// A duration in a readable unit and precision.
fn format_latency(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    match milliseconds {
        ..0.05 => "less than 0.1 ms".into(),
        ..10.0 => format!("{milliseconds:.1} ms"),
        ..1000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.1} s", milliseconds / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Execution, SCENARIO};
    use super::*;
    use serde_json::json;

    /// The output, without and with colours.
    fn printed(
        print: impl FnOnce(&mut DemoScreen<&mut Vec<u8>>) -> io::Result<()>,
    ) -> (String, String) {
        let mut out = Vec::new();
        print(&mut DemoScreen::new(&mut out)).unwrap();
        let coloured = String::from_utf8(out).unwrap();
        (anstream::adapter::strip_str(&coloured).to_string(), coloured)
    }

    fn response(value: serde_json::Value) -> PollResponse {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_step_shows_the_sql_and_the_ids_by_table_and_operation() {
        let step = &ScenarioStep {
            title: "A title",
            sql: "BEGIN; UPDATE x; COMMIT",
            execution: Execution::Application,
        };
        let response = response(json!({"version": "v", "more": false, "reset": [], "changes": [
            {"table": "items", "id": 7, "op": "update"},
            {"table": "order_lines", "id": [3, 1], "op": "insert"},
            {"table": "items", "id": 9, "op": "update"},
            {"table": "items", "id": "it's", "op": "delete"},
        ]}));
        let latency = Duration::from_micros(840);
        let (plain, coloured) = printed(|screen| screen.step(Some(4), step, &response, latency));
        let expected = "\
4  A title
   committed  BEGIN
              UPDATE x
              COMMIT
   received   update  items 7 9
              insert  order_lines [3,1]
              delete  items \"it's\"
   after      0.8 ms

";
        assert_eq!(plain, expected);
        assert!(coloured.contains(&format!("{DELETE}delete{DELETE:#}")), "{coloured:?}");
    }

    #[test]
    fn many_ids_are_counted() {
        let changes: Vec<_> =
            (1..=50).map(|id| json!({"table": "t", "id": id, "op": "update"})).collect();
        let response =
            response(json!({"version": "v", "more": false, "reset": [], "changes": changes}));
        let (plain, _) = printed(|screen| screen.foreign_changes(&response));
        assert!(plain.contains("update  t 1 2 3 4 5 6 7 8 and 42 more\n"), "{plain}");
    }

    #[test]
    fn a_reset_names_its_tables() {
        let response = response(
            json!({"version": "0a-01", "more": false, "reset": ["items", "orders"], "changes": []}),
        );
        let (plain, _) = printed(|screen| screen.first_poll(&response));
        assert!(plain.contains("received   reset   items, orders (read in full)\n"), "{plain}");
        assert!(plain.contains("version    0a-01\n"), "{plain}");
    }

    #[test]
    fn a_rollback_is_sent_and_nothing_is_received() {
        let step = SCENARIO.iter().find(|step| step.execution == Execution::RolledBack).unwrap();
        let (plain, _) =
            printed(|screen| screen.step(None, step, &PollResponse::default(), Duration::ZERO));
        assert!(plain.contains("   sent       BEGIN\n"), "{plain}");
        assert!(plain.contains("   received   nothing\n"), "{plain}");
        assert!(!plain.contains("after"), "{plain}");
    }

    #[test]
    fn the_introduction_has_the_commands_to_try() {
        let introduction = Introduction {
            server_version: "15.18",
            base: "http://127.0.0.1:8080",
            taken: None,
            psql: "psql shop".into(),
        };
        let (plain, _) = printed(|screen| screen.introduction(&introduction, "0a-01"));
        for command in [
            "\n  curl 'http://127.0.0.1:8080/v1/changes'   ",
            "\n  curl 'http://127.0.0.1:8080/v1/changes?wait=30s&after=0a-01'   ",
            "\n  psql shop   ",
            "http://127.0.0.1:8080/\nOpen it in a browser: ",
        ] {
            assert!(plain.contains(command), "{plain}");
        }
        assert!(!plain.contains("in use"));
        let taken = Introduction { taken: Some("127.0.0.1:8080".into()), ..introduction };
        let (plain, _) = printed(|screen| screen.introduction(&taken, "0a-01"));
        assert!(plain.starts_with("127.0.0.1:8080 is in use"), "{plain}");
    }

    #[test]
    fn latencies_have_a_readable_unit_and_precision() {
        let text = |micros| format_latency(Duration::from_micros(micros));
        assert_eq!(text(3), "less than 0.1 ms");
        assert_eq!(text(640), "0.6 ms");
        assert_eq!(text(12_400), "12 ms");
        assert_eq!(text(1_250_000), "1.2 s");
    }
}
