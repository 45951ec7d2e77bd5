//! The story on the terminal: what was committed, what a client was told.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::client::{Answer, Change};
use super::story::Step;

/// Ids shown of one operation on one table; the others are counted.
const IDS_SHOWN_MAX: usize = 8;

const HEADLINE: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const COMMAND: Style = AnsiColor::Cyan.on_default();
const INSERT: Style = AnsiColor::Green.on_default();
const UPDATE: Style = AnsiColor::Yellow.on_default();
const DELETE: Style = AnsiColor::Red.on_default();
const RESET: Style = AnsiColor::Magenta.on_default();

/// What the person needs to know to try for themselves.
pub(crate) struct Opening<'a> {
    /// PostgreSQL's version.
    pub(crate) server_version: &'a str,
    /// Where the service is.
    pub(crate) base: &'a str,
    /// The address that was meant, where somebody else listens.
    pub(crate) taken: Option<String>,
    /// The command that opens psql in the shop.
    pub(crate) psql: String,
}

/// Writes the story. Colours are for the writer to take out where they aren't wanted.
pub(crate) struct Screen<W> {
    out: W,
}

impl<W: Write> Screen<W> {
    /// A screen that writes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// What runs, and what to try: with a version from which there is something to be told.
    pub(crate) fn opening(&mut self, opening: &Opening<'_>, version: &str) -> io::Result<()> {
        let Opening { server_version, base, taken, psql } = opening;
        if let Some(taken) = taken {
            writeln!(self.out, "{taken} is taken, so the service listens elsewhere.")?;
        }
        writeln!(
            self.out,
            "{HEADLINE}A small shop on a private PostgreSQL {server_version}, and Highwater on \
             {base}/{HEADLINE:#}\n\
             Open it in a browser: on one side the rows of a table and buttons that change them, on the \
             other what a client is told.\n\
             Everything is thrown away at the end. Meanwhile, try in another terminal:\n\n  \
             {COMMAND}curl '{base}/v1/changes'{COMMAND:#}   {QUIET}the starting point: a \
             version{QUIET:#}\n  \
             {COMMAND}curl '{base}/v1/changes?wait=30s&after={version}'{COMMAND:#}   {QUIET}what \
             changed since{QUIET:#}\n  \
             {COMMAND}{psql}{COMMAND:#}   {QUIET}change something yourself{QUIET:#}\n"
        )
    }

    /// The first answer of a client that had no version.
    pub(crate) fn start(&mut self, answer: &Answer) -> io::Result<()> {
        writeln!(self.out, "{HEADLINE}A client polls for the first time{HEADLINE:#}")?;
        self.told(answer)?;
        self.label("version", &answer.version)?;
        writeln!(self.out)
    }

    /// One step: the SQL, and what the client was told so long after the commit.
    pub(crate) fn step(
        &mut self,
        number: Option<usize>,
        step: &Step,
        answer: &Answer,
        after: Duration,
    ) -> io::Result<()> {
        let number = number.map(|number| format!("{number}  ")).unwrap_or_default();
        writeln!(self.out, "{HEADLINE}{number}{}{HEADLINE:#}", step.title)?;
        let label = if step.is_told() { "committed" } else { "sent" };
        for (line, statement) in statements(step.sql).enumerate() {
            self.label(if line == 0 { label } else { "" }, statement)?;
        }
        self.told(answer)?;
        if !answer.is_empty() {
            self.label("after", &readable(after))?;
        }
        writeln!(self.out)?;
        self.out.flush()
    }

    /// Changes that were none of the story's.
    pub(crate) fn meanwhile(&mut self, answer: &Answer) -> io::Result<()> {
        writeln!(self.out, "{HEADLINE}Meanwhile, somebody else (you?){HEADLINE:#}")?;
        self.told(answer)?;
        writeln!(self.out)?;
        self.out.flush()
    }

    /// After the story.
    pub(crate) fn everyday(&mut self, for_how_long: &str) -> io::Result<()> {
        writeln!(
            self.out,
            "{HEADLINE}That was the story. Business goes on {for_how_long}.{HEADLINE:#}\n"
        )
    }

    /// The end.
    pub(crate) fn closing(&mut self) -> io::Result<()> {
        writeln!(self.out, "{QUIET}Stopped. Nothing is left of the shop and its server.{QUIET:#}")?;
        self.out.flush()
    }

    fn told(&mut self, answer: &Answer) -> io::Result<()> {
        let mut label = "told";
        if answer.is_empty() {
            return self.label(label, &format!("{QUIET}nothing{QUIET:#}"));
        }
        for line in reset_line(answer).into_iter().chain(changes_lines(&answer.changes)) {
            self.label(label, &line)?;
            label = "";
        }
        Ok(())
    }

    fn label(&mut self, label: &str, text: &str) -> io::Result<()> {
        writeln!(self.out, "   {QUIET}{label:<9}{QUIET:#}  {text}")
    }
}

