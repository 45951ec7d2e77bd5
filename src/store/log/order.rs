//! The commit order of a table's changes.
//!
//! Every change adds an entry at the end, which supersedes that of the same id's change before.
//! Superseded entries are removed in small steps, one for every [`SEGMENT`] of them, by two rules
//! that bound the number a reader has to skip:
//!
//! * *Recent ones first.* The k-th step sweeps the last 1, 2, 4, … segments, as many as the
//!   largest power of two that divides k (at most [`RECENT`]). So the end of the order stays as
//!   short as the few hot ids that change all the time are many.
//! * *All in turn.* While more than a fifth of all entries is superseded, a step also sweeps
//!   [`ROTATION`] segments from where the last one stopped. So superseded entries stay a fraction of
//!   the live ones.
//!
//! What is left of a segment fills up the one before it. A step reads a bounded number of entries.

use std::collections::VecDeque;

use crate::change::CommitTime;
use crate::lsn::Lsn;
use crate::version::Position;

/// Entries in one segment.
const SEGMENT: usize = 1024;
/// Maximum number of segments at the end that one step sweeps by the first rule.
const RECENT: usize = 16;
/// Segments that one step sweeps by the second rule.
const ROTATION: usize = 8;

/// A change in commit order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderEntry {
    lsn: Lsn,
    pub(super) committed_at: CommitTime,
    ordinal: u32,
    /// The slot of the changed record.
    pub(super) slot: u32,
}

impl OrderEntry {
    pub(super) fn new(position: Position, committed_at: CommitTime, slot: u32) -> Self {
        Self { lsn: position.lsn, committed_at, ordinal: position.ordinal, slot }
    }

    pub(super) fn position(&self) -> Position {
        Position { lsn: self.lsn, ordinal: self.ordinal }
    }
}

/// Entries by rising position.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// No segment is empty.
    segments: VecDeque<VecDeque<OrderEntry>>,
    /// Number of entries, superseded ones included.
    len: usize,
    superseded: usize,
    /// Number of entries that all segments have memory for.
    allocated: usize,
    /// Entries superseded since the last step.
    since_step: usize,
    /// Number of steps done.
    steps: usize,
    /// Index of the segment with which the rotation continues.
    next: usize,
}

