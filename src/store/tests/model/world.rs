//! A database, its stream, and the list of all events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metrics::Registry;

use super::random::Random;
use crate::change::{Change, CommitTime, Event, Op, Reset, ResetReason, Started, Transaction};
use crate::history::{TimelineHistory, TimelineSwitch};
use crate::key::Key;
use crate::lsn::Lsn;

use crate::snapshot::Xid;
use crate::source_status::{PostmasterId, StreamRequests};
use crate::store::tests::table;
use crate::store::{
    ChangeQuery, ChangeSet, Limits, LogLimits, ResourceSelection, Store, StoreMetrics, Writer, open,
};
use crate::table::{Table, TableOid, Tracking};
use crate::version::{Position, Version};

const OIDS: u32 = 3;
const IDS: u64 = 6;

/// One row's change, as the stream sent it.
struct ModelCommit {
    position: Position,
    at: CommitTime,
    table: u32,
    id: i64,
    exists: bool,
}

/// The expected state of a published table.
struct Published {
    definition: Table,
    /// Versions before this must be reset.
    reset_at: Position,
    /// Version of the newest change or reset.
    newest: Position,
}

pub(super) struct World {
    writer: Writer,
    pub(super) store: Store,
    limits: LogLimits,
    history: TimelineHistory,
    system: u64,
    /// The switches that led to the timeline.
    switches: Vec<TimelineSwitch>,
    /// End of the last commit.
    lsn: u64,
    /// Seconds.
    clock: i64,
    /// Changes committed before this may have expired.
    expired: CommitTime,
    tables: BTreeMap<u32, Published>,
    /// Newest change or reset of any table, those that left included.
    newest: Position,
    /// The rows that exist, in published tables and others.
    pub(super) rows: BTreeMap<u32, BTreeSet<i64>>,
    /// Every change sent by id.
    happened: Vec<ModelCommit>,
    /// The rows that existed from each position on.
    existence: Vec<(Position, u32, i64, bool)>,
    /// Commits of this history, to be sent again.
    sent: Vec<Transaction>,
    /// Every version ever issued.
    given: Vec<Version>,
}

impl World {
    pub(super) fn new(limits: LogLimits, random: &mut Random) -> Self {
        let (writer, store) = open(
            Limits { log: limits, ..Limits::default() },
            StreamRequests::default(),
            StoreMetrics::register(&Registry::default()).unwrap(),
        );
        let mut world = Self {
            writer,
            store,
            limits,
            history: TimelineHistory::new(0, 1, 1, &[]),
            system: 0,
            switches: Vec::new(),
            lsn: 0,
            clock: 1_000,
            expired: CommitTime(0),
            tables: BTreeMap::new(),
            newest: Position::START,
            rows: (1..=OIDS).map(|oid| (oid, BTreeSet::new())).collect(),
            happened: Vec::new(),
            existence: Vec::new(),
            sent: Vec::new(),
            given: Vec::new(),
        };
        world.begin_history(random);
        world
    }

    pub(super) fn step(&mut self, random: &mut Random) {
        self.clock += 1;
        match random.below(100) {
            0..70 => self.commits(random),
            70..80 => self.watermark(random),
            80..86 => self.change_tables(random),
            86..92 => self.restart(random),
            92..94 => self.break_stream(random),
            94..96 => self.fail_over(random),
            96..99 => self.expire(),
            _ => self.begin_history(random),
        }
    }

    fn applied(&self) -> Version {
        self.store.applied().unwrap()
    }

    fn commit_time(&self) -> CommitTime {
        CommitTime(self.clock * 1_000_000)
    }

    // ---- Events

    fn commits(&mut self, random: &mut Random) {
        let events = (0..=random.below(2)).map(|_| Event::Commit(self.commit(random))).collect();
        self.writer.apply(events);
        assert_eq!(self.applied().position, Position::after_commit(Lsn(self.lsn)));
    }

