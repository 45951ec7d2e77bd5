//! The changes of one row inside a transaction, as seen from outside.

use crate::change::{Change, Op, ScopeTransition};
use crate::scope::ScopeValues;

/// What became of the row in sum.
pub(super) struct NetChange {
    existed_before: bool,
    exists_after: bool,
    /// Of its last change.
    ordinal: u32,
    /// Of the change before that, if there is one.
    earlier: Option<u32>,
    /// The scope it was in before the transaction, and is in after it.
    scope: ScopeTransition,
    /// Whether changes of the row may stand before these that are not merged with them.
    follows: bool,
}

impl NetChange {
    /// The first change of the row in a stretch; `follows` when that is not the transaction's first.
    pub(super) fn first(change: &Change, follows: bool) -> Self {
        let scope = change.scope.as_deref();
        let after = scope.and_then(|scope| scope.after.clone());
        // An update that names no scope before it left the row where it was.
        let before = scope.and_then(|scope| scope.before.clone());
        let before = before.or_else(|| after.clone().filter(|_| change.op == Op::Update));
        Self {
            existed_before: change.op != Op::Insert,
            exists_after: change.op != Op::Delete,
            ordinal: change.ordinal,
            earlier: None,
            scope: ScopeTransition { before, after },
            follows,
        }
    }

    pub(super) fn then(&mut self, change: &Change) {
        self.exists_after = change.op != Op::Delete;
        self.earlier = Some(self.ordinal);
        self.ordinal = change.ordinal;
        self.scope.after = change.scope.as_deref().and_then(|scope| scope.after.clone());
    }

    /// Makes of one of the changes what is told in its place; `false` if that is nothing.
    ///
    /// A row that has left its scope meanwhile is told as two changes: at the place of the last one
    /// alone there may be no room for a second, because another row's key changed there. And so is one
    /// that came and went, where an earlier change of it may stand: its last place is where the row
    /// changed last, on every instance.
    pub(super) fn keep(&self, change: &mut Change) -> bool {
        let (is_last, is_earlier) =
            (change.ordinal == self.ordinal, Some(change.ordinal) == self.earlier);
        let ScopeTransition { before, after } = &self.scope;
        match (self.existed_before, self.exists_after) {
            _ if self.earlier.is_none() => true,
            (true, true) if before != after => {
                if is_last {
                    tell(change, Op::Insert, None, after.as_ref());
                } else {
                    tell(change, Op::Delete, before.as_ref(), None);
                }
                is_last || is_earlier
            }
            (false, false) if self.follows && is_earlier => {
                change.op = Op::Insert;
                if let Some(scope) = &mut change.scope {
                    scope.before = None;
                }
                true
            }
            (false, false) if self.follows => is_last,
            (false, true) if is_last => tell(change, Op::Insert, None, after.as_ref()),
            (true, true) if is_last => tell(change, Op::Update, None, after.as_ref()),
            (true, false) if is_last => tell(change, Op::Delete, before.as_ref(), None),
            _ => false,
        }
    }
}

fn tell(
    change: &mut Change,
    op: Op,
    before: Option<&ScopeValues>,
    after: Option<&ScopeValues>,
) -> bool {
    change.op = op;
    if change.scope.is_some() {
        change.scope =
            Some(Box::new(ScopeTransition { before: before.cloned(), after: after.cloned() }));
    }
    true
}
