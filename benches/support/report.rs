//! A benchmark's results: printed as tables, written as JSON to `target/bench`, with its plots.

use std::path::Path;
use std::thread::available_parallelism;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::process::load_average;
use super::samples::figure;

/// The goal of a ratio or figure.
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

/// A goal and the measured figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Judged {
    what: String,
    measured: f64,
    wanted: String,
    met: bool,
}

impl Judged {
    /// Prefixes the benchmark's name.
    pub(crate) fn of(mut self, bench: &str) -> Self {
        self.what = format!("{bench}: {}", self.what);
        self
    }

    pub(crate) fn row(&self) -> Vec<String> {
        let met = if self.met { "met" } else { "MISSED" };
        vec![self.what.clone(), figure(self.measured), self.wanted.clone(), met.to_owned()]
    }
}

/// The results of one run of one benchmark.
pub(crate) struct BenchReport {
    name: String,
    kept: Map<String, Value>,
    goals: Vec<Judged>,
    plots: Vec<(String, String)>,
}

impl BenchReport {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut report =
            Self { name: name.clone(), kept: Map::new(), goals: Vec::new(), plots: Vec::new() };
        report.keep("bench", name);
        report.keep("at", jiff::Timestamp::now().to_string());
        report.keep("processors", available_parallelism().map_or(0, usize::from));
        report.keep("load_average_before", load_average());
        report
    }

    /// Adds figures to the JSON file.
    pub(crate) fn keep(&mut self, key: &str, value: impl Serialize) {
        // Figures always serialize.
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.kept.insert(key.to_owned(), value);
    }

    /// Adds a ratio or figure with a goal.
    pub(crate) fn judge(&mut self, what: impl Into<String>, measured: f64, goal: Goal) {
        let met = goal.is_met_by(measured);
        self.goals.push(Judged { what: what.into(), measured, wanted: goal.shown(), met });
    }

    /// Adds a plot; its file is named after the benchmark and `name`.
    pub(crate) fn plot(&mut self, name: &str, svg: String) {
        let name = if name.is_empty() { String::new() } else { format!("-{name}") };
        self.plots.push((format!("{}{name}.svg", self.name), svg));
    }

    /// Prints the goals and writes the files.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        print_goals(&self.goals);
        let goals = std::mem::take(&mut self.goals);
        self.keep("goals", goals);
        let directory = super::output_dir()?;
        let file = directory.join(format!("{}.json", self.name));
        write(&file, &(serde_json::to_string_pretty(&self.kept)? + "\n"))?;
        println!("\nresults in {}", file.display());
        let directory = directory.join("plots");
        std::fs::create_dir_all(&directory).context("make the folder of plots")?;
        for (name, svg) in &self.plots {
            write(&directory.join(name), svg)?;
        }
        Ok(())
    }
}

/// Prints goals with the measured figures.
pub(crate) fn print_goals(goals: &[Judged]) {
    let rows = goals.iter().map(Judged::row).collect::<Vec<_>>();
    print_table(&["goal", "measured", "wanted", ""], &rows);
}

pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
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