    fn commit(&mut self, random: &mut Random) -> Transaction {
        self.lsn += 24 + 8 * random.below(4);
        let end = Position::after_commit(Lsn(self.lsn));
        let mut changes = Vec::new();
        let before = self.rows.clone();
        for _ in 0..=random.below(6) {
            self.touch_row(random, &mut changes);
        }
        let reset_ids: Vec<u32> =
            self.tables.keys().copied().filter(|_| random.chance(4)).collect();
        changes.retain(|change| !reset_ids.contains(&change.table.0));
        if random.chance(50) {
            changes = merged(changes, &before);
        }
        for oid in &reset_ids {
            self.scramble(*oid, random);
            self.note_reset(*oid, end);
        }
        for change in &changes {
            self.note_change(change, end);
        }
        let reason = *random.pick(&[
            ResetReason::Truncate,
            ResetReason::LargeTransaction,
            ResetReason::NoKey,
        ]);
        let resets = reset_ids.iter().map(|oid| Reset { table: TableOid(*oid), reason }).collect();
        let transaction = Transaction {
            end_lsn: Lsn(self.lsn),
            committed_at: self.commit_time(),
            xid: Xid(0),
            rows: vec![],
            changes,
            resets,
        };
        self.sent.push(transaction.clone());
        transaction
    }

    /// Inserts, updates or deletes a row of a published table, or changes its key.
    fn touch_row(&mut self, random: &mut Random, changes: &mut Vec<Change>) {
        let published: Vec<u32> = self.tables.keys().copied().collect();
        let Some(&oid) = published.get(usize::try_from(random.below(4)).unwrap()) else { return };
        let rows = self.rows.get_mut(&oid).unwrap();
        let mut add = |id, op| {
            let ordinal = changes.last().map_or(1, |last: &Change| last.ordinal + 1);
            changes.push(Change {
                table: TableOid(oid),
                key: Key::integer(id),
                op,
                ordinal,
                scope: None,
            });
        };
        let id = i64::try_from(random.below(IDS)).unwrap();
        if rows.insert(id) {
            return add(id, Op::Insert);
        }
        let other = i64::try_from(random.below(IDS)).unwrap();
        match random.below(3) {
            0 => add(id, Op::Update),
            1 if rows.insert(other) => {
                rows.remove(&id);
                add(id, Op::Delete);
                add(other, Op::Insert);
            }
            _ => {
                rows.remove(&id);
                add(id, Op::Delete);
            }
        }
    }

    /// A table's rows change without row changes in the stream.
    fn scramble(&mut self, oid: u32, random: &mut Random) {
        let some = (0..i64::try_from(IDS).unwrap()).filter(|_| random.chance(50)).collect();
        self.rows.insert(oid, some);
    }

    fn watermark(&mut self, random: &mut Random) {
        let before = self.applied().position;
        if random.chance(20) {
            // An old watermark changes nothing.
            self.writer.apply(vec![Event::Watermark(Lsn(self.lsn / 2))]);
            assert_eq!(self.applied().position, before);
            return;
        }
        self.lsn += 24;
        self.writer.apply(vec![Event::Watermark(Lsn(self.lsn))]);
        assert_eq!(self.applied().position, Position::after_commit(Lsn(self.lsn)));
    }

    /// Tables join, leave, get another definition or a reset, or nothing changes.
    fn change_tables(&mut self, random: &mut Random) {
        let (definitions, resets) = self.invent_tables(random);
        let begin = self.beginning(&definitions, &resets, random);
        let tables = definitions.clone();
        self.writer.apply(vec![Event::Tables { tables, resets }]);
        self.note_beginning(definitions, &begin);
    }

    /// The connection was lost. Some events are sent again.
    fn restart(&mut self, random: &mut Random) {
        let definitions =
            if random.chance(50) { self.invent_tables(random).0 } else { self.definitions() };
        let begin = self.beginning(&definitions, &[], random);
        let again = usize::try_from(random.below(4)).unwrap().min(self.sent.len());
        let repeated = self.sent.split_off(self.sent.len() - again);
        let from = repeated.first().map_or(Lsn(self.lsn), |first| Lsn(first.end_lsn.0 - 8));
        let start = self.started(from, definitions.clone(), None);
        let mut events = vec![Event::Started(start)];
        events.extend(repeated.iter().cloned().map(Event::Commit));
        self.sent.extend(repeated);
        self.writer.apply(events);
        self.note_beginning(definitions, &begin);
    }

