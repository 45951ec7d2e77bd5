//! The net change of one row inside a transaction.

use crate::change::{Change, Op, ScopeTransition};
use crate::scope::ScopeValues;

/// The net effect of a row's changes.
pub(super) struct NetChange {
    existed_before: bool,
    exists_after: bool,
    /// Ordinal of its last change.
    ordinal: u32,
    /// Ordinal of the change before that, if there is one.
    earlier: Option<u32>,
    /// Its scope before and after the changes.
    scope: ScopeTransition,
    /// Whether earlier changes of the row may exist that are not merged with these.
    has_earlier: bool,
}

impl NetChange {
    /// The first change of the row in a segment; `has_earlier` if that is not the transaction's
    /// first segment.
    pub(super) fn first(change: &Change, has_earlier: bool) -> Self {
        let scope = change.scope.as_deref();
        let after = scope.and_then(|scope| scope.after.clone());
        // An update without an old scope left the scope unchanged.
        let before = scope.and_then(|scope| scope.before.clone());
        let before = before.or_else(|| after.clone().filter(|_| change.op == Op::Update));
        Self {
            existed_before: change.op != Op::Insert,
            exists_after: change.op != Op::Delete,
            ordinal: change.ordinal,
            earlier: None,
            scope: ScopeTransition { before, after },
            has_earlier,
        }
    }

    pub(super) fn append(&mut self, change: &Change) {
        self.exists_after = change.op != Op::Delete;
        self.earlier = Some(self.ordinal);
        self.ordinal = change.ordinal;
        self.scope.after = change.scope.as_deref().and_then(|scope| scope.after.clone());
    }

    /// Turns one of the changes into what is reported in its place; `false` if that is nothing.
    ///
    /// A row that has left its scope meanwhile is reported as two changes: at the ordinal of the
    /// last one alone there may be no room for a second, because another row's key changed there.
    /// The same holds for a row that came and went, if an earlier change of it may exist: its last
    /// ordinal is that of its last change on every instance.
    pub(super) fn keep(&self, change: &mut Change) -> bool {
        let (is_last, is_earlier) =
            (change.ordinal == self.ordinal, Some(change.ordinal) == self.earlier);
        let ScopeTransition { before, after } = &self.scope;
        match (self.existed_before, self.exists_after) {
            _ if self.earlier.is_none() => true,
            (true, true) if before != after => {
                if is_last {
                    replace(change, Op::Insert, None, after.as_ref());
                } else {
                    replace(change, Op::Delete, before.as_ref(), None);
                }
                is_last || is_earlier
            }
            (false, false) if self.has_earlier && is_earlier => {
                change.op = Op::Insert;
                if let Some(scope) = &mut change.scope {
                    scope.before = None;
                }
                true
            }
            (false, false) if self.has_earlier => is_last,
            (false, true) if is_last => replace(change, Op::Insert, None, after.as_ref()),
            (true, true) if is_last => replace(change, Op::Update, None, after.as_ref()),
            (true, false) if is_last => replace(change, Op::Delete, before.as_ref(), None),
            _ => false,
        }
    }
}

fn replace(
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
