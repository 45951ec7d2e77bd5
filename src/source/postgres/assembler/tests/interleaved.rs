//! Random histories sent twice: by a server that streams, and by one that sends every transaction at
//! its commit. The events must be the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::rows::{ROWS, cached};
use super::streams::{block, feed_streamed, of, stream_abort, stream_commit};
use super::*;
use crate::change::Op;

/// The tables: one with cached rows, one reported by id, one without a key.
const TABLES: [u32; 3] = [1, 2, 3];
const IDS: [&str; 6] = ["1", "2", "3", "4", "5", "6"];
/// Bound of concurrent transactions.
const OPEN_MAX: usize = 4;

/// A transaction as its server sees it.
struct OpenTransaction {
    xid: u32,
    is_streamed: bool,
    /// Ids of the open savepoints, outermost first; `None` until something is written there. The
    /// first is the transaction itself.
    levels: Vec<Level>,
    /// Its changes that are not rolled back, in order.
    done: Vec<FinishedTransaction>,
    /// Tables that were described to it.
    described: Vec<u32>,
    has_sent: bool,
}

#[derive(Default)]
struct Level {
    xid: Option<u32>,
    /// Released savepoints inside it.
    children: Vec<u32>,
}

struct FinishedTransaction {
    xid: u32,
    table: u32,
    message: Vec<u8>,
    /// Whether each row concerned exists afterwards; after `TRUNCATE` none does.
    leaves: Vec<(&'static str, bool)>,
    is_sent: bool,
}

impl OpenTransaction {
    /// Whether the transaction knows that there is such a row, or that there is none.
    fn exists(&self, table: u32, id: &str) -> Option<bool> {
        let of_table = self.done.iter().rev().filter(|done| done.table == table);
        let said = of_table.filter_map(|done| match &done.leaves[..] {
            [] => Some(false),
            leaves => leaves.iter().find(|(of, _)| *of == id).map(|(_, exists)| *exists),
        });
        said.into_iter().next()
    }
}

/// A server with both kinds of subscribers.
struct InterleavingServer {
    rng: fastrand::Rng,
    next_xid: u32,
    lsn: u64,
    running: Vec<OpenTransaction>,
    /// Tables that were described outside of blocks, to each subscriber.
    described: [Vec<u32>; 2],
    streamed: Vec<SentMessage>,
    at_commit: Vec<SentMessage>,
}

/// A message as a subscriber receives it.
enum SentMessage {
    Message(Vec<u8>),
    Keepalive(u64),
}

fn relation_of(table: u32) -> Vec<u8> {
    match table {
        1 => relation(1, b'd', ROWS),
        2 => relation(2, b'd', ITEMS),
        _ => relation(table, b'n', &[(false, "id", INT8), (false, "name", TEXT)]),
    }
}

impl InterleavingServer {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            // Close to the wraparound of the 32 bits.
            next_xid: u32::MAX - 20,
            lsn: 200,
            running: Vec::new(),
            described: [Vec::new(), Vec::new()],
            streamed: Vec::new(),
            at_commit: Vec::new(),
        }
    }

    fn history(mut self, steps: usize) -> (Vec<SentMessage>, Vec<SentMessage>) {
        for _ in 0..steps {
            self.step();
        }
        while !self.running.is_empty() {
            self.end(0, true);
        }
        (self.streamed, self.at_commit)
    }

    fn xid(&mut self) -> u32 {
        self.next_xid = self.next_xid.wrapping_add(1);
        self.next_xid
    }

    fn step(&mut self) {
        let can_begin = self.running.len() < OPEN_MAX;
        if self.running.is_empty() || (can_begin && self.rng.u8(..) < 20) {
            let xid = self.xid();
            let is_streamed = self.rng.u8(..) < 200;
            let levels = vec![Level { xid: Some(xid), children: vec![] }];
            let (done, described) = (vec![], vec![]);
            let has_sent = false;
            self.running.push(OpenTransaction {
                xid,
                is_streamed,
                levels,
                done,
                described,
                has_sent,
            });
        }
        let at = self.rng.usize(..self.running.len());
        match self.rng.u8(..100) {
            0..50 => self.write(at),
            50..62 => self.running[at].levels.push(Level::default()),
            62..68 => self.release(at),
            68..76 => self.roll_back(at),
            76..90 => self.send(at),
            90..93 => {
                self.lsn += 8;
                self.streamed.push(SentMessage::Keepalive(self.lsn));
                self.at_commit.push(SentMessage::Keepalive(self.lsn));
            }
            93..98 => self.end(at, true),
            _ => self.end(at, false),
        }
    }

    fn write(&mut self, at: usize) {
        // A parent is assigned its id before its child.
        for level in 0..self.running[at].levels.len() {
            if self.running[at].levels[level].xid.is_none() {
                self.running[at].levels[level].xid = Some(self.xid());
            }
        }
        let table = TABLES[self.rng.usize(..TABLES.len())];
        let width = if table == 1 { 4 } else { 2 };
        let row = |id| {
            let mut values = vec![Null; width];
            values[0] = T(id);
            values
        };
        let mut id = || IDS[self.rng.usize(..IDS.len())];
        let (id, other) = (id(), id());
        let running = &self.running[at];
        let exists = running.exists(table, id);
        let can_move =
            id != other && exists != Some(false) && running.exists(table, other) != Some(true);
        let (message, leaves) = match self.rng.u8(..20) {
            0..6 if exists != Some(true) => (insert(table, &row(id)), vec![(id, true)]),
            0..10 if exists != Some(false) => (update(table, None, &row(id)), vec![(id, true)]),
            10..12 if can_move => {
                let moved = update(table, Some((b'K', &row(id))), &row(other));
                (moved, vec![(id, false), (other, true)])
            }
            12..14 if exists != Some(false) => {
                let mut partial = row(id);
                partial[1] = Unchanged;
                (update(table, None, &partial), vec![(id, true)])
            }
            14..19 if exists != Some(false) => (delete(table, b'K', &row(id)), vec![(id, false)]),
            19 => (truncate(&[table]), vec![]),
            _ if exists == Some(true) => (delete(table, b'K', &row(id)), vec![(id, false)]),
            _ => (insert(table, &row(id)), vec![(id, true)]),
        };
        let running = &mut self.running[at];
        let xid = running.levels.last().unwrap().xid.unwrap();
        running.done.push(FinishedTransaction { xid, table, message, leaves, is_sent: false });
    }

    fn release(&mut self, at: usize) {
        let levels = &mut self.running[at].levels;
        if levels.len() > 1 {
            let level = levels.pop().unwrap();
            let parent = &mut levels.last_mut().unwrap().children;
            parent.extend(level.children);
            parent.extend(level.xid);
        }
    }

    fn roll_back(&mut self, at: usize) {
        let running = &mut self.running[at];
        if running.levels.len() < 2 {
            return;
        }
        let level = running.levels.pop().unwrap();
        // The savepoint itself stays.
        running.levels.push(Level::default());
        for xid in level.children.into_iter().chain(level.xid) {
            if running.done.iter().any(|done| done.xid == xid && done.is_sent) {
                self.streamed.push(SentMessage::Message(stream_abort(running.xid, xid)));
            }
            running.done.retain(|done| done.xid != xid);
        }
    }

    /// Sends a block: the transaction exceeds the server's memory.
    fn send(&mut self, at: usize) {
        let running = &mut self.running[at];
        let new: Vec<&mut FinishedTransaction> =
            running.done.iter_mut().filter(|done| !done.is_sent).collect();
        if !running.is_streamed || new.is_empty() {
            return;
        }
        let mut messages = Vec::new();
        for done in new {
            if !running.described.contains(&done.table) {
                running.described.push(done.table);
                messages.push(of(done.xid, &relation_of(done.table)));
            }
            messages.push(of(done.xid, &done.message));
            done.is_sent = true;
        }
        let first = !std::mem::replace(&mut running.has_sent, true);
        self.streamed
            .extend(block(running.xid, first, &messages).into_iter().map(SentMessage::Message));
    }

    fn end(&mut self, at: usize, commits: bool) {
        if commits && self.running[at].has_sent {
            self.send(at);
        }
        let running = self.running.swap_remove(at);
        self.lsn += 16;
        if !commits {
            if running.has_sent {
                self.streamed.push(SentMessage::Message(stream_abort(running.xid, running.xid)));
            }
            return;
        }
        if running.has_sent {
            self.streamed.push(SentMessage::Message(stream_commit(running.xid, self.lsn)));
            for table in &running.described {
                if !self.described[0].contains(table) {
                    self.described[0].push(*table);
                }
            }
        } else {
            let whole = whole(&running, &mut self.described[0], self.lsn);
            self.streamed.extend(whole.into_iter().map(SentMessage::Message));
        }
        let whole = whole(&running, &mut self.described[1], self.lsn);
        self.at_commit.extend(whole.into_iter().map(SentMessage::Message));
    }
}