    /// The stream can't continue: the changes meanwhile are not sent.
    fn break_stream(&mut self, random: &mut Random) {
        let definitions = self.definitions();
        let said = random.chance(70);
        if !said || random.chance(70) {
            self.lsn += 8 * (1 + random.below(20));
            (1..=OIDS).for_each(|oid| self.scramble(oid, random));
        }
        let broken = said.then_some(ResetReason::SlotLost);
        let start = self.started(Lsn(self.lsn), definitions.clone(), broken);
        let all: BTreeSet<u32> = self.tables.keys().copied().collect();
        self.writer.apply(vec![Event::Started(start)]);
        self.note_beginning(definitions, &all);
    }

    /// A standby is promoted that had received everything, and perhaps more than was sent.
    fn fail_over(&mut self, random: &mut Random) {
        if random.chance(30) {
            return self.fail_over_with_loss(random);
        }
        let is_believed = |world: &Self, given: &Version| world.position_of(*given).is_some();
        let before: Vec<bool> = self.given.iter().map(|given| is_believed(self, given)).collect();
        self.switch_timeline(self.lsn + 8 * random.below(3));
        let after: Vec<bool> = self.given.iter().map(|given| is_believed(self, given)).collect();
        assert_eq!(before, after, "what was true stays so, what was not does not become it");
        self.restart(random);
    }

    /// …or one that lacks something that was sent.
    fn fail_over_with_loss(&mut self, random: &mut Random) {
        self.switch_timeline(self.lsn - 8 * (1 + random.below(5)));
        self.history = self.history.without_ancestors();
        self.begin_anew(self.lsn - 8 * random.below(10), random);
    }

    fn switch_timeline(&mut self, at: u64) {
        let timeline = u32::try_from(self.switches.len()).unwrap() + 1;
        self.switches.push(TimelineSwitch { timeline, at: Lsn(at) });
        let history = TimelineHistory::new(self.system, 1, timeline + 1, &self.switches);
        self.history = history.continuing(&self.history);
    }

    fn position_of(&self, version: Version) -> Option<Position> {
        self.history.position_of(version)
    }

    /// Another history, at a later or earlier position than the last one.
    fn begin_history(&mut self, random: &mut Random) {
        self.system += 1;
        self.switches.clear();
        self.history = TimelineHistory::new(self.system, 1, 1, &[]);
        self.begin_anew(800 + 8 * random.below(20), random);
    }

    /// Drops the expected state of the history before.
    fn begin_anew(&mut self, lsn: u64, random: &mut Random) {
        self.lsn = lsn;
        (1..=OIDS).for_each(|oid| self.scramble(oid, random));
        self.happened.clear();
        self.existence.clear();
        self.sent.clear();
        self.tables.clear();
        self.newest = Position::after_commit(Lsn(self.lsn));
        let definitions = self.invent_tables(random).0;
        let start = self.started(Lsn(self.lsn), definitions.clone(), None);
        self.writer.apply(vec![Event::Started(start)]);
        let applied = self.applied();
        assert_eq!(applied, Version { epoch: self.history.epoch(), position: self.newest });
        for definition in definitions {
            let oid = definition.oid.0;
            let position = self.newest;
            let published = Published { definition, reset_at: position, newest: position };
            self.tables.insert(oid, published);
            self.note_rows(oid, position);
        }
    }

    fn expire(&mut self) {
        let now = self.commit_time();
        let max_age = i64::try_from(self.limits.max_age.as_micros()).unwrap();
        self.expired = CommitTime(now.0 - max_age);
        self.writer.expire(now.to_timestamp().unwrap());
    }