impl Order {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.allocated * size_of::<OrderEntry>()
            + self.segments.capacity() * size_of::<VecDeque<OrderEntry>>()
    }

    /// Adds an entry. Its position is greater than every other's.
    pub(super) fn push(&mut self, entry: OrderEntry) {
        debug_assert!(self.last().is_none_or(|last| last.position() < entry.position()));
        if self.segments.back().is_none_or(|segment| segment.len() >= SEGMENT) {
            // A small table's only segment grows step by step.
            let room = if self.segments.is_empty() { 0 } else { SEGMENT };
            self.segments.push_back(VecDeque::with_capacity(room));
            self.allocated += room;
        }
        if let Some(segment) = self.segments.back_mut() {
            self.allocated -= segment.capacity();
            segment.push_back(entry);
            self.allocated += segment.capacity();
            self.len += 1;
        }
    }

    pub(super) fn front(&self) -> Option<&OrderEntry> {
        self.segments.front()?.front()
    }

    pub(super) fn last(&self) -> Option<&OrderEntry> {
        self.segments.back()?.back()
    }

    /// Removes the first entry, which is a live one.
    pub(super) fn pop_front(&mut self) -> Option<OrderEntry> {
        let segment = self.segments.front_mut()?;
        let entry = segment.pop_front()?;
        self.len -= 1;
        if segment.is_empty() {
            self.allocated -= segment.capacity();
            self.segments.pop_front();
            self.next = self.next.saturating_sub(1);
        }
        Some(entry)
    }

    /// Removes superseded entries until the first one is live.
    pub(super) fn skip_superseded(&mut self, is_live: impl Fn(&OrderEntry) -> bool) {
        while self.front().is_some_and(|entry| !is_live(entry)) {
            self.pop_front();
            self.superseded -= 1;
        }
    }

    /// The entries after `position`, superseded ones included.
    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = &OrderEntry> {
        let is_before = |entry: &OrderEntry| entry.position() <= position;
        let first = self.segments.partition_point(|segment| segment.back().is_some_and(is_before));
        let start =
            self.segments.get(first).map_or(0, |segment| segment.partition_point(is_before));
        let (head, tail) = match self.segments.get(first) {
            Some(segment) => (Some(segment.range(start..)), self.segments.range(first + 1..)),
            None => (None, self.segments.range(..0)),
        };
        head.into_iter().flatten().chain(tail.flatten())
    }

    /// Gives the entry at `position` another slot.
    pub(super) fn rename(&mut self, position: Position, to: u32) {
        let before = |entry: &OrderEntry| entry.position() < position;
        let first = self.segments.partition_point(|segment| segment.back().is_some_and(before));
        let Some(segment) = self.segments.get_mut(first) else { return };
        let at = segment.partition_point(before);
        if let Some(entry) = segment.get_mut(at).filter(|entry| entry.position() == position) {
            entry.slot = to;
        }
    }

    /// Notes that an entry was superseded, and does a step when it is time.
    pub(super) fn mark_superseded(&mut self, is_live: impl Fn(&OrderEntry) -> bool) {
        self.superseded += 1;
        self.since_step += 1;
        if self.since_step < SEGMENT {
            return;
        }
        self.since_step = 0;
        self.steps += 1;
        let recent =
            (1 << self.steps.trailing_zeros().min(RECENT.ilog2())).min(self.segments.len());
        self.sweep(self.segments.len() - recent, recent, &is_live);
        if self.superseded * 5 > self.len {
            let start = if self.next < self.segments.len() { self.next } else { 0 };
            self.next = self.sweep(start, ROTATION, &is_live);
        }
    }

    /// Sweeps `count` segments from index `start`; returns the index after the last of them.
    fn sweep(
        &mut self,
        start: usize,
        count: usize,
        is_live: &impl Fn(&OrderEntry) -> bool,
    ) -> usize {
        let mut number = start;
        for _ in 0..count {
            let Some(segment) = self.segments.get_mut(number) else { break };
            let before = segment.len();
            segment.retain(is_live);
            self.len -= before - segment.len();
            self.superseded -= before - segment.len();
            if !self.pack_left(number) {
                number += 1;
            }
        }
        number
    }

    /// Fills the segment before this one with entries of this one. Drops this one if none is left;
    /// returns whether it was.
    fn pack_left(&mut self, number: usize) -> bool {
        let Some(mut segment) = self.segments.get_mut(number).map(std::mem::take) else {
            return false;
        };
        if let Some(left) = number.checked_sub(1).and_then(|left| self.segments.get_mut(left)) {
            let room = SEGMENT.saturating_sub(left.len()).min(segment.len());
            self.allocated -= left.capacity();
            left.extend(segment.drain(..room));
            self.allocated += left.capacity();
        }
        if segment.is_empty() {
            self.allocated -= segment.capacity();
            self.segments.remove(number);
            return true;
        }
        if let Some(entry) = self.segments.get_mut(number) {
            *entry = segment;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// An order with the expected position of every id.
    #[derive(Default)]
    struct TrackedOrder {
        order: Order,
        newest: HashMap<u32, u64>,
        lsn: u64,
    }

    impl TrackedOrder {
        fn touch(&mut self, slot: u32) {
            self.lsn += 8;
            let position = Position { lsn: Lsn(self.lsn), ordinal: 1 };
            self.order.push(OrderEntry::new(position, CommitTime(0), slot));
            if self.newest.insert(slot, self.lsn).is_some() {
                self.order
                    .mark_superseded(|entry| self.newest.get(&entry.slot) == Some(&entry.lsn.0));
            }
        }

        fn live_after(&self, lsn: u64) -> Vec<u64> {
            self.order
                .after(Position::after_commit(Lsn(lsn)))
                .filter(|entry| self.newest.get(&entry.slot) == Some(&entry.lsn.0))
                .map(|entry| entry.lsn.0)
                .collect()
        }

        fn check(&self) {
            let order = &self.order;
            assert_eq!(order.len, order.segments.iter().map(VecDeque::len).sum::<usize>());
            assert_eq!(order.superseded, order.len - self.newest.len());
            assert_eq!(
                order.allocated,
                order.segments.iter().map(VecDeque::capacity).sum::<usize>()
            );
            assert!(order.segments.iter().all(|segment| !segment.is_empty()));
            let mut expected: Vec<u64> = self.newest.values().copied().collect();
            expected.sort_unstable();
            assert_eq!(self.live_after(0), expected);
            for after in [0, self.lsn / 2, self.lsn - 8, self.lsn] {
                let tail: Vec<u64> = expected.iter().copied().filter(|lsn| *lsn > after).collect();
                assert_eq!(self.live_after(after), tail);
            }
        }
    }

    #[test]
    fn an_entry_is_24_bytes() {
        assert_eq!(size_of::<OrderEntry>(), 24);
    }

    #[test]
    fn a_hot_id_needs_little_memory() {
        let mut tracked = TrackedOrder::default();
        for _ in 0..300_000 {
            tracked.touch(1);
        }
        tracked.check();
        assert!(tracked.order.len < 2 * SEGMENT, "{}", tracked.order.len);
        assert!(tracked.order.bytes() < 100_000, "{}", tracked.order.bytes());
    }

    #[test]
    fn hot_ids_after_many_quiet_ones_stay_short_at_the_end() {
        let mut tracked = TrackedOrder::default();
        for slot in 0..100_000 {
            tracked.touch(slot);
        }
        let after = Position::after_commit(Lsn(tracked.lsn));
        for n in 0..100_000_u32 {
            tracked.touch(n % 2_000);
            let skipped = tracked.order.after(after).count();
            assert!(n < 20_000 || skipped < 10 * 2_000, "{skipped} after {n}");
        }
        tracked.check();
    }

    #[test]
    fn superseded_entries_stay_a_fraction_of_the_live_ones() {
        let mut tracked = TrackedOrder::default();
        let mut random = 1_u64;
        for _ in 0..400_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            tracked.touch(u32::try_from((random >> 33) % 50_000).unwrap());
        }
        tracked.check();
        assert!(tracked.order.superseded * 3 < tracked.order.len, "{}", tracked.order.superseded);
        let bytes_each = tracked.order.bytes() / tracked.newest.len();
        assert!(bytes_each < 36, "{bytes_each}");
    }

    #[test]
    fn entries_are_removed_at_the_front_and_can_be_renamed() {
        let mut tracked = TrackedOrder::default();
        for slot in 0..5_000 {
            tracked.touch(slot);
        }
        let position = Position { lsn: Lsn(4_000 * 8), ordinal: 1 };
        tracked.order.rename(position, 70_000);
        assert_eq!(tracked.order.after(position).next().map(|p| p.slot), Some(4_000));
        let renamed = tracked.order.after(Position::after_commit(Lsn(3_999 * 8))).next().unwrap();
        assert_eq!((renamed.position(), renamed.slot), (position, 70_000));
        for slot in 0..3_999 {
            assert_eq!(tracked.order.pop_front().map(|entry| entry.slot), Some(slot));
        }
        assert_eq!(tracked.order.len(), 1_001);
        tracked.touch(4_000);
        tracked.touch(4_001);
        assert_eq!(tracked.order.pop_front().map(|entry| entry.slot), Some(70_000));
        tracked
            .order
            .skip_superseded(|entry| tracked.newest.get(&entry.slot) == Some(&entry.lsn.0));
        assert_eq!(tracked.order.front().map(|entry| entry.slot), Some(4_002));
        assert_eq!(tracked.order.superseded, 0);
    }
}
