//! Row changes: the id, and the row where rows are cached.

use super::{Assembler, CurrentTransaction};
use crate::change::{Op, ResetReason, ScopeTransition};
use crate::key::Key;
use crate::pgoutput::{OldTuple, Tuple};
use crate::row::{RowAfter, RowChange};
use crate::scope::ScopeValues;
use crate::source::postgres::relation::{ScopedKey, TrackedRelation};
use crate::source::postgres::row_layout::Scratch;
use crate::source::postgres::transaction_buffer::TransactionBuffer;
use crate::table::{TableOid, Tracking};

impl Assembler {
    pub(super) fn insert(&mut self, oid: TableOid, new: Tuple<'_>) {
        self.change(oid, |relation, stager| {
            let ScopedKey { key, scope } = relation.read_row(new, None).ok()?;
            stager.row(relation, &key, new, None, None);
            stager.buffer.push(oid, Op::Insert, key, transition(None, scope));
            Some(())
        });
    }

    pub(super) fn update(&mut self, oid: TableOid, old: Option<OldTuple<'_>>, new: Tuple<'_>) {
        self.change(oid, |relation, stager| {
            let now = relation.read_row(new, old).ok()?;
            let before = old.map(|old| relation.read_old_row(old)).transpose().ok()?;
            // Without the old tuple, the old scope is known only if it is part of the key.
            if before.is_none() && relation.requires_old_rows() {
                return None;
            }
            let other_key =
                before.as_ref().map(|before| &before.key).filter(|key| **key != now.key);
            stager.row(relation, &now.key, new, old.as_ref(), other_key);
            match before {
                Some(before) if before.key != now.key => {
                    stager.deleted(relation, &before.key);
                    stager.buffer.push_key_change(oid, before, now);
                }
                before => {
                    let before = before.and_then(|before| before.scope);
                    let before = before.filter(|before| Some(before) != now.scope.as_ref());
                    stager.buffer.push(oid, Op::Update, now.key, transition(before, now.scope));
                }
            }
            Some(())
        });
    }

    pub(super) fn delete(&mut self, oid: TableOid, old: OldTuple<'_>) {
        self.change(oid, |relation, stager| {
            let ScopedKey { key, scope } = relation.read_old_row(old).ok()?;
            stager.deleted(relation, &key);
            stager.buffer.push(oid, Op::Delete, key, transition(scope, None));
            Some(())
        });
    }

    /// Buffers a row's change with `stage`, or a reset of its table if the id is unknown.
    fn change(
        &mut self,
        oid: TableOid,
        stage: impl FnOnce(&TrackedRelation, &mut ChangeStager<'_>) -> Option<()>,
    ) {
        self.buffer.next_row();
        let Some(tracked) = self.tables.get(&oid) else {
            // It joined after the last refresh. When the next one takes effect, the table appears
            // with a reset for all readers.
            if !self.request_refresh() {
                tracing::info!(oid = oid.0, "table joined the publication; refreshing the catalog");
            }
            return;
        };
        if matches!(tracked.catalog.table.tracking, Tracking::ResetOnly(_)) {
            self.buffer.reset(oid, ResetReason::NoKey);
            return;
        }
        let seen = match &self.current {
            CurrentTransaction::Streamed(block) => block.relations.get(&oid),
            _ => tracked.relation.as_ref(),
        };
        let known = seen.map(|seen| &*seen.relation).filter(|relation| relation.is_known());
        let mut stager =
            ChangeStager { table: oid, buffer: &mut self.buffer, scratch: &mut self.scratch };
        if known.and_then(|relation| stage(relation, &mut stager)).is_none() {
            let is_known = known.is_some();
            if !is_known {
                self.request_refresh();
            }
            self.reset(oid, if is_known { ResetReason::UnknownKey } else { ResetReason::Schema });
        }
    }
}

/// The scope transition, if the table has scope columns.
fn transition(
    before: Option<ScopeValues>,
    after: Option<ScopeValues>,
) -> Option<Box<ScopeTransition>> {
    (before.is_some() || after.is_some()).then(|| Box::new(ScopeTransition { before, after }))
}

/// The destination of a change of one table.
struct ChangeStager<'a> {
    table: TableOid,
    buffer: &'a mut TransactionBuffer,
    scratch: &'a mut Scratch,
}

impl ChangeStager<'_> {
    /// Buffers the row after an insert or update, if rows are cached.
    fn row(
        &mut self,
        relation: &TrackedRelation,
        key: &Key,
        new: Tuple<'_>,
        old: Option<&OldTuple<'_>>,
        old_key: Option<&Key>,
    ) {
        if let Some(plan) = relation.rows()
            && self.buffer.accepts_rows(self.table)
        {
            let image = plan.image(new, old, old_key, self.scratch);
            self.set(key, image);
        }
    }

    /// Buffers the deletion of the row, if rows are cached.
    fn deleted(&mut self, relation: &TrackedRelation, key: &Key) {
        if relation.rows().is_some() {
            self.set(key, RowAfter::Deleted);
        }
    }

    fn set(&mut self, key: &Key, image: RowAfter) {
        self.buffer.push_row(RowChange::Upsert { table: self.table, key: key.clone(), image });
    }
}