    fn started(&self, from: Lsn, tables: Vec<Table>, broken: Option<ResetReason>) -> Started {
        Started {
            history: self.history.clone(),
            server: PostmasterId::default(),
            from,
            tables,
            broken,
        }
    }

    fn definitions(&self) -> Vec<Table> {
        self.tables.values().map(|table| table.definition.clone()).collect()
    }

    fn invent_tables(&self, random: &mut Random) -> (Vec<Table>, Vec<Reset>) {
        let (mut tables, mut resets) = (Vec::new(), Vec::new());
        for oid in 1..=OIDS {
            if random.chance(15) {
                continue;
            }
            let mut definition = match self.tables.get(&oid) {
                Some(known) => known.definition.clone(),
                None => table(oid, &format!("t{oid}")),
            };
            if random.chance(15) {
                definition.key_columns.push("other".into());
            }
            if random.chance(10) {
                definition.tracking = match definition.tracking {
                    Tracking::Ids => Tracking::ResetOnly("no key".into()),
                    Tracking::ResetOnly(_) => Tracking::Ids,
                };
            }
            if random.chance(15) {
                resets.push(Reset { table: definition.oid, reason: ResetReason::Membership });
            }
            tables.push(definition);
        }
        (tables, resets)
    }

    /// The tables that begin now. Their rows may have changed without being sent, as those of tables that are
    /// not published may.
    fn beginning(
        &mut self,
        definitions: &[Table],
        resets: &[Reset],
        random: &mut Random,
    ) -> BTreeSet<u32> {
        let kept: BTreeSet<u32> = definitions
            .iter()
            .filter(|table| self.tables.get(&table.oid.0).is_some_and(|t| t.definition == **table))
            .filter(|table| !resets.iter().any(|reset| reset.table == table.oid))
            .map(|table| table.oid.0)
            .collect();
        for oid in (1..=OIDS).filter(|oid| !kept.contains(oid)) {
            if random.chance(50) {
                self.scramble(oid, random);
            }
        }
        definitions.iter().map(|table| table.oid.0).filter(|oid| !kept.contains(oid)).collect()
    }

    // ---- The list

    fn note_change(&mut self, change: &Change, end: Position) {
        let oid = change.table.0;
        let table = self.tables.get_mut(&oid).unwrap();
        table.newest = end;
        self.newest = end;
        if table.definition.tracking != Tracking::Ids {
            table.reset_at = end;
            return;
        }
        let id = format!("{:?}", change.key).parse().unwrap();
        let position = Position { lsn: end.lsn, ordinal: change.ordinal };
        let (at, exists) = (self.commit_time(), change.op != Op::Delete);
        self.happened.push(ModelCommit { position, at, table: oid, id, exists });
        self.existence.push((position, oid, id, exists));
    }

    fn note_rows(&mut self, oid: u32, position: Position) {
        for id in 0..i64::try_from(IDS).unwrap() {
            let exists = self.rows.get(&oid).is_some_and(|rows| rows.contains(&id));
            self.existence.push((position, oid, id, exists));
        }
    }

    fn note_reset(&mut self, oid: u32, position: Position) {
        let table = self.tables.get_mut(&oid).unwrap();
        (table.reset_at, table.newest) = (position, position);
        self.newest = position;
        self.note_rows(oid, position);
    }

    /// Tables begin after everything so far and before everything to come.
    fn note_beginning(&mut self, definitions: Vec<Table>, begin: &BTreeSet<u32>) {
        let applied = self.applied().position;
        let last = Position::after_commit(Lsn(self.lsn));
        assert!(applied >= last && applied < Position { lsn: Lsn(self.lsn + 8), ordinal: 0 });
        for given in self.given.iter().filter_map(|given| self.position_of(*given)) {
            assert!(begin.is_empty() || given < applied);
        }
        let mut before = std::mem::take(&mut self.tables);
        for definition in definitions {
            let oid = definition.oid.0;
            let published = match before.remove(&oid).filter(|_| !begin.contains(&oid)) {
                Some(kept) => kept,
                None => Published { definition, reset_at: applied, newest: applied },
            };
            self.tables.insert(oid, published);
        }
        if !begin.is_empty() {
            self.newest = applied;
        }
        for oid in begin {
            self.note_rows(*oid, applied);
        }
    }

