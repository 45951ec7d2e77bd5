//! What a log remembers, without its floor.

use std::fmt::Debug;
use std::hash::{BuildHasher, Hash};

use hashbrown::DefaultHashBuilder;

use super::LatestChange;
use super::index::Index;
use super::order::{Order, OrderEntry};
use super::record::{LogRecord, NO_PAST, PastLifetimes};
use super::slab::Slab;
use crate::change::{CommitTime, Op};
use crate::key::Key;
use crate::version::Position;

/// What a log tells of.
pub(crate) trait LogKey: Eq + Hash + Debug {
    /// The order of changes once more, for each group of ids that is read by itself.
    type Partitions: Groups<Self>;

    /// The row's id.
    fn key(&self) -> &Key;

    /// Bytes it occupies outside of its own.
    fn heap_bytes(&self) -> usize;
}

/// Follows what happens to the places of ids. `is_live` says so of a place as long as it is that of
/// its record's last change.
pub(crate) trait Groups<K: ?Sized>: Debug + Default {
    /// A change took its place; it is not the id's first if that is known.
    fn touched(
        &mut self,
        id: &K,
        place: OrderEntry,
        again: bool,
        is_live: impl Fn(&OrderEntry) -> bool,
    );

    /// The id's last change, the oldest of all, is about to be forgotten.
    fn forget(&mut self, id: &K, is_live: impl Fn(&OrderEntry) -> bool);

    /// The id's record has another slot now.
    fn rename(&mut self, id: &K, position: Position, to: u32);

    /// Memory allocated.
    fn bytes(&self) -> usize;
}

/// Records with their index and their order, and the earlier lifetimes of rows.
#[derive(Debug)]
pub(crate) struct LogEntries<K: LogKey> {
    records: Slab<LogRecord<K>>,
    /// By key, every record.
    index: Index,
    /// The last change of every record. A place whose position is not its record's is dead.
    order: Order,
    /// Where a row came to exist again; its slot is that of the [`PastLifetimes`], whose first
    /// lifetime ended before. None of these places dies before it is forgotten.
    past: Order,
    histories: Slab<PastLifetimes>,
    /// Keys are chosen by the users of the application, so the hashes must not be predictable:
    /// this one is seeded at random.
    hasher: DefaultHashBuilder,
    /// What keys and histories point to.
    heap_bytes: usize,
    pub(super) groups: K::Partitions,
}

impl<K: LogKey> Default for LogEntries<K> {
    fn default() -> Self {
        Self {
            records: Slab::default(),
            index: Index::default(),
            order: Order::default(),
            past: Order::default(),
            histories: Slab::default(),
            hasher: DefaultHashBuilder::default(),
            heap_bytes: 0,
            groups: K::Partitions::default(),
        }
    }
}

