//! One table's version log: the last change to each id, in commit order.
//!
//! * [`record`] what is known of one id: 48 bytes, in a [`slab`].
//! * [`index`] finds an id's record by its key.
//! * [`order`] lists the changes in commit order, 24 bytes each. Touching an id moves it to the
//!   end. A poll is one search for the client's position, then the places after it.
//! * [`scoped`] tells each scope of a table's rows what concerns it.
//! * `past` lists, in the same way, where rows came to exist *again*. To say `insert` or `update`
//!   truly to any client, the log must know whether the row existed at that client's version,
//!   so it keeps when the row's earlier lifetimes began and ended.
//!
//! What is remembered is forgotten in commit order, and the *floor* rises with it: from the floor
//! on everything can be told, below nothing is. Rows' earlier lifetimes are forgotten in the same
//! order, by where they were followed by a new one. As that is never after the row's last
//! change, a record that is forgotten has no history any more, and no reference dangles. (A
//! history linked from record to record would do with less memory for each row that comes back,
//! but a row that is deleted and inserted again and again, as a lock is, would cost readers a
//! step for each time; here it costs them one binary search.)

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
    /// Where the last reset was, or where the log began.
    began: Position,
}

/// What is done to any log, whatever it tells of.
pub(super) trait Evict {
    /// What is remembered: ids, and earlier lifetimes of rows.
    fn len(&self) -> usize;

    /// Memory allocated.
    fn bytes(&self) -> usize;

    /// Forgets the oldest thing remembered, if there is one.
    fn evict_oldest(&mut self) -> bool;

    /// Forgets the oldest thing remembered if it was committed before `time`.
    fn expire_oldest(&mut self, time: CommitTime) -> bool;

    /// Whether a part of the memory could be given back without forgetting anything.
    fn has_spare_chunk(&self) -> bool;

    /// Whether less than half of the memory for records is used, and some could be given back.
    fn is_sparse(&self) -> bool;

    /// Gives a part of the memory back: as much as [`SPARE`] forgotten ids occupied.
    fn release_chunk(&mut self);
}

/// How many forgotten ids make room for one chunk to be given back.
pub(super) const SPARE: usize = slab::CHUNK;

/// One id's last change, relative to some position.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatestChange<'a> {
    pub(super) key: &'a Key,
    pub(super) op: Op,
    pub(super) position: Position,
    pub(super) committed_at: CommitTime,
}

impl<K: LogKey> VersionLog<K> {
    /// An empty log that knows nothing of what was at or before `floor`.
    pub(super) fn new(floor: Position, floor_time: CommitTime) -> Self {
        Self { entries: LogEntries::default(), floor, floor_time, head: floor, began: floor }
    }

    /// The oldest position from which every change can be told.
    pub(super) fn floor(&self) -> Position {
        self.floor
    }

    /// When the floor was committed, or raised if that was between commits.
    pub(super) fn floor_time(&self) -> CommitTime {
        self.floor_time
    }

    /// The newest change or reset. Never below the floor.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// Where the last reset was, or where the log began.
    pub(super) fn reset_position(&self) -> Position {
        self.began
    }

    /// Where the last change of an id is, if it is remembered.
    pub(super) fn last_position(&self, key: &K) -> Option<Position> {
        self.entries.last_position(key)
    }

    /// Ids remembered.
    pub(super) fn ids(&self) -> usize {
        self.entries.ids()
    }

    /// Takes a change, and forgets the oldest ones beyond `max_changes`.
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

    /// Forgets everything up to `floor`, which is beyond every change so far. What was held is
    /// handed out, because dropping it may take longer than the lock should be held.
    pub(super) fn reset(&mut self, floor: Position, floor_time: CommitTime) -> LogEntries<K> {
        self.floor = floor;
        self.began = floor;
        self.floor_time = floor_time;
        self.head = floor;
        std::mem::take(&mut self.entries)
    }

    /// What is held, to be dropped where no lock is held.
    pub(super) fn into_entries(self) -> LogEntries<K> {
        self.entries
    }

    /// The last change of each id changed after `position`, in commit order, with the operation
    /// that is true relative to `position`, which must not be below the floor.
    ///
    /// A row that did not exist at `position` and does not now is told as `delete` all the same.
    /// A client that was sent to read the table may have read it *after* the version it was
    /// given, and hold the row.
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
        let Some((position, committed_at)) = self.entries.forget_oldest() else { return false };
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
