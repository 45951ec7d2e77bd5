//! One row's change: its id, and the row where rows are held.

use super::{Arriving, Assembler};
use crate::change::{Op, ResetReason};
use crate::key::Key;
use crate::pgoutput::{OldTuple, Tuple};
use crate::replication::relation::Relation;
use crate::replication::row_plan::Scratch;
use crate::replication::staging::Stage;
use crate::row::{Image, RowChange};
use crate::table::{TableOid, Tracking};

impl Assembler {
    pub(super) fn insert(&mut self, oid: TableOid, new: Tuple<'_>) {
        self.change(oid, |relation, told| {
            let key = relation.key(new, None).ok()?;
            told.row(relation, &key, new, None, None);
            told.stage.push(oid, Op::Insert, key);
            Some(())
        });
    }

    pub(super) fn update(&mut self, oid: TableOid, old: Option<OldTuple<'_>>, new: Tuple<'_>) {
        let old_tuple = old.map(|old| old.tuple());
        self.change(oid, |relation, told| {
            let key = relation.key(new, old_tuple).ok()?;
            let old_key = old_tuple.map(|old| relation.key(old, None)).transpose().ok()?;
            let old_key = old_key.filter(|old_key| *old_key != key);
            told.row(relation, &key, new, old.as_ref(), old_key.as_ref());
            match old_key {
                None => told.stage.push(oid, Op::Update, key),
                Some(old_key) => {
                    told.gone(relation, &old_key);
                    told.stage.push_key_change(oid, old_key, key);
                }
            }
            Some(())
        });
    }

    pub(super) fn delete(&mut self, oid: TableOid, old: OldTuple<'_>) {
        self.change(oid, |relation, told| {
            let key = relation.key(old.tuple(), None).ok()?;
            told.gone(relation, &key);
            told.stage.push(oid, Op::Delete, key);
            Some(())
        });
    }

    /// Stages a row's change by `tell`, or a reset of its table where no id can be told.
    fn change(&mut self, oid: TableOid, tell: impl FnOnce(&Relation, &mut Told<'_>) -> Option<()>) {
        self.stage.next_row();
        let Some(state) = self.tables.get(&oid) else {
            // It joined after the last look. When the next one is in effect the table appears, and
            // everybody starts with a reset.
            if !self.wish_look() {
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
            Arriving::Block(block) => block.relations.get(&oid),
            _ => state.relation.as_ref(),
        };
        let known = said.map(|said| &*said.relation).filter(|relation| relation.is_known());
        let mut told = Told { table: oid, stage: &mut self.stage, scratch: &mut self.scratch };
        if known.and_then(|relation| tell(relation, &mut told)).is_none() {
            let is_known = known.is_some();
            if !is_known {
                self.wish_look();
            }
            self.reset(oid, if is_known { ResetReason::UnknownKey } else { ResetReason::Schema });
        }
    }
}

/// Where a change of one table is told.
struct Told<'a> {
    table: TableOid,
    stage: &'a mut Stage,
    scratch: &'a mut Scratch,
}

impl Told<'_> {
    /// Stages the row that an insert or update leaves, if rows are wanted.
    fn row(
        &mut self,
        relation: &Relation,
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
    fn gone(&mut self, relation: &Relation, key: &Key) {
        if relation.rows().is_some() {
            self.set(key, Image::Gone);
        }
    }

    fn set(&mut self, key: &Key, image: Image) {
        self.stage.push_row(RowChange::Set { table: self.table, key: key.clone(), image });
    }
}
