//! The state of one id: its last change, and since when its row exists.

use std::collections::VecDeque;

use crate::change::Op;
use crate::lsn::Lsn;
use crate::version::Position;

/// The slot of a record without past lifetimes in the log.
pub(super) const NO_PAST: u32 = u32::MAX;

/// The newest state of one id. Positions are kept in parts, for 48 bytes instead of 64.
#[derive(Debug)]
pub(super) struct LogRecord<K> {
    pub(super) key: K,
    lsn: Lsn,
    born_lsn: Lsn,
    ordinal: u32,
    born_ordinal: u32,
    /// Slot of the row's earlier lifetimes, or [`NO_PAST`].
    pub(super) past: u32,
    /// Whether the last change left the row existing.
    pub(super) exists: bool,
}

impl<K> LogRecord<K> {
    /// The record of an id that is not in the log. Unless this change inserts it, its row existed
    /// before: it could not be updated or deleted otherwise.
    pub(super) fn new(key: K, op: Op, position: Position) -> Self {
        let born = if op == Op::Insert { position } else { Position::START };
        Self {
            key,
            lsn: position.lsn,
            born_lsn: born.lsn,
            ordinal: position.ordinal,
            born_ordinal: born.ordinal,
            past: NO_PAST,
            exists: op != Op::Delete,
        }
    }

    /// The position of the last change.
    pub(super) fn position(&self) -> Position {
        Position { lsn: self.lsn, ordinal: self.ordinal }
    }

    /// The position at which the row's present lifetime began (the last one, if it is deleted);
    /// [`Position::START`] if that was before the floor.
    pub(super) fn born(&self) -> Position {
        Position { lsn: self.born_lsn, ordinal: self.born_ordinal }
    }

    pub(super) fn touch(&mut self, op: Op, position: Position) {
        self.lsn = position.lsn;
        self.ordinal = position.ordinal;
        self.exists = op != Op::Delete;
    }

    /// Begins another lifetime of a deleted row. Returns the one that ended.
    pub(super) fn begin_again(&mut self, born: Position) -> Lifetime {
        let ended = Lifetime::new(self.born(), self.position());
        self.born_lsn = born.lsn;
        self.born_ordinal = born.ordinal;
        ended
    }
}

/// The positions at which an earlier lifetime of the row began and ended, in parts like those of a
/// [`LogRecord`].
#[derive(Debug)]
pub(super) struct Lifetime {
    born_lsn: Lsn,
    died_lsn: Lsn,
    born_ordinal: u32,
    died_ordinal: u32,
}

impl Lifetime {
    fn new(born: Position, died: Position) -> Self {
        Self {
            born_lsn: born.lsn,
            died_lsn: died.lsn,
            born_ordinal: born.ordinal,
            died_ordinal: died.ordinal,
        }
    }

    fn born(&self) -> Position {
        Position { lsn: self.born_lsn, ordinal: self.born_ordinal }
    }

    fn died(&self) -> Position {
        Position { lsn: self.died_lsn, ordinal: self.died_ordinal }
    }
}

/// The lifetimes of a row before the one in its record, in order.
#[derive(Debug)]
pub(super) struct PastLifetimes {
    /// Slot of the row's record.
    pub(super) record: u32,
    lifetimes: VecDeque<Lifetime>,
}

impl PastLifetimes {
    pub(super) fn new(record: u32) -> Self {
        Self { record, lifetimes: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lifetimes.is_empty()
    }

    /// Adds a lifetime. Returns the bytes of memory by which this grew.
    pub(super) fn push(&mut self, ended: Lifetime) -> usize {
        let before = self.heap_bytes();
        if self.lifetimes.is_empty() {
            // Most rows that are inserted again are so once.
            self.lifetimes.reserve_exact(1);
        }
        self.lifetimes.push_back(ended);
        self.heap_bytes() - before
    }

    /// Removes the earliest lifetime. Returns the bytes of memory by which this shrank.
    pub(super) fn pop_front(&mut self) -> usize {
        let before = self.heap_bytes();
        self.lifetimes.pop_front();
        if self.lifetimes.len() * 4 < self.lifetimes.capacity() {
            self.lifetimes.shrink_to(self.lifetimes.len() * 2);
        }
        before - self.heap_bytes()
    }

    /// Whether the row existed at `position`, in one of these lifetimes.
    pub(super) fn existed_at(&self, position: Position) -> bool {
        let begun = self.lifetimes.partition_point(|lifetime| lifetime.born() <= position);
        let last = begun.checked_sub(1).and_then(|last| self.lifetimes.get(last));
        last.is_some_and(|lifetime| position < lifetime.died())
    }

    fn heap_bytes(&self) -> usize {
        self.lifetimes.capacity() * size_of::<Lifetime>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn at(lsn: u64) -> Position {
        Position { lsn: Lsn(lsn * 8), ordinal: 1 }
    }

    #[test]
    fn a_record_is_48_bytes_also_in_a_slab() {
        assert_eq!(size_of::<LogRecord<Key>>(), 48);
        assert_eq!(size_of::<Option<LogRecord<Key>>>(), 48);
        assert_eq!(size_of::<Lifetime>(), 24);
    }

    #[test]
    fn only_an_insert_shows_when_a_row_came_to_exist() {
        let born = |op| LogRecord::new(Key::integer(1), op, at(5)).born();
        assert_eq!(born(Op::Insert), at(5));
        assert_eq!(born(Op::Update), Position::START);
        assert_eq!(born(Op::Delete), Position::START);
    }

    #[test]
    fn past_lifetimes_know_when_the_row_existed() {
        let mut record = LogRecord::new(Key::integer(1), Op::Delete, at(3));
        let mut past = PastLifetimes::new(0);
        past.push(record.begin_again(at(5)));
        record.touch(Op::Insert, at(5));
        record.touch(Op::Delete, at(7));
        // Deleted again without an insert in between: no lifetime.
        past.push(record.begin_again(at(9)));
        record.touch(Op::Delete, at(9));
        past.push(record.begin_again(at(11)));
        let existed: Vec<u64> = (1..12).filter(|lsn| past.existed_at(at(*lsn))).collect();
        assert_eq!(existed, [1, 2, 5, 6]);
        past.pop_front();
        assert!(!past.existed_at(at(2)));
        assert!(past.existed_at(at(6)));
        past.pop_front();
        assert!(!past.is_empty());
        past.pop_front();
        assert!(past.is_empty());
        assert_eq!(past.heap_bytes(), 0);
    }
}