/// The transaction as it is sent at its commit.
fn whole(running: &OpenTransaction, described: &mut Vec<u32>, end: u64) -> Vec<Vec<u8>> {
    let mut begin = begin();
    begin.truncate(17);
    begin.extend(running.xid.to_be_bytes());
    let mut messages = vec![begin];
    for done in &running.done {
        if !described.contains(&done.table) {
            described.push(done.table);
            messages.push(relation_of(done.table));
        }
        messages.push(done.message.clone());
    }
    messages.push(commit(end));
    messages
}

/// The events of an assembler.
fn events(reported: &[SentMessage], limits: TransactionLimits) -> Vec<Event> {
    let mut assembler = Assembler::new(limits);
    let tables = vec![cached(), table(2, &[("id", INT8, JsonType::Integer)]), table(3, &[])];
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        catalog_at(100, tables),
        None,
        None,
    );
    let mut events = Vec::new();
    for reported in reported {
        match reported {
            SentMessage::Message(bytes) => {
                events.extend(feed_streamed(&mut assembler, std::slice::from_ref(bytes)));
            }
            SentMessage::Keepalive(lsn) => assembler.keepalive(Lsn(*lsn), &mut events),
        }
    }
    assert!(assembler.streams.is_empty() && assembler.buffer.is_empty());
    events.retain(|event| !matches!(event, Event::Tables { .. }));
    events
}