    fn existed(&self, table: u32, id: i64, position: Position) -> bool {
        let mut known = self.existence.iter().rev();
        known.find(|k| k.1 == table && k.2 == id && k.0 <= position).is_some_and(|known| known.3)
    }

    // ---- Queries

    /// Polls and checks the change set.
    pub(super) fn poll(
        &mut self,
        tables: &ResourceSelection,
        after: Option<Version>,
        limit: usize,
    ) -> ChangeSet {
        let query = ChangeQuery { resources: tables, after, limit };
        let answer = self.store.changes(&query).unwrap();
        self.check(&query, &answer);
        self.given.push(answer.version);
        answer
    }

    /// A poll of an arbitrary selection, from any version ever issued.
    pub(super) fn check_any_poll(&mut self, random: &mut Random) {
        let after = match random.below(10) {
            0 => None,
            1 => {
                let lsn = Lsn(self.lsn + 8 * (1 + random.below(9)));
                Some(Version { epoch: self.history.epoch(), position: Position::after_commit(lsn) })
            }
            2..6 if !self.given.is_empty() => Some(*random.pick(&self.given)),
            _ => {
                let lsn = Lsn(self.lsn.saturating_sub(8 * random.below(60)));
                Some(Version { epoch: self.history.epoch(), position: Position::after_commit(lsn) })
            }
        };
        let limit = usize::try_from(1 + random.below(12)).unwrap();
        let selection = self.select(random);
        let query = ChangeQuery { resources: &selection, after, limit };
        let answer = self.store.changes(&query).unwrap();
        self.check(&query, &answer);
        if after.is_some_and(|after| after.position <= self.applied().position) {
            self.given.push(answer.version);
        }
    }

    pub(super) fn select(&self, random: &mut Random) -> ResourceSelection {
        if random.chance(40) {
            return ResourceSelection::All;
        }
        let directory = self.store.directory();
        let some = directory.resources().iter().filter(|_| random.chance(60));
        ResourceSelection::unscoped(some.cloned().collect::<Vec<_>>())
    }

    fn check(&self, query: &ChangeQuery, answer: &ChangeSet) {
        let oids: Vec<u32> = match query.resources {
            ResourceSelection::All => self.tables.keys().copied().collect(),
            ResourceSelection::Listed(parts) => {
                parts.iter().map(|part| part.resource.oid().0).collect()
            }
        };
        let reset: BTreeSet<u32> = answer.reset.iter().map(|table| table.oid().0).collect();
        assert_eq!(reset.len(), answer.reset.len());
        let after = query.after.and_then(|after| self.position_of(after));
        for oid in &oids {
            let (must, may) = self.reset_is_due(*oid, after);
            assert!(!must || reset.contains(oid), "table {oid} has to be reset, after {after:?}");
            assert!(must || may || !reset.contains(oid), "table {oid} is reset for nothing");
        }
        assert!(reset.iter().all(|oid| oids.contains(oid)));
        let reported: Vec<u32> = oids.into_iter().filter(|oid| !reset.contains(oid)).collect();
        self.check_changes(&reported, after.unwrap_or(Position::START), query.limit, answer);
        self.check_shortcuts(query, answer);
    }

    /// Whether a table must be reset, and whether it may.
    fn reset_is_due(&self, oid: u32, after: Option<Position>) -> (bool, bool) {
        let (Some(after), Some(table)) = (after, self.tables.get(&oid)) else {
            return (true, true);
        };
        let since: Vec<&ModelCommit> =
            self.happened.iter().filter(|h| h.table == oid && h.position > after).collect();
        // A change that inserts a row again has two entries.
        let may = since.len() * 2 > self.limits.max_changes
            || self.limits.max_bytes < 1_000_000
            || since.iter().any(|h| h.at < self.expired);
        (after < table.reset_at, may)
    }

