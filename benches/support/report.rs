//! A benchmark's results: printed as tables, kept as JSON in `target/bench`.

use std::thread::available_parallelism;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::process::load_average;
use super::samples::figure;

/// What a ratio or figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(least) => measured >= least,
            Self::AtMost(most) => measured <= most,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
        }
    }
}

/// The results of one run of one benchmark.
pub(crate) struct Report {
    name: &'static str,
    kept: Map<String, Value>,
    goals: Vec<(String, f64, Goal)>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        let mut report = Self { name, kept: Map::new(), goals: Vec::new() };
        report.keep("bench", name);
        report.keep("processors", available_parallelism().map_or(0, usize::from));
        report.keep("load_average_before", load_average());
        report
    }

    /// Keeps figures in the JSON file.
    pub(crate) fn keep(&mut self, key: &str, value: impl Serialize) {
        // Plain figures always serialize.
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.kept.insert(key.to_owned(), value);
    }

    /// A ratio or figure that has a goal.
    pub(crate) fn judge(&mut self, what: impl Into<String>, measured: f64, goal: Goal) {
        self.goals.push((what.into(), measured, goal));
    }

    /// Prints the goals and writes the file.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let verdict = |met| if met { "met" } else { "MISSED" };
        let rows = self.goals.iter().map(|(what, measured, goal)| {
            let met = verdict(goal.is_met_by(*measured)).to_owned();
            vec![what.clone(), figure(*measured), goal.shown(), met]
        });
        print_table(&["goal", "measured", "wanted", ""], &rows.collect::<Vec<_>>());
        let goals = self.goals.iter().map(|(what, measured, goal)| {
            let met = goal.is_met_by(*measured);
            json!({"what": what, "measured": measured, "wanted": goal.shown(), "met": met})
        });
        let goals = goals.collect::<Vec<_>>();
        self.keep("goals", goals);

        let file = super::output_dir()?.join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(&self.kept).context("write the results")?;
        std::fs::write(&file, text + "\n").with_context(|| format!("write {}", file.display()))?;
        println!("\nkept in {}", file.display());
        Ok(())
    }
}

/// Prints rows under headings; the first column is text, the others are figures.
pub(crate) fn print_table(headings: &[&str], rows: &[Vec<String>]) {
    let headings = headings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let width = |column: usize| {
        let cells = rows.iter().chain([&headings]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = (0..headings.len()).map(width).collect::<Vec<_>>();
    println!();
    for row in [&headings].into_iter().chain(rows) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let parts = if column == 0 { [cell, &padding, ""] } else { ["   ", &padding, cell] };
            line.extend(parts);
        }
        println!("{}", line.trim_end());
    }
}
