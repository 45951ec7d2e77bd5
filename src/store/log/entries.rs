//! The entries of a log, without its floor.

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

/// The identity of a log's entries: a row's id, or an id within a scope.
pub(crate) trait LogKey: Eq + Hash + Debug {
    /// Additional orders of the changes, one for each group of ids that is read by itself.
    type Partitions: Partitions<Self>;

    /// The row's id.
    fn key(&self) -> &Key;

    /// Memory on the heap, in bytes.
    fn heap_bytes(&self) -> usize;
}

/// Orders of changes by group of ids, which follow the order of all changes. `is_live` is true for an
/// entry while it is that of its record's last change.
pub(crate) trait Partitions<K: ?Sized>: Debug + Default {
    /// Adds the entry of a change. `again` if it supersedes an earlier entry of the id.
    fn add(
        &mut self,
        id: &K,
        entry: OrderEntry,
        again: bool,
        is_live: impl Fn(&OrderEntry) -> bool,
    );

    /// Removes the id's last change, the oldest of all, before its record is evicted.
    fn evict(&mut self, id: &K, is_live: impl Fn(&OrderEntry) -> bool);

    /// Notes that the id's record has another slot now.
    fn rename(&mut self, id: &K, position: Position, to: u32);

    /// Memory allocated, in bytes.
    fn bytes(&self) -> usize;
}

/// Records with their index and their order, and the earlier lifetimes of rows.
#[derive(Debug)]
pub(crate) struct LogEntries<K: LogKey> {
    records: Slab<LogRecord<K>>,
    /// By key, every record.
    index: Index,
    /// The last change of every record. An entry whose position is not its record's is superseded.
    order: Order,
    /// The positions at which a row came to exist again; the slot is that of the [`PastLifetimes`],
    /// whose first lifetime ended before. None of these entries is superseded.
    past: Order,
    lifetimes: Slab<PastLifetimes>,
    /// Keys are chosen by the users of the application, so the hashes must not be predictable:
    /// this one is seeded at random.
    hasher: DefaultHashBuilder,
    /// Memory that keys and lifetimes have on the heap.
    heap_bytes: usize,
    pub(super) partitions: K::Partitions,
}