    fn check_changes(&self, oids: &[u32], after: Position, limit: usize, answer: &ChangeSet) {
        let mut last: BTreeMap<(u32, i64), &ModelCommit> = BTreeMap::new();
        let news = self.happened.iter().filter(|h| h.position > after && oids.contains(&h.table));
        for happened in news {
            last.insert((happened.table, happened.id), happened);
        }
        let mut expected: Vec<_> = last
            .values()
            .map(|h| {
                let op = match (h.exists, self.existed(h.table, h.id, after)) {
                    (true, true) => Op::Update,
                    (true, false) => Op::Insert,
                    (false, _) => Op::Delete,
                };
                (h.position, h.table, h.id.to_string(), op, h.at)
            })
            .collect();
        expected.sort_by_key(|(position, ..)| *position);
        let reported: Vec<_> = answer
            .changes
            .iter()
            .map(|c| (c.position, c.resource.oid().0, format!("{:?}", c.key), c.op, c.committed_at))
            .collect();
        let page = &expected[..expected.len().min(limit)];
        assert_eq!(reported, page, "after {after:?}");
        let next = expected.get(limit);
        assert_eq!(answer.more, next.is_some());
        let position = match (page.last(), next) {
            (Some(last), Some(next)) if last.0.lsn == next.0.lsn => last.0,
            (Some(last), Some(_)) => Position::after_commit(last.0.lsn),
            _ => self.applied().position.max(after),
        };
        assert_eq!(answer.version, Version { epoch: self.history.epoch(), position });
        assert!(position >= after, "backwards");
    }

    /// The positions visible without the lock agree with the change set, and so do waiters.
    fn check_shortcuts(&self, query: &ChangeQuery, answer: &ChangeSet) {
        let newest = match query.resources {
            ResourceSelection::All => self.newest,
            ResourceSelection::Listed(tables) => tables
                .iter()
                .map(|part| self.tables.get(&part.resource.oid().0))
                .map(|table| table.map_or(self.applied().position, |table| table.newest))
                .max()
                .unwrap_or(Position::START),
        };
        assert_eq!(answer.newest, Version { epoch: self.history.epoch(), position: newest });
        let Some(after) = query.after else { return };
        let is_empty = answer.changes.is_empty() && answer.reset.is_empty();
        let news = self.store.has_news(query.resources, after);
        assert_eq!(news, !is_empty || self.position_of(after).is_none());
        let quick = self.store.unchanged(query.resources, after);
        assert!(quick.is_none() || is_empty);
        assert!(quick.is_none_or(|quick| quick.version == answer.version));
    }
}

/// One change for each row, at the position of its last one, with the operation of the whole commit.
fn merged(changes: Vec<Change>, before: &BTreeMap<u32, BTreeSet<i64>>) -> Vec<Change> {
    let mut last: Vec<Change> = Vec::new();
    for change in changes {
        last.retain(|known| (known.table, &known.key) != (change.table, &change.key));
        last.push(change);
    }
    let net = |mut change: Change| {
        let id: i64 = format!("{:?}", change.key).parse().unwrap();
        let existed = before.get(&change.table.0).is_some_and(|rows| rows.contains(&id));
        change.op = match (existed, change.op != Op::Delete) {
            (true, true) => Op::Update,
            (false, true) => Op::Insert,
            (true, false) => Op::Delete,
            (false, false) => return None,
        };
        Some(change)
    };
    last.into_iter().filter_map(net).collect()
}

/// The tables of these names, if all are published.
pub(super) fn resolve(store: &Store, names: &[String]) -> Option<ResourceSelection> {
    let directory = store.directory();
    let tables: Option<Vec<_>> =
        names.iter().map(|name| directory.resolve(name).map(Arc::clone)).collect();
    tables.map(ResourceSelection::unscoped)
}
