//! Output of responses as lines.

use std::io::{self, Write};

use anstyle::Style;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::flags::Format;
use crate::cli::output::{BOLD, DIM, GREEN, MAGENTA, RED, YELLOW, escape_control, paint};

/// A response of `/v1/changes?detail=true`.
#[derive(Debug, Deserialize)]
pub(super) struct TailedChanges {
    pub(super) version: String,
    pub(super) more: bool,
    reset: Vec<String>,
    changes: Vec<Box<RawValue>>,
}

impl TailedChanges {
    /// True without changes and resets.
    pub(super) fn is_empty(&self) -> bool {
        self.reset.is_empty() && self.changes.is_empty()
    }
}

#[derive(Debug, Deserialize)]
struct TailedChange<'a> {
    table: String,
    #[serde(borrow)]
    id: &'a RawValue,
    op: String,
    at: Option<String>,
}

/// Prints responses.
pub(super) struct Printer<W> {
    out: W,
    format: Format,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(out: W, format: Format) -> Self {
        Self { out, format }
    }

    /// `first` is true for the response to a request without `after`: its resets are the start of the
    /// output, not an event.
    pub(super) fn print(&mut self, response: &TailedChanges, first: bool) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(response)?,
            Format::Text if first => self.start(response)?,
            Format::Text => self.text(response)?,
        }
        self.out.flush()
    }

    /// One object per line: a reset, or a change exactly as in the response.
    fn json(&mut self, response: &TailedChanges) -> io::Result<()> {
        for table in &response.reset {
            let line =
                serde_json::json!({"table": table, "op": "reset", "version": response.version});
            writeln!(self.out, "{line}")?;
        }
        for change in &response.changes {
            writeln!(self.out, "{change}")?;
        }
        Ok(())
    }

    fn start(&mut self, response: &TailedChanges) -> io::Result<()> {
        let tables: Vec<String> =
            response.reset.iter().map(|table| escape_control(table)).collect();
        let tables = if tables.is_empty() { "no tables".to_owned() } else { tables.join(", ") };
        let from = paint(DIM, format!("from version {}", escape_control(&response.version)));
        writeln!(self.out, "following {} {from}", paint(BOLD, tables))
    }

    fn text(&mut self, response: &TailedChanges) -> io::Result<()> {
        for table in &response.reset {
            self.line(None, "reset", table, "read it again in full")?;
        }
        for raw in &response.changes {
            let change: TailedChange<'_> = serde_json::from_str(raw.get())?;
            self.line(change.at.as_deref(), &change.op, &change.table, change.id.get())?;
        }
        Ok(())
    }

    fn line(&mut self, at: Option<&str>, op: &str, table: &str, rest: &str) -> io::Result<()> {
        let (at, op_shown) = (time_of_day(at), paint(colour(op), format!("{op:<6}")));
        writeln!(
            self.out,
            "{}  {op_shown}  {}  {}",
            paint(DIM, at),
            paint(BOLD, escape_control(table)),
            escape_control(rest)
        )
    }
}

/// The time of day, `12:34:56.789` of `2025-01-31T12:34:56.789123Z`, padded; dashes for `None`.
fn time_of_day(at: Option<&str>) -> String {
    const WIDTH: usize = "12:34:56.789".len();
    let time = at.and_then(|at| at.split_once('T')).map_or("--:--:--", |(_, time)| time);
    let time: String = time.trim_end_matches('Z').chars().take(WIDTH).collect();
    format!("{:<WIDTH$}", escape_control(&time))
}

fn colour(op: &str) -> Style {
    match op {
        "insert" => GREEN,
        "update" => YELLOW,
        "delete" => RED,
        _ => MAGENTA.bold(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &str = r#"{"version":"v2","more":false,"reset":["items"],"changes":[
        {"table":"users","id":7,"op":"update","version":"v1","at":"2025-01-31T12:34:56.789123Z"},
        {"table":"a","id":[1,"x y"],"op":"delete","version":"v2","at":null}]}"#;

    fn printed(format: Format, first: bool) -> String {
        let response: TailedChanges = serde_json::from_str(RESPONSE).unwrap();
        let mut printer = Printer::new(anstream::StripStream::new(Vec::new()), format);
        printer.print(&response, first).unwrap();
        String::from_utf8(printer.out.into_inner()).unwrap()
    }

    #[test]
    fn text_has_one_line_per_change() {
        assert_eq!(
            printed(Format::Text, false),
            "--:--:--      reset   items  read it again in full\n\
             12:34:56.789  update  users  7\n\
             --:--:--      delete  a  [1,\"x y\"]\n"
        );
    }

    #[test]
    fn the_first_response_is_the_start() {
        assert_eq!(printed(Format::Text, true), "following items from version v2\n");
    }

    #[test]
    fn json_lines_are_the_objects_of_the_response() {
        let text = printed(Format::Json, true);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let reset: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(reset, serde_json::json!({"table": "items", "op": "reset", "version": "v2"}));
        assert!(lines[1].starts_with(r#"{"table":"users","id":7,"op":"update","version":"v1""#));
    }
}