impl<K: LogKey> Default for LogEntries<K> {
    fn default() -> Self {
        Self {
            records: Slab::default(),
            index: Index::default(),
            order: Order::default(),
            past: Order::default(),
            lifetimes: Slab::default(),
            hasher: DefaultHashBuilder::default(),
            heap_bytes: 0,
            partitions: K::Partitions::default(),
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
            + self.lifetimes.bytes()
            + self.heap_bytes
            + self.partitions.bytes()
    }

    pub(super) fn apply(&mut self, key: K, op: Op, position: Position, at: CommitTime) {
        let hash = self.hash_of(&key);
        match self.find(hash, &key) {
            Some(slot) => self.change(slot, op, position, at),
            None => self.add(hash, LogRecord::new(key, op, position), at),
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

    /// The upper half of the hash: the better one of this hasher.
    fn hash_of(&self, key: &K) -> u32 {
        (self.hasher.hash_one(key) >> u32::BITS) as u32
    }

    fn add(&mut self, hash: u32, record: LogRecord<K>, at: CommitTime) {
        self.heap_bytes += record.key.heap_bytes();
        let position = record.position();
        let slot = self.records.insert(record);
        self.index.insert(hash, slot);
        self.order.push(OrderEntry::new(position, at, slot));
        self.add_to_partition(slot, OrderEntry::new(position, at, slot), false);
    }

    fn change(&mut self, slot: u32, op: Op, position: Position, at: CommitTime) {
        let Some(record) = self.records.get_mut(slot) else { return };
        if !record.exists {
            let ended = record.begin_again(position);
            if record.past == NO_PAST {
                record.past = self.lifetimes.insert(PastLifetimes::new(slot));
            }
            let past = record.past;
            self.past.push(OrderEntry::new(position, at, past));
            self.heap_bytes += self.lifetimes.get_mut(past).map_or(0, |past| past.push(ended));
        }
        record.touch(op, position);
        self.order.push(OrderEntry::new(position, at, slot));
        let records = &self.records;
        self.order.mark_superseded(|entry| is_live(records, entry));
        self.add_to_partition(slot, OrderEntry::new(position, at, slot), true);
    }

    fn add_to_partition(&mut self, slot: u32, entry: OrderEntry, again: bool) {
        let records = &self.records;
        let Some(record) = records.get(slot) else { return };
        self.partitions.add(&record.key, entry, again, |entry| is_live(records, entry));
    }

    /// Evicts the change, or the earlier lifetime of a row, that is first in commit order. Returns its
    /// position and time: the log's new floor.
    pub(super) fn evict_oldest(&mut self) -> Option<(Position, CommitTime)> {
        let oldest = *self.oldest()?;
        match self.past.front() {
            Some(past) if past.position() <= oldest.position() => self.evict_lifetime(),
            _ => self.evict_record(),
        }
        if self.records.len() == 0 {
            *self = Self::default();
        }
        Some((oldest.position(), oldest.committed_at))
    }

    /// When the first entry in commit order was committed.
    pub(super) fn oldest_time(&mut self) -> Option<CommitTime> {
        self.oldest().map(|entry| entry.committed_at)
    }

    fn oldest(&mut self) -> Option<&OrderEntry> {
        let records = &self.records;
        self.order.skip_superseded(|entry| is_live(records, entry));
        let change = self.order.front()?;
        let past = self.past.front();
        past.filter(|past| past.position() <= change.position()).or(Some(change))
    }

    fn evict_lifetime(&mut self) {
        let Some(entry) = self.past.pop_front() else { return };
        let Some(past) = self.lifetimes.get_mut(entry.slot) else { return };
        self.heap_bytes -= past.pop_front();
        if !past.is_empty() {
            return;
        }
        if let Some(record) = self.records.get_mut(past.record) {
            record.past = NO_PAST;
        }
        self.lifetimes.remove(entry.slot);
    }

    fn evict_record(&mut self) {
        let Some(entry) = self.order.pop_front() else { return };
        let Some(hash) = self.records.get(entry.slot).map(|r| self.hash_of(&r.key)) else {
            return;
        };
        self.index.remove(hash, entry.slot);
        let records = &self.records;
        if let Some(record) = records.get(entry.slot) {
            self.partitions.evict(&record.key, |entry| is_live(records, entry));
        }
        if let Some(record) = self.records.remove(entry.slot) {
            debug_assert_eq!(record.past, NO_PAST, "lifetimes are evicted first");
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
            self.partitions.rename(&record.key, record.position(), to);
            if let Some(past) = self.lifetimes.get_mut(record.past) {
                past.record = to;
            }
        }
    }

    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = LatestChange<'_>> {
        self.order.after(position).filter_map(move |entry| self.latest(entry, position))
    }

    /// The change of an entry relative to `after`, if it is the last one to its id.
    pub(super) fn latest(&self, entry: &OrderEntry, after: Position) -> Option<LatestChange<'_>> {
        let record = self.records.get(entry.slot)?;
        (record.position() == entry.position()).then(|| LatestChange {
            key: record.key.key(),
            op: self.op_since(record, after),
            position: entry.position(),
            committed_at: entry.committed_at,
        })
    }

    /// The operation that leads from the row at `position` to the row now. The position is at or after
    /// the floor and before the row's last change.
    fn op_since(&self, record: &LogRecord<K>, position: Position) -> Op {
        match record.exists {
            false => Op::Delete,
            true if self.existed_at(record, position) => Op::Update,
            true => Op::Insert,
        }
    }

    fn existed_at(&self, record: &LogRecord<K>, position: Position) -> bool {
        record.born() <= position
            || self.lifetimes.get(record.past).is_some_and(|past| past.existed_at(position))
    }
}

/// Unscoped ids have one order, and no partitions.
impl LogKey for Key {
    type Partitions = ();

    fn key(&self) -> &Key {
        self
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

impl<K> Partitions<K> for () {
    fn add(&mut self, _: &K, _: OrderEntry, _: bool, _: impl Fn(&OrderEntry) -> bool) {}
    fn evict(&mut self, _: &K, _: impl Fn(&OrderEntry) -> bool) {}
    fn rename(&mut self, _: &K, _: Position, _: u32) {}
    fn bytes(&self) -> usize {
        0
    }
}

/// Whether an entry is that of its record's last change. Positions are unique, so the entry of an
/// evicted record is never taken for that of another one in the same slot.
fn is_live<K>(records: &Slab<LogRecord<K>>, entry: &OrderEntry) -> bool {
    records.get(entry.slot).is_some_and(|record| record.position() == entry.position())
}