/// The statements of a step, without the spaces of its source. No step has a `;` in a literal.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(';').map(str::trim).filter(|statement| !statement.is_empty())
}

fn reset_line(answer: &Answer) -> Option<String> {
    let tables = answer.reset.join(", ");
    (!tables.is_empty()).then(|| format!("{RESET}reset{RESET:#}   {tables} (read in full)"))
}

/// A line for each operation on each table, in the order they were first met.
fn changes_lines(changes: &[Change]) -> Vec<String> {
    let mut groups: Vec<(&Change, Vec<String>)> = Vec::new();
    for change in changes {
        let same = |first: &Change| first.op == change.op && first.table == change.table;
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, ids)) => ids.push(change.id.to_string()),
            None => groups.push((change, vec![change.id.to_string()])),
        }
    }
    groups.iter().map(|(first, ids)| change_line(first, ids)).collect()
}

fn change_line(first: &Change, ids: &[String]) -> String {
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

/// A duration with as many digits as matter.
fn readable(duration: Duration) -> String {
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
    use super::super::story::{STORY, Way};
    use super::*;
    use serde_json::json;

    /// What is written, with and without colours.
    fn written(
        write: impl FnOnce(&mut Screen<&mut Vec<u8>>) -> io::Result<()>,
    ) -> (String, String) {
        let mut out = Vec::new();
        write(&mut Screen::new(&mut out)).unwrap();
        let coloured = String::from_utf8(out).unwrap();
        (anstream::adapter::strip_str(&coloured).to_string(), coloured)
    }

    fn answer(value: serde_json::Value) -> Answer {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_step_shows_the_sql_and_the_ids_told_by_table_and_operation() {
        let step =
            &Step { title: "A title", sql: "BEGIN; UPDATE x; COMMIT", way: Way::Application };
        let answer = answer(json!({"version": "v", "more": false, "reset": [], "changes": [
            {"table": "items", "id": 7, "op": "update"},
            {"table": "order_lines", "id": [3, 1], "op": "insert"},
            {"table": "items", "id": 9, "op": "update"},
            {"table": "items", "id": "it's", "op": "delete"},
        ]}));
        let after = Duration::from_micros(840);
        let (plain, coloured) = written(|screen| screen.step(Some(4), step, &answer, after));
        let expected = "\
4  A title
   committed  BEGIN
              UPDATE x
              COMMIT
   told       update  items 7 9
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
        let answer =
            answer(json!({"version": "v", "more": false, "reset": [], "changes": changes}));
        let (plain, _) = written(|screen| screen.meanwhile(&answer));
        assert!(plain.contains("update  t 1 2 3 4 5 6 7 8 and 42 more\n"), "{plain}");
    }

    #[test]
    fn a_reset_names_its_tables() {
        let answer = answer(
            json!({"version": "0a-01", "more": false, "reset": ["items", "orders"], "changes": []}),
        );
        let (plain, _) = written(|screen| screen.start(&answer));
        assert!(plain.contains("told       reset   items, orders (read in full)\n"), "{plain}");
        assert!(plain.contains("version    0a-01\n"), "{plain}");
    }

    #[test]
    fn a_rollback_is_sent_and_nothing_is_told() {
        let step = STORY.iter().find(|step| step.way == Way::RolledBack).unwrap();
        let (plain, _) =
            written(|screen| screen.step(None, step, &Answer::default(), Duration::ZERO));
        assert!(plain.contains("   sent       BEGIN\n"), "{plain}");
        assert!(plain.contains("   told       nothing\n"), "{plain}");
        assert!(!plain.contains("after"), "{plain}");
    }

    #[test]
    fn the_opening_has_the_commands_to_try() {
        let opening = Opening {
            server_version: "15.18",
            base: "http://127.0.0.1:8080",
            taken: None,
            psql: "psql shop".into(),
        };
        let (plain, _) = written(|screen| screen.opening(&opening, "0a-01"));
        for command in [
            "\n  curl 'http://127.0.0.1:8080/v1/changes'   ",
            "\n  curl 'http://127.0.0.1:8080/v1/changes?wait=30s&after=0a-01'   ",
            "\n  psql shop   ",
            "http://127.0.0.1:8080/\nOpen it in a browser: ",
        ] {
            assert!(plain.contains(command), "{plain}");
        }
        assert!(!plain.contains("taken"));
        let taken = Opening { taken: Some("127.0.0.1:8080".into()), ..opening };
        let (plain, _) = written(|screen| screen.opening(&taken, "0a-01"));
        assert!(plain.starts_with("127.0.0.1:8080 is taken"), "{plain}");
    }

    #[test]
    fn durations_have_the_digits_that_matter() {
        let read = |micros| readable(Duration::from_micros(micros));
        assert_eq!(read(3), "less than 0.1 ms");
        assert_eq!(read(640), "0.6 ms");
        assert_eq!(read(12_400), "12 ms");
        assert_eq!(read(1_250_000), "1.2 s");
    }
}
