//! Marks of where the subtransactions of a streamed transaction began: pure.
//!
//! What a subtransaction did can be undone until the transaction commits, and the server reports
//! only the subtransactions that are rolled back. One rule of PostgreSQL makes it simple: while a
//! subtransaction runs, nothing else of its transaction writes. So whatever arrived since its first
//! change was its own or its children's, and rolling it back means truncating the transaction where
//! it began.
//!
//! Which of them may still be rolled back? A transaction's id is assigned before those of its
//! children. When one with a lower id writes, all with higher ids are its children and have ended:
//! they are part of it, and only it can be rolled back. So the marks are always in rising order,
//! and a change of the transaction itself removes them all.

use std::mem::size_of;

use crate::snapshot::Xid;

/// A position in what one transaction has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::source::postgres) struct BufferOffset {
    /// Ordinal of the last row before it.
    pub(super) ordinal: u32,
    pub(super) step: u64,
}

/// The beginning of a subtransaction.
#[derive(Clone, Copy, Debug)]
struct Savepoint {
    /// Distance of its id from its transaction's.
    after_top: u32,
    begins: BufferOffset,
}

/// The subtransactions that may still be rolled back, in rising order of ids and of positions.
#[derive(Debug, Default)]
pub(super) struct SubxactMarks(Vec<Savepoint>);

impl SubxactMarks {
    /// A change of subtransaction `xid` of `top`, or of `top` itself, arrives at this position.
    pub(super) fn enter(&mut self, top: Xid, xid: Xid, here: BufferOffset) {
        let after_top = xid.0.wrapping_sub(top.0);
        let children = self.0.partition_point(|mark| mark.after_top <= after_top);
        let begins = self.0.get(children).map_or(here, |mark| mark.begins);
        self.0.truncate(children);
        let is_marked = self.0.last().is_some_and(|mark| mark.after_top == after_top);
        if after_top > 0 && !is_marked {
            self.0.push(Savepoint { after_top, begins });
        }
    }

    /// Rolls back subtransaction `xid` of `top`; returns the position from which on everything is
    /// void, if there is anything.
    pub(super) fn roll_back(&mut self, top: Xid, xid: Xid) -> Option<BufferOffset> {
        let after_top = xid.0.wrapping_sub(top.0);
        let kept = self.0.partition_point(|mark| mark.after_top < after_top);
        let from = self.0.get(kept).map(|mark| mark.begins);
        self.0.truncate(kept);
        from
    }

    /// The segment between two marks that a row belongs to: a segment is kept or undone as a whole.
    pub(super) fn segment(&self, ordinal: u32) -> usize {
        self.0.partition_point(|mark| mark.begins.ordinal < ordinal)
    }

    /// Whether nothing can be rolled back.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all marks: nothing can be rolled back any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() * size_of::<Savepoint>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: Xid = Xid(u32::MAX - 1);

    fn sub(number: u32) -> Xid {
        Xid(TOP.0.wrapping_add(number))
    }

    fn place(ordinal: u32) -> BufferOffset {
        BufferOffset { ordinal, step: u64::from(ordinal) }
    }

    /// Marks after changes of these subtransactions, one row each; 0 is the transaction itself.
    fn after(subs: &[u32]) -> SubxactMarks {
        let mut marks = SubxactMarks::default();
        for (rows, number) in (0..).zip(subs) {
            marks.enter(TOP, sub(*number), place(rows));
        }
        marks
    }

    #[test]
    fn a_rollback_undoes_all_that_arrived_since_the_subtransaction_began() {
        assert_eq!(after(&[0, 1, 1]).roll_back(TOP, sub(1)), Some(place(1)));
        assert_eq!(after(&[0, 1, 2]).roll_back(TOP, sub(1)), Some(place(1)), "its child too");
        assert_eq!(after(&[0, 1, 2]).roll_back(TOP, sub(2)), Some(place(2)), "the child alone");
        assert_eq!(after(&[0, 1]).roll_back(TOP, sub(2)), None, "it sent nothing");
    }

    #[test]
    fn a_parent_that_writes_after_its_child_begins_where_the_child_did() {
        // The parent's first change comes after its child's.
        let mut marks = after(&[0, 2, 3, 1]);
        assert_eq!(marks.roll_back(TOP, sub(2)), None, "it is its parent's now");
        assert_eq!(marks.roll_back(TOP, sub(1)), Some(place(1)));
        assert!(marks.is_empty());
    }

    #[test]
    fn siblings_are_rolled_back_one_by_one_and_together() {
        let mut marks = after(&[0, 1, 2, 3]);
        assert_eq!(marks.roll_back(TOP, sub(3)), Some(place(3)));
        // Their parent never wrote: the server names each of them.
        assert_eq!(marks.roll_back(TOP, sub(1)), Some(place(1)));
        assert_eq!(marks.roll_back(TOP, sub(2)), None);
    }

    #[test]
    fn a_change_of_the_transaction_itself_removes_all_marks() {
        assert!(after(&[1, 2, 3, 0]).is_empty());
    }

    #[test]
    fn stretches_lie_between_marks() {
        let marks = after(&[0, 1, 1, 2]);
        let segments: Vec<usize> = (1..=4).map(|ordinal| marks.segment(ordinal)).collect();
        assert_eq!(segments, [0, 1, 1, 2]);
    }
}