/// The net effect of a commit on each row of a table and its ordinal, however changes were merged.
fn merged(transaction: &Transaction, oid: TableOid) -> BTreeMap<String, (Op, u32)> {
    let mut rows = BTreeMap::<String, (bool, Op, u32)>::new();
    for change in transaction.changes.iter().filter(|change| change.table == oid) {
        let first = (change.op != Op::Insert, change.op, change.ordinal);
        let row = rows.entry(format!("{:?}", change.key)).or_insert(first);
        (row.1, row.2) = (change.op, change.ordinal);
    }
    let shown = |(existed, last, ordinal)| match (existed, last) {
        (false, Op::Delete) => None,
        (false, _) => Some((Op::Insert, ordinal)),
        (true, Op::Delete) => Some((Op::Delete, ordinal)),
        (true, _) => Some((Op::Update, ordinal)),
    };
    rows.into_iter().filter_map(|(key, row)| Some((key, shown(row)?))).collect()
}

/// Whether `reported` has the same effect on the table as `expected`, or resets it.
fn is_true(reported: &Transaction, expected: &Transaction, oid: TableOid) -> bool {
    let is_reset = |t: &Transaction| t.resets.iter().any(|reset| reset.table == oid);
    let rows = |t: &Transaction| -> Vec<RowChange> {
        t.rows.iter().filter(|row| row.table() == oid).cloned().collect()
    };
    let ids = is_reset(reported)
        || (!is_reset(expected) && merged(reported, oid) == merged(expected, oid));
    let invalidated = [RowChange::Invalidate(oid)];
    ids && (rows(reported) == invalidated
        || rows(reported) == rows(expected)
        || rows(expected) == invalidated)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn streaming_reports_the_same_events(seed: u64, steps in 1..400_usize) {
        let (streamed, at_commit) = InterleavingServer::new(seed).history(steps);
        prop_assert_eq!(events(&streamed, LIMITS), events(&at_commit, LIMITS));
    }

    #[test]
    fn at_the_limits_streaming_reports_the_same_or_a_reset(seed: u64, steps in 1..400_usize) {
        let limits = TransactionLimits { max_changes: 3, max_bytes: 1_500, max_streamed_bytes: 3_000 };
        let (streamed, at_commit) = InterleavingServer::new(seed).history(steps);
        let expected = events(&at_commit, LIMITS);
        let commits = |events: &[Event]| -> Vec<Transaction> {
            let commits = events.iter().filter_map(|event| match event {
                Event::Commit(transaction) => Some(transaction.clone()),
                _ => None,
            });
            commits.collect()
        };
        let (reported, expected) = (commits(&events(&streamed, limits)), commits(&expected));
        let expected: BTreeMap<Lsn, Transaction> =
            expected.into_iter().map(|t| (t.end_lsn, t)).collect();
        let reported: BTreeMap<Lsn, Transaction> = reported.into_iter().map(|t| (t.end_lsn, t)).collect();
        for (end, expected) in &expected {
            let nothing = Transaction { changes: vec![], resets: vec![], rows: vec![], ..expected.clone() };
            let reported = reported.get(end).unwrap_or(&nothing);
            for table in TABLES.map(TableOid) {
                prop_assert!(is_true(reported, expected, table), "{:?} of {:?}", reported, expected);
            }
        }
    }
}
