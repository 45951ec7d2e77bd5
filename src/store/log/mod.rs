//! One table's version log: the last change to each id, in commit order.
//!
//! * [`record`]: the state of one id, 48 bytes in a [`slab`].
//! * [`index`]: the records by key.
//! * [`order`]: the changes in commit order, 24 bytes each. A change to an id moves it to the end.
//!   A poll is one search for the client's position, then the entries after it.
//! * [`scoped`]: the same log for every scope of a table's rows.
//! * `past`: an order of the positions at which rows came to exist *again*. To report `insert` or
//!   `update` correctly to any client, the log must know whether the row existed at that client's
//!   version, so it keeps when the row's earlier lifetimes began and ended.
//!
//! Entries are evicted in commit order, and the *floor* rises with them: from the floor on every
//! change is known, below it none is. Rows' earlier lifetimes are evicted in the same order, by the
//! position at which a new one followed. As that is never after the row's last change, an evicted
//! record has no past lifetimes any more, and no reference dangles. (Lifetimes linked from record
//! to record would need less memory for each row that comes back, but a row that is deleted and
//! inserted many times, as a lock is, would cost readers a step for each time; here it costs them
//! one binary search.)

mod entries;
mod index;
mod order;
mod record;
mod scoped;
mod slab;

use crate::change::{CommitTime, Op};
use crate::key::Key;
use crate::version::Position;

pub(super) use entries::{LogEntries, LogKey};
pub(super) use scoped::ScopedLog;

/// One table's version log.
#[derive(Debug)]
pub(super) struct VersionLog<K: LogKey = Key> {
    entries: LogEntries<K>,
    floor: Position,
    floor_time: CommitTime,
    head: Position,
    /// The position of the last reset, or of the log's begin.
    reset_position: Position,
}

/// Eviction and expiry, implemented by every log.
pub(super) trait Evict {
    /// Number of entries: ids, and earlier lifetimes of rows.
    fn len(&self) -> usize;

    /// Memory allocated, in bytes.
    fn bytes(&self) -> usize;

    /// Evicts the oldest entry. Returns whether there was one.
    fn evict_oldest(&mut self) -> bool;

    /// Evicts the oldest entry if it was committed before `time`. Returns whether it was.
    fn expire_oldest(&mut self, time: CommitTime) -> bool;

    /// Whether a chunk of memory could be given back without an eviction.
    fn has_spare_chunk(&self) -> bool;

    /// Whether less than half of the memory for records is used, and a chunk could be given back.
    fn is_sparse(&self) -> bool;

    /// Gives a chunk of memory back: as much as [`SPARE`] evicted ids occupied.
    fn release_chunk(&mut self);
}

/// Number of evicted ids that make room for one chunk to be given back.
pub(super) const SPARE: usize = slab::CHUNK;

/// The last change to one id, relative to the position that a query starts after.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatestChange<'a> {
    pub(super) key: &'a Key,
    pub(super) op: Op,
    pub(super) position: Position,
    pub(super) committed_at: CommitTime,
}

impl<K: LogKey> VersionLog<K> {
    /// An empty log; no change at or before `floor` is known.
    pub(super) fn new(floor: Position, floor_time: CommitTime) -> Self {
        Self {
            entries: LogEntries::default(),
            floor,
            floor_time,
            head: floor,
            reset_position: floor,
        }
    }

    /// The oldest position from which every change is known.
    pub(super) fn floor(&self) -> Position {
        self.floor
    }

    /// When the floor was committed, or raised if that was between commits.
    pub(super) fn floor_time(&self) -> CommitTime {
        self.floor_time
    }

    /// The position of the newest change or reset. Never below the floor.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// The position of the last reset, or of the log's begin.
    pub(super) fn reset_position(&self) -> Position {
        self.reset_position
    }

    /// The position of the last change to an id, if that is in the log.
    pub(super) fn last_position(&self, key: &K) -> Option<Position> {
        self.entries.last_position(key)
    }

    /// Number of ids.
    pub(super) fn ids(&self) -> usize {
        self.entries.ids()
    }

    /// Adds a change, and evicts the oldest entries beyond `max_changes`.
    pub(super) fn apply(
        &mut self,
        key: K,
        op: Op,
        position: Position,
        committed_at: CommitTime,
        max_changes: usize,
    ) {
        debug_assert!(position > self.head, "changes come in commit order");
        self.entries.apply(key, op, position, committed_at);
        self.head = position;
        while self.len() > max_changes && self.evict_oldest() {}
    }

    /// Removes everything up to `floor`, which is beyond every change so far. Returns the entries,
    /// because dropping them may take longer than the lock should be held.
    pub(super) fn reset(&mut self, floor: Position, floor_time: CommitTime) -> LogEntries<K> {
        self.floor = floor;
        self.reset_position = floor;
        self.floor_time = floor_time;
        self.head = floor;
        std::mem::take(&mut self.entries)
    }

    /// The entries, to be dropped where no lock is held.
    pub(super) fn into_entries(self) -> LogEntries<K> {
        self.entries
    }

    /// The last change of each id changed after `position`, in commit order, with the operation
    /// relative to `position`, which must not be below the floor.
    ///
    /// A row that did not exist at `position` and does not now is a `delete` all the same: a client
    /// that got a reset may have read the table *after* the version it was given, and have the
    /// row.
    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = LatestChange<'_>> {
        self.entries.after(position)
    }
}

impl<K: LogKey> Evict for VersionLog<K> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn bytes(&self) -> usize {
        self.entries.bytes()
    }

    fn evict_oldest(&mut self) -> bool {
        let Some((position, committed_at)) = self.entries.evict_oldest() else { return false };
        self.floor = position;
        self.floor_time = committed_at;
        true
    }

    fn expire_oldest(&mut self, time: CommitTime) -> bool {
        self.entries.oldest_time().is_some_and(|oldest| oldest < time) && self.evict_oldest()
    }

    fn has_spare_chunk(&self) -> bool {
        self.entries.has_spare_chunk()
    }

    fn is_sparse(&self) -> bool {
        self.entries.is_sparse()
    }

    fn release_chunk(&mut self) {
        self.entries.release_chunk();
    }
}

#[cfg(test)]
mod tests;
