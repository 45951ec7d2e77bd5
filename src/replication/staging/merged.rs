//! Several changes of one row, told as one.

use crate::change::{Change, Op};

/// The changes of one row inside a transaction, as seen from outside.
pub(super) struct Merged {
    existed_before: bool,
    exists_after: bool,
    /// Of its last change.
    pub(super) ordinal: u32,
}

impl Merged {
    pub(super) fn first(change: &Change) -> Self {
        Self {
            existed_before: change.op != Op::Insert,
            exists_after: change.op != Op::Delete,
            ordinal: change.ordinal,
        }
    }

    pub(super) fn then(&mut self, change: &Change) {
        self.exists_after = change.op != Op::Delete;
        self.ordinal = change.ordinal;
    }

    pub(super) fn op(&self) -> Option<Op> {
        match (self.existed_before, self.exists_after) {
            (false, true) => Some(Op::Insert),
            (true, true) => Some(Op::Update),
            (true, false) => Some(Op::Delete),
            (false, false) => None,
        }
    }
}
