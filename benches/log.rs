//! What the version log costs: memory for each id it remembers, and the time of a poll.
//!
//! No server and no network: the store itself, given the events of commits of 100 rows with integer
//! keys. Memory is the growth of what the process has in RAM, everything included; first when each
//! id was inserted once, then after each was updated once more in random order, which leaves
//! superseded places behind. The poll has ten changes to tell, once in a log of a thousand ids and
//! once in a log of millions, taking turns: the times should not differ.

mod support;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use highwater::change::{Change, CommitTime, Event, Op, Started, Transaction};
use highwater::key::Key;
use highwater::lsn::Lsn;
use highwater::metrics::Metrics;
use highwater::snapshot::Xid;
use highwater::source::Wishes;
use highwater::store::{self, Limits, LogLimits, Query, Selection, Store, Writer};
use highwater::table::{Rows, Table, TableName, TableOid, Tracking};
use highwater::version::{Epoch, Version};

use support::Common;
use support::process::resident_bytes;
use support::report::{Goal, Report, print_table};
use support::samples::{Samples, figure};

const TABLE: TableOid = TableOid(16_384);
const CHANGES_PER_COMMIT: usize = 100;
const COMMITS_PER_BATCH: usize = 50;
/// Ids in the small log, and changes that a poll has to tell.
const FEW_IDS: u32 = 1000;
const CHANGES_BEHIND: usize = 10;
/// Polls that are timed together.
const POLLS: u32 = 1000;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Ids in the big log.
    #[arg(long, default_value_t = 5_000_000)]
    ids: u32,
    /// Turns of each log; the medians are told.
    #[arg(long, default_value_t = 101)]
    turns: u32,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.common.is_wanted("log") {
        return Ok(());
    }
    let mut report = Report::new("log");
    report.keep("ids", options.ids);
    let mut many = measure_memory(options.ids, &mut report)?;
    measure_polls(&mut many, &options, &mut report)?;
    report.finish()
}

/// Fills a log, and tells what it costs.
fn measure_memory(ids: u32, report: &mut Report) -> anyhow::Result<Filled> {
    let stages: [(&str, Op, Vec<u32>); 2] = [
        ("each inserted once", Op::Insert, (0..ids).collect()),
        ("each updated once more, in random order", Op::Update, shuffled(ids)),
    ];
    let before = resident_bytes()?;
    let mut log = Filled::open()?;
    let mut rows = Vec::new();
    for (name, op, order) in &stages {
        let started = Instant::now();
        log.change_all(*op, order);
        let rate = f64::from(ids) / started.elapsed().as_secs_f64();
        let bytes = resident_bytes()?.saturating_sub(before) as f64 / f64::from(ids);
        rows.push(vec![(*name).to_owned(), figure(bytes), figure(rate)]);
        report.keep(&format!("{name}: bytes per id"), bytes);
        report.keep(&format!("{name}: changes applied per second"), rate);
        report.judge(format!("bytes per id, {ids} ids, {name}"), bytes, Goal::AtMost(100.0));
    }
    print_table(&[&format!("{ids} ids"), "bytes per id", "changes applied/s"], &rows);
    Ok(log)
}

/// Times polls of both logs in turns.
fn measure_polls(many: &mut Filled, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let mut few = Filled::open()?;
    few.change_all(Op::Insert, &(0..FEW_IDS).collect::<Vec<_>>());
    let (mut of_few, mut of_many) = (Samples::default(), Samples::default());
    let mut numbers = Numbers::new();
    for _ in 0..options.turns {
        of_few.push(few.time_of_poll(FEW_IDS, &mut numbers)?.as_secs_f64() * 1e9);
        of_many.push(many.time_of_poll(options.ids, &mut numbers)?.as_secs_f64() * 1e9);
    }
    let row = |ids: u32, times: &Samples| vec![format!("{ids} ids"), times.to_string()];
    print_table(
        &[&format!("poll with {CHANGES_BEHIND} changes to tell"), "ns"],
        &[row(FEW_IDS, &of_few), row(options.ids, &of_many)],
    );
    let what = format!("time of a poll, {} ids / {FEW_IDS} ids", options.ids);
    report.judge(what, of_many.ratio_to(&of_few), Goal::AtMost(1.1));
    report.keep("poll ns, few ids", of_few);
    report.keep("poll ns, many ids", of_many);
    Ok(())
}

/// A store with one table.
struct Filled {
    writer: Writer,
    store: Store,
    /// End of the last commit.
    end: Lsn,
}

impl Filled {
    fn open() -> anyhow::Result<Self> {
        let limits =
            LogLimits { max_changes: 1 << 30, max_age: Duration::MAX, max_bytes: usize::MAX };
        let (mut writer, store) = store::open(
            Limits { log: limits, ..Limits::default() },
            Wishes::default(),
            Metrics::new()?,
        );
        let table = Table {
            oid: TABLE,
            name: TableName::new("public", "items"),
            key_columns: vec!["id".into()],
            tracking: Tracking::Ids,
            rows: Rows::Off,
            scope: vec![],
        };
        let end = Lsn(8);
        let started =
            Started { history: Epoch(1).into(), from: end, tables: vec![table], broken: None };
        writer.apply(vec![Event::Started(started)]);
        Ok(Self { writer, store, end })
    }

    /// Commits a change to every id of the list, in its order.
    fn change_all(&mut self, op: Op, ids: &[u32]) {
        for batch in ids.chunks(CHANGES_PER_COMMIT * COMMITS_PER_BATCH) {
            let commits = batch.chunks(CHANGES_PER_COMMIT);
            let events = commits.map(|ids| self.commit(op, ids)).collect();
            self.writer.apply(events);
        }
    }

    fn commit(&mut self, op: Op, ids: &[u32]) -> Event {
        self.end = Lsn(self.end.0 + 8 * ids.len() as u64);
        let change = |(ordinal, id): (u32, &u32)| Change {
            table: TABLE,
            key: Key::integer((*id).into()),
            op,
            ordinal,
            scope: None,
        };
        Event::Commit(Transaction {
            end_lsn: self.end,
            committed_at: CommitTime::from_timestamp(jiff::Timestamp::now()),
            xid: Xid(0),
            rows: vec![],
            changes: (1..).zip(ids).map(change).collect(),
            resets: Vec::new(),
        })
    }

    /// Changes a few rows and asks for them, often: the time of one poll.
    fn time_of_poll(&mut self, ids: u32, numbers: &mut Numbers) -> anyhow::Result<Duration> {
        let after = self.store.applied();
        let mut changed = Vec::new();
        while changed.len() < CHANGES_BEHIND {
            let id = numbers.below(ids);
            if !changed.contains(&id) {
                changed.push(id);
            }
        }
        self.change_all(Op::Update, &changed);
        self.poll(after)?;
        let started = Instant::now();
        for _ in 0..POLLS {
            self.poll(after)?;
        }
        Ok(started.elapsed() / POLLS)
    }

    fn poll(&self, after: Option<Version>) -> anyhow::Result<()> {
        let query = Query { tables: &Selection::All, after, limit: 1000 };
        let answer = std::hint::black_box(self.store.changes(&query)).context("not started")?;
        anyhow::ensure!(answer.changes.len() == CHANGES_BEHIND, "told {}", answer.changes.len());
        Ok(())
    }
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

/// Random enough numbers, the same in every run (Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half times `end`, divided by 2^32: below `end`, so it fits.
        u32::try_from(((self.0 >> 32) * u64::from(end)) >> 32).unwrap_or_default()
    }
}
