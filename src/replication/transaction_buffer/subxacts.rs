//! Where the subtransactions of a streamed transaction began: pure.
//!
//! What a subtransaction did can be taken back until the transaction commits, and the server says so
//! only of those that are rolled back. One rule of PostgreSQL makes it simple: while a subtransaction
//! runs, nothing else of its transaction writes. So whatever came since its first change was its own
//! or its children's, and to roll it back is to cut the transaction off where it began.
//!
//! Which of them may still be cut off? A transaction's id is given out before those of its children.
//! When one with a lower id writes, all with higher ids are its children and have ended: they are part
//! of it, and only it can be rolled back. So the marks that stand are always in rising order, and a
//! change of the transaction itself takes them all away.

use std::mem::size_of;

use crate::snapshot::Xid;

/// A place in what one transaction has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::replication) struct BufferOffset {
    /// The last row counted before it.
    pub(super) ordinal: u32,
    /// The last step before it.
    pub(super) step: u64,
}

/// The beginning of a subtransaction.
#[derive(Clone, Copy, Debug)]
struct Savepoint {
    /// How many ids after its transaction's it was given its own.
    after_top: u32,
    begins: BufferOffset,
}

/// The subtransactions that may still be rolled back, in rising order of ids and of places.
#[derive(Debug, Default)]
pub(super) struct SubxactMarks(Vec<Savepoint>);

impl SubxactMarks {
    /// Something of subtransaction `xid` of `top`, or of `top` itself, comes at this place.
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

    /// Subtransaction `xid` of `top` is rolled back: answers from where on everything is void, if
    /// there is anything.
    pub(super) fn roll_back(&mut self, top: Xid, xid: Xid) -> Option<BufferOffset> {
        let after_top = xid.0.wrapping_sub(top.0);
        let kept = self.0.partition_point(|mark| mark.after_top < after_top);
        let from = self.0.get(kept).map(|mark| mark.begins);
        self.0.truncate(kept);
        from
    }

    /// Which stretch between two marks a row belongs to: within one everything stays or goes together.
    pub(super) fn stretch(&self, ordinal: u32) -> usize {
        self.0.partition_point(|mark| mark.begins.ordinal < ordinal)
    }

    /// Whether nothing can be cut off.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing can be cut off any more.
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
    fn a_subtransaction_is_cut_off_with_all_that_came_since_it_began() {
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
    fn siblings_go_one_by_one_and_together() {
        let mut marks = after(&[0, 1, 2, 3]);
        assert_eq!(marks.roll_back(TOP, sub(3)), Some(place(3)));
        // Their parent never wrote: the server names each of them.
        assert_eq!(marks.roll_back(TOP, sub(1)), Some(place(1)));
        assert_eq!(marks.roll_back(TOP, sub(2)), None);
    }

    #[test]
    fn what_the_transaction_itself_writes_ends_all() {
        assert!(after(&[1, 2, 3, 0]).is_empty());
    }

    #[test]
    fn stretches_lie_between_marks() {
        let marks = after(&[0, 1, 1, 2]);
        let stretches: Vec<usize> = (1..=4).map(|ordinal| marks.stretch(ordinal)).collect();
        assert_eq!(stretches, [0, 1, 1, 2]);
    }
}
