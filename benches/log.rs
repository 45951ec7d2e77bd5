//! Cost of the version log: memory per id, and the time of a poll.
//!
//! No server and no network: the store itself receives the events of commits of 100 rows with integer
//! keys. Memory is the growth of the process's resident memory, everything included: first after each
//! id was inserted once, then after each was updated once more in random order, which leaves
//! superseded entries behind. The poll returns ten changes, from a log of a thousand ids and from a
//! log of millions, alternating: the times should not differ.

use std::time::Instant;

use highwater::change::Op;

use crate::support::filled::{CHANGES_BEHIND, Filled, Numbers};
use crate::support::process::resident_bytes;
use crate::support::report::{BenchReport, Goal, print_table};
use crate::support::samples::{Samples, figure};

/// Ids in the small log.
const FEW_IDS: u32 = 1000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Ids in the big log.
    #[arg(long, default_value_t = 5_000_000)]
    ids: u32,
    /// Turns of each log; figures are medians.
    #[arg(long, default_value_t = 101)]
    turns: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = BenchReport::new("log");
    report.keep("ids", options.ids);
    let mut many = measure_memory(options.ids, &mut report)?;
    measure_polls(&mut many, options, &mut report)?;
    report.finish()
}

/// Fills a log, and reports memory and rate.
fn measure_memory(ids: u32, report: &mut BenchReport) -> anyhow::Result<Filled> {
    let stages: [(&str, Op, Vec<u32>); 2] = [
        ("each inserted once", Op::Insert, (0..ids).collect()),
        ("each updated once more, in random order", Op::Update, shuffled(ids)),
    ];
    let before = resident_bytes(std::process::id())?;
    let mut log = Filled::open(1)?;
    let mut rows = Vec::new();
    for (name, op, order) in &stages {
        let started = Instant::now();
        log.change_all(*op, order);
        let rate = f64::from(ids) / started.elapsed().as_secs_f64();
        let bytes =
            resident_bytes(std::process::id())?.saturating_sub(before) as f64 / f64::from(ids);
        rows.push(vec![(*name).to_owned(), figure(bytes), figure(rate)]);
        report.keep(&format!("{name}: bytes per id"), bytes);
        report.keep(&format!("{name}: changes applied per second"), rate);
        report.judge(format!("bytes per id, {ids} ids, {name}"), bytes, Goal::AtMost(100.0));
    }
    print_table(&[&format!("{ids} ids"), "bytes per id", "changes applied/s"], &rows);
    Ok(log)
}

/// Times polls of both logs, alternating.
fn measure_polls(
    many: &mut Filled,
    options: &Options,
    report: &mut BenchReport,
) -> anyhow::Result<()> {
    let mut few = Filled::open(1)?;
    few.change_all(Op::Insert, &(0..FEW_IDS).collect::<Vec<_>>());
    let (mut of_few, mut of_many) = (Samples::default(), Samples::default());
    let mut numbers = Numbers::new();
    for _ in 0..options.turns {
        of_few.push(few.time_of_poll(FEW_IDS, &mut numbers)?.as_secs_f64() * 1e9);
        of_many.push(many.time_of_poll(options.ids, &mut numbers)?.as_secs_f64() * 1e9);
    }
    let row = |ids: u32, times: &Samples| vec![format!("{ids} ids"), times.to_string()];
    print_table(
        &[&format!("poll that returns {CHANGES_BEHIND} changes"), "ns"],
        &[row(FEW_IDS, &of_few), row(options.ids, &of_many)],
    );
    let what = format!("time of a poll, {} ids / {FEW_IDS} ids", options.ids);
    report.judge(what, of_many.ratio_to(&of_few), Goal::AtMost(1.1));
    report.keep("poll ns, few ids", of_few);
    report.keep("poll ns, many ids", of_many);
    Ok(())
}

/// All ids in random order.
fn shuffled(ids: u32) -> Vec<u32> {
    let mut numbers = Numbers::new();
    let mut order = (0..ids).collect::<Vec<_>>();
    for (unplaced, place) in (1..ids).zip(1_usize..) {
        let other = numbers.below(unplaced + 1);
        order.swap(place, other as usize);
    }
    order
}
