//! All benchmarks one after the other, each in its own process with a time limit, and their goals in
//! one table.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::support::report::{Judged, print_goals, write};
use crate::support::{Common, output_dir};

/// A benchmark is killed after this time, which is far more than any of them needs.
const TIME_MAX: Duration = Duration::from_mins(6);
/// Interval of checks whether a benchmark has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One benchmark: the name of its results, its command line, and what `--quick` adds to it.
struct SuiteEntry {
    name: &'static str,
    command: &'static str,
    quick: &'static str,
}

const fn entry(name: &'static str, command: &'static str, quick: &'static str) -> SuiteEntry {
    SuiteEntry { name, command, quick }
}

const SUITE: &[SuiteEntry] = &[
    entry("drain", "drain", "--rows 20000 --runs 1"),
    entry("drain-wide", "drain --shape wide", "--rows 5000 --runs 1"),
    entry("drain-unix", "drain --transport unix", "--rows 20000 --runs 1"),
    entry("drain-held", "drain --held", "--rows 20000 --runs 1"),
    entry("latency", "latency", "--rates 1,200 --seconds 0.5"),
    entry("polls", "polls", "--seconds 0.5 --turns 1"),
    entry("fanout", "fanout", "--clients 100 --rates 20 --seconds 0.5"),
    entry(
        "mixed",
        "mixed",
        "--seconds 2 --commits-per-second 200 --polls-per-second 200 --waiting 20",
    ),
    entry("giant", "giant", "--rows 20000"),
    entry("log", "log", "--ids 100000 --turns 5"),
    entry("growth", "growth", "--ids-max 10000 --tables-max 10"),
    entry("rows", "rows", "--rows 20000 --seconds 0.5 --turns 1"),
    entry("store", "store", "--tables 3 --rows 1000 --turns 1"),
    entry("django", "django", "--tables 5 --rows 100 --seconds 0.5 --turns 1"),
    entry("preload", "preload", "--rows 50000 --runs 1"),
];

/// Options of a run of all benchmarks.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Small sizes: checks only that all of them run.
    #[arg(long)]
    quick: bool,
}

impl Options {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<()> {
        let unknown = self.only.iter().find(|name| SUITE.iter().all(|e| e.name != **name));
        if let Some(unknown) = unknown {
            let known = SUITE.iter().map(|e| e.name).collect::<Vec<_>>().join(", ");
            bail!("unknown benchmark {unknown}; known are: {known}");
        }
        let wanted =
            |e: &&SuiteEntry| self.only.is_empty() || self.only.iter().any(|n| n == e.name);
        let (mut results, mut failed) = (Vec::new(), Vec::new());
        for entry in SUITE.iter().filter(wanted) {
            println!("\n=== {}", entry.name);
            let begun = Instant::now();
            match self.run_one(entry, common) {
                Ok(result) => results.push(result),
                Err(error) => {
                    println!("{} failed: {error:#}", entry.name);
                    failed.push(entry.name);
                }
            }
            println!("({} s)", begun.elapsed().as_secs());
        }
        print(&results)?;
        if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
    }

    /// Runs one benchmark and reads its results.
    fn run_one(&self, entry: &SuiteEntry, common: &Common) -> anyhow::Result<Value> {
        let file = output_dir()?.join(format!("{}.json", entry.name));
        // The result of an earlier run must not be mistaken for this one's.
        let _ = std::fs::remove_file(&file);
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(entry.command.split(' ')).arg("--bench").stdin(Stdio::null());
        if self.quick {
            command.args(entry.quick.split(' '));
        }
        if let Some(directory) = &common.pg_bin {
            command.arg("--pg-bin").arg(directory);
        }
        if let Some(major) = common.pg_major {
            command.args(["--pg-major", &major.to_string()]);
        }
        let mut child = command.spawn().context("start it")?;
        let end = Instant::now() + TIME_MAX;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                child.kill()?;
                child.wait()?;
                bail!("still running after {} s", TIME_MAX.as_secs());
            }
            sleep(LOOK_EVERY);
        };
        if !status.success() {
            bail!("exited with {status}");
        }
        let kept = std::fs::read(&file).context("it wrote no results")?;
        Ok(serde_json::from_slice(&kept)?)
    }
}

/// Prints one table and writes one file of all results.
fn print(results: &[Value]) -> anyhow::Result<()> {
    let mut goals = Vec::new();
    for result in results {
        let name = result.get("bench").and_then(Value::as_str).unwrap_or_default();
        let judged = result.get("goals").cloned().unwrap_or_default();
        let judged: Vec<Judged> = serde_json::from_value(judged)?;
        goals.extend(judged.into_iter().map(|one| one.of(name)));
    }
    println!("\n=== all");
    print_goals(&goals);
    let file = output_dir()?.join("all.json");
    write(&file, &(serde_json::to_string_pretty(results)? + "\n"))?;
    println!("\nresults in {}, plots in the same folder", file.display());
    Ok(())
}
