//! One row's change: its id, and the row where rows are held.

use super::{Assembler, CurrentTransaction};
use crate::change::{Op, ResetReason, ScopeTransition};
use crate::key::Key;
use crate::pgoutput::{OldTuple, Tuple};
use crate::replication::relation::{ScopedKey, TrackedRelation};
use crate::replication::row_layout::Scratch;
use crate::replication::transaction_buffer::TransactionBuffer;
use crate::row::{RowAfter, RowChange};
use crate::scope::ScopeValues;
use crate::table::{TableOid, Tracking};

impl Assembler {
    pub(super) fn insert(&mut self, oid: TableOid, new: Tuple<'_>) {
        self.change(oid, |relation, told| {
            let ScopedKey { key, scope } = relation.found(new, None).ok()?;
            told.row(relation, &key, new, None, None);
            told.stage.push(oid, Op::Insert, key, moved(None, scope));
            Some(())
        });
    }

    pub(super) fn update(&mut self, oid: TableOid, old: Option<OldTuple<'_>>, new: Tuple<'_>) {
        self.change(oid, |relation, told| {
            let now = relation.found(new, old).ok()?;
            let before = old.map(|old| relation.found_before(old)).transpose().ok()?;
            // Where the row was is told by itself only if it is part of the key.
            if before.is_none() && relation.needs_old_rows() {
                return None;
            }
            let other_key =
                before.as_ref().map(|before| &before.key).filter(|key| **key != now.key);
            told.row(relation, &now.key, new, old.as_ref(), other_key);
            match before {
                Some(before) if before.key != now.key => {
                    told.gone(relation, &before.key);
                    told.stage.push_key_change(oid, before, now);
                }
                before => {
                    let before = before.and_then(|before| before.scope);
                    let before = before.filter(|before| Some(before) != now.scope.as_ref());
                    told.stage.push(oid, Op::Update, now.key, moved(before, now.scope));
                }
            }
            Some(())
        });
    }

    pub(super) fn delete(&mut self, oid: TableOid, old: OldTuple<'_>) {
        self.change(oid, |relation, told| {
            let ScopedKey { key, scope } = relation.found_before(old).ok()?;
            told.gone(relation, &key);
            told.stage.push(oid, Op::Delete, key, moved(scope, None));
            Some(())
        });
    }

    /// Stages a row's change by `tell`, or a reset of its table where no id can be told.
    fn change(
        &mut self,
        oid: TableOid,
        tell: impl FnOnce(&TrackedRelation, &mut ChangeStager<'_>) -> Option<()>,
    ) {
        self.stage.next_row();
        let Some(state) = self.tables.get(&oid) else {
            // It joined after the last look. When the next one is in effect the table appears, and
            // everybody starts with a reset.
            if !self.request_refresh() {
                tracing::info!(
                    oid = oid.0,
                    "a table joined the publication; looking at the catalog"
                );
            }
            return;
        };
        if matches!(state.catalog.table.tracking, Tracking::ResetOnly(_)) {
            self.stage.reset(oid, ResetReason::NoKey);
            return;
        }
        let said = match &self.arriving {
            CurrentTransaction::Streamed(block) => block.relations.get(&oid),
            _ => state.relation.as_ref(),
        };
        let known = said.map(|said| &*said.relation).filter(|relation| relation.is_known());
        let mut told =
            ChangeStager { table: oid, stage: &mut self.stage, scratch: &mut self.scratch };
        if known.and_then(|relation| tell(relation, &mut told)).is_none() {
            let is_known = known.is_some();
            if !is_known {
                self.request_refresh();
            }
            self.reset(oid, if is_known { ResetReason::UnknownKey } else { ResetReason::Schema });
        }
    }
}

/// The scopes concerned, if the table has scope columns.
fn moved(before: Option<ScopeValues>, after: Option<ScopeValues>) -> Option<Box<ScopeTransition>> {
    (before.is_some() || after.is_some()).then(|| Box::new(ScopeTransition { before, after }))
}

/// Where a change of one table is told.
struct ChangeStager<'a> {
    table: TableOid,
    stage: &'a mut TransactionBuffer,
    scratch: &'a mut Scratch,
}

impl ChangeStager<'_> {
    /// Stages the row that an insert or update leaves, if rows are wanted.
    fn row(
        &mut self,
        relation: &TrackedRelation,
        key: &Key,
        new: Tuple<'_>,
        old: Option<&OldTuple<'_>>,
        old_key: Option<&Key>,
    ) {
        if let Some(plan) = relation.rows()
            && self.stage.keeps_rows(self.table)
        {
            let image = plan.image(new, old, old_key, self.scratch);
            self.set(key, image);
        }
    }

    /// Stages that there is no such row any more, if rows are wanted.
    fn gone(&mut self, relation: &TrackedRelation, key: &Key) {
        if relation.rows().is_some() {
            self.set(key, RowAfter::Deleted);
        }
    }

    fn set(&mut self, key: &Key, image: RowAfter) {
        self.stage.push_row(RowChange::Upsert { table: self.table, key: key.clone(), image });
    }
}
