//! How the store grows: the time of a poll, the time of a change and the memory of an id, at
//! 10³ … 10⁷ ids in the log, and with 1 … 1,000 tables.
//!
//! No server and no network, like `log`. Each poll returns ten changes and covers all tables.
//! The goal is flat or logarithmic: the cost of a poll must not depend on the size of the log.

use std::time::Instant;

use highwater::change::Op;

use crate::support::filled::{Filled, Numbers};
use crate::support::plot::Lines;
use crate::support::process::resident_bytes;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::{Samples, figure};

/// Timed batches of polls per figure, which is their median.
const TURNS: u32 = 21;
/// Ids in the log while the number of tables grows.
const IDS_OVER_TABLES: u32 = 100_000;
/// With fewer ids the noise of the process's own memory exceeds the log's.
const IDS_FOR_MEMORY: u32 = 100_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Ids in the largest log.
    #[arg(long, default_value_t = 10_000_000)]
    ids_max: u32,
    /// Tables of the largest store.
    #[arg(long, default_value_t = 1000)]
    tables_max: u32,
}

/// Figures of one store.
struct Point {
    size: u32,
    poll_ns: f64,
    apply_ns: f64,
    bytes_per_id: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = BenchReport::new("growth");
    let over_ids = decades(1000, options.ids_max)
        .map(|ids| measure(ids, ids, 1))
        .collect::<anyhow::Result<Vec<_>>>()?;
    print(&mut report, "ids", &over_ids);
    let over_tables = decades(1, options.tables_max)
        .map(|tables| measure(tables, IDS_OVER_TABLES, tables))
        .collect::<anyhow::Result<Vec<_>>>()?;
    print(&mut report, "tables", &over_tables);
    report.finish()
}

fn decades(first: u32, last: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(first), |size| size.checked_mul(10))
        .take_while(move |size| *size <= last)
}

fn measure(size: u32, ids: u32, tables: u32) -> anyhow::Result<Point> {
    let before = resident_bytes(std::process::id())?;
    let mut filled = Filled::open(tables)?;
    let order = (0..ids).collect::<Vec<_>>();
    let of_list = resident_bytes(std::process::id())?;
    filled.change_all(Op::Insert, &order);
    // Timed once the log has its size, with a tenth of its ids.
    let again = order.get(..order.len() / 10).unwrap_or_default();
    let full = resident_bytes(std::process::id())?.saturating_sub(of_list);
    let started = Instant::now();
    filled.change_all(Op::Update, again);
    let apply_ns = started.elapsed().as_secs_f64() * 1e9 / again.len() as f64;
    let (mut polls, mut numbers) = (Samples::default(), Numbers::new());
    for _ in 0..TURNS {
        polls.push(filled.time_of_poll(ids, &mut numbers)?.as_secs_f64() * 1e9);
    }
    let known = before > 0 && ids >= IDS_FOR_MEMORY;
    let bytes_per_id = if known { full as f64 / f64::from(ids) } else { f64::NAN };
    Ok(Point { size, poll_ns: polls.median(), apply_ns, bytes_per_id })
}

fn print(report: &mut BenchReport, what: &str, points: &[Point]) {
    let row = |p: &Point| {
        let figures = [p.poll_ns, p.apply_ns, p.bytes_per_id].map(figure);
        [vec![format!("{} {what}", p.size)], figures.to_vec()].concat()
    };
    let rows = points.iter().map(row).collect::<Vec<_>>();
    print_table(&[what, "ns per poll", "ns per change", "bytes per id"], &rows);
    let line = |of: fn(&Point) -> f64| {
        points.iter().map(|p| (f64::from(p.size), of(p))).filter(|(_, y)| y.is_finite()).collect()
    };
    let lines: [(&str, Vec<(f64, f64)>); 3] = [
        ("ns per poll with 10 changes", line(|p| p.poll_ns)),
        ("ns per change applied", line(|p| p.apply_ns)),
        ("bytes per id", line(|p| p.bytes_per_id)),
    ];
    let mut plot = Lines::new(&format!("Growth with {what}"), what, "ns, bytes");
    for (name, points) in lines {
        report.keep(&format!("{what}: {name}"), &points);
        plot.line(name, points);
    }
    report.plot(what, plot.to_svg());
    if let (Some(least), Some(most)) = (points.first(), points.last()) {
        let (many, few) = (most.size, least.size);
        let goal = if what == "ids" { 2.0 } else { f64::from(many / few).max(2.0) };
        let ratio = most.poll_ns / least.poll_ns;
        report.judge(format!("time of a poll, {many} {what} / {few}"), ratio, Goal::AtMost(goal));
        let ratio = most.apply_ns / least.apply_ns;
        report.judge(format!("time of a change, {many} {what} / {few}"), ratio, Goal::AtMost(8.0));
    }
}