impl<K: LogKey> LogEntries<K> {
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.past.len()
    }

    pub(super) fn ids(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.bytes()
            + self.index.bytes()
            + self.order.bytes()
            + self.past.bytes()
            + self.histories.bytes()
            + self.heap_bytes
            + self.groups.bytes()
    }

    pub(super) fn apply(&mut self, key: K, op: Op, position: Position, at: CommitTime) {
        let hash = self.hash_of(&key);
        match self.find(hash, &key) {
            Some(slot) => self.change(slot, op, position, at),
            None => self.remember(hash, LogRecord::new(key, op, position), at),
        }
    }

    pub(super) fn last_position(&self, key: &K) -> Option<Position> {
        let slot = self.find(self.hash_of(key), key)?;
        self.records.get(slot).map(LogRecord::position)
    }

    fn find(&self, hash: u32, key: &K) -> Option<u32> {
        self.index
            .find(hash, |slot| self.records.get(slot).is_some_and(|record| record.key == *key))
    }

    /// The upper half: the better one of the hasher's.
    fn hash_of(&self, key: &K) -> u32 {
        (self.hasher.hash_one(key) >> u32::BITS) as u32
    }

    fn remember(&mut self, hash: u32, record: LogRecord<K>, at: CommitTime) {
        self.heap_bytes += record.key.heap_bytes();
        let position = record.position();
        let slot = self.records.insert(record);
        self.index.insert(hash, slot);
        self.order.push(OrderEntry::new(position, at, slot));
        self.follow(slot, OrderEntry::new(position, at, slot), false);
    }

    fn change(&mut self, slot: u32, op: Op, position: Position, at: CommitTime) {
        let Some(record) = self.records.get_mut(slot) else { return };
        if !record.exists {
            let ended = record.begin_again(position);
            if record.history == NO_PAST {
                record.history = self.histories.insert(PastLifetimes::new(slot));
            }
            let history = record.history;
            self.past.push(OrderEntry::new(position, at, history));
            self.heap_bytes += self.histories.get_mut(history).map_or(0, |h| h.push(ended));
        }
        record.touch(op, position);
        self.order.push(OrderEntry::new(position, at, slot));
        let records = &self.records;
        self.order.mark_superseded(|place| is_live(records, place));
        self.follow(slot, OrderEntry::new(position, at, slot), true);
    }

    fn follow(&mut self, slot: u32, place: OrderEntry, again: bool) {
        let records = &self.records;
        let Some(record) = records.get(slot) else { return };
        self.groups.touched(&record.key, place, again, |place| is_live(records, place));
    }

    /// Forgets the change, or the earlier lifetime of a row, that is first in commit order.
    /// Tells where the log begins then.
    pub(super) fn forget_oldest(&mut self) -> Option<(Position, CommitTime)> {
        let oldest = *self.oldest()?;
        match self.past.front() {
            Some(past) if past.position() <= oldest.position() => self.forget_lifetime(),
            _ => self.forget_record(),
        }
        if self.records.len() == 0 {
            *self = Self::default();
        }
        Some((oldest.position(), oldest.committed_at))
    }

    /// When the first thing in commit order was committed.
    pub(super) fn oldest_time(&mut self) -> Option<CommitTime> {
        self.oldest().map(|place| place.committed_at)
    }

    fn oldest(&mut self) -> Option<&OrderEntry> {
        let records = &self.records;
        self.order.skip_superseded(|place| is_live(records, place));
        let change = self.order.front()?;
        let past = self.past.front();
        past.filter(|past| past.position() <= change.position()).or(Some(change))
    }

    fn forget_lifetime(&mut self) {
        let Some(place) = self.past.pop_front() else { return };
        let Some(history) = self.histories.get_mut(place.slot) else { return };
        self.heap_bytes -= history.pop_front();
        if !history.is_empty() {
            return;
        }
        if let Some(record) = self.records.get_mut(history.record) {
            record.history = NO_PAST;
        }
        self.histories.remove(place.slot);
    }

    fn forget_record(&mut self) {
        let Some(place) = self.order.pop_front() else { return };
        let Some(hash) = self.records.get(place.slot).map(|r| self.hash_of(&r.key)) else {
            return;
        };
        self.index.remove(hash, place.slot);
        let records = &self.records;
        if let Some(record) = records.get(place.slot) {
            self.groups.forget(&record.key, |place| is_live(records, place));
        }
        if let Some(record) = self.records.remove(place.slot) {
            debug_assert_eq!(record.history, NO_PAST, "lifetimes are forgotten first");
            self.heap_bytes -= record.key.heap_bytes();
        }
    }

    pub(super) fn has_spare_chunk(&self) -> bool {
        self.records.free_len() >= super::SPARE
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.has_spare_chunk() && self.records.free_len() > self.records.len()
    }

    /// Moves the last chunk's records into free slots and gives its memory back.
    pub(super) fn release_chunk(&mut self) {
        for (from, to) in self.records.drop_last_chunk().unwrap_or_default() {
            let Some(record) = self.records.get(to) else { continue };
            self.index.rename(self.hash_of(&record.key), from, to);
            self.order.rename(record.position(), to);
            self.groups.rename(&record.key, record.position(), to);
            if let Some(history) = self.histories.get_mut(record.history) {
                history.record = to;
            }
        }
    }

    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = LatestChange<'_>> {
        self.order.after(position).filter_map(move |place| self.told(place, position))
    }

    /// What is to be told of the change at a place, if it is the last one to its id.
    pub(super) fn told(&self, place: &OrderEntry, after: Position) -> Option<LatestChange<'_>> {
        let record = self.records.get(place.slot)?;
        (record.position() == place.position()).then(|| LatestChange {
            key: record.key.key(),
            op: self.op_since(record, after),
            position: place.position(),
            committed_at: place.committed_at,
        })
    }

    /// What happened to the row from `position` on, at or after the floor and before its last
    /// change.
    fn op_since(&self, record: &LogRecord<K>, position: Position) -> Op {
        match record.exists {
            false => Op::Delete,
            true if self.existed_at(record, position) => Op::Update,
            true => Op::Insert,
        }
    }

    fn existed_at(&self, record: &LogRecord<K>, position: Position) -> bool {
        record.born() <= position
            || self.histories.get(record.history).is_some_and(|h| h.existed_at(position))
    }
}

/// Ids by themselves, in one order.
impl LogKey for Key {
    type Partitions = ();

    fn key(&self) -> &Key {
        self
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

impl<K> Groups<K> for () {
    fn touched(&mut self, _: &K, _: OrderEntry, _: bool, _: impl Fn(&OrderEntry) -> bool) {}
    fn forget(&mut self, _: &K, _: impl Fn(&OrderEntry) -> bool) {}
    fn rename(&mut self, _: &K, _: Position, _: u32) {}
    fn bytes(&self) -> usize {
        0
    }
}

/// Whether a place is that of its record's last change. Positions are unique, so the place of a
/// record that is gone is never taken for that of another one in the same slot.
fn is_live<K>(records: &Slab<LogRecord<K>>, place: &OrderEntry) -> bool {
    records.get(place.slot).is_some_and(|record| record.position() == place.position())
}
