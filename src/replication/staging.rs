//! The stage: what one open transaction has changed so far, kept small whatever its size.
//!
//! Pure. Changes are held in stream order until the commit, and beside them the rows of tables that
//! hold rows. Two limits bound them: [`StageLimits::max_changes`] distinct rows of a table, beyond which
//! the commit resets the table (its rows go on being staged: whoever holds them needs them all the
//! same), and [`StageLimits::max_bytes`] for ids and rows of the whole transaction. When those run out,
//! the table with the most staged bytes is given up, until half is free: it will be reset, and its
//! rows are told as lost. Precision is given up, never truth.

mod merged;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::relation::Found;
use super::row_stage::RowStage;
use crate::change::{Change, Op, Reset, ResetReason, ScopeMove};
use crate::key::Key;
use crate::row::RowChange;
use crate::table::TableOid;
use merged::Merged;

/// Bounds of one transaction's stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// Distinct rows of one table (`log.max_transaction_changes`).
    pub max_changes: usize,
    /// Bytes of all staged changes together, ids and rows (`log.max_transaction_bytes`).
    pub max_bytes: usize,
}

/// Changes of one open transaction.
#[derive(Debug)]
pub struct Stage {
    limits: StageLimits,
    changes: Vec<Change>,
    resets: Vec<Reset>,
    tables: HashMap<TableOid, Staged, hashbrown::DefaultHashBuilder>,
    /// The ordinal of the last row counted.
    ordinal: u32,
    /// Of the changes.
    bytes: usize,
    rows: RowStage,
}

/// What is staged of one table.
#[derive(Debug)]
struct Staged {
    changes: usize,
    bytes: usize,
    /// Merge changes of the same row when there are this many.
    merge_at: usize,
    /// The commit will reset the table; nothing of it is staged any more.
    reset: bool,
}

impl Staged {
    fn new(limits: StageLimits) -> Self {
        let merge_at = limits.max_changes.saturating_add(1);
        Self { changes: 0, bytes: 0, merge_at, reset: false }
    }
}

impl Stage {
    /// Beyond this many ordinals (two billion rows in one commit) tables are reset.
    const ORDINAL_MAX: u32 = u32::MAX - 2;

    /// An empty stage.
    pub fn new(limits: StageLimits) -> Self {
        Self {
            limits,
            changes: Vec::new(),
            resets: Vec::new(),
            tables: HashMap::default(),
            ordinal: 0,
            bytes: 0,
            rows: RowStage::default(),
        }
    }

    /// Counts a row change, told or not. Every row takes two ordinals, the first for the old id of a
    /// changed key, so that every instance counts alike, whatever it knows of the table.
    pub fn next_row(&mut self) {
        self.ordinal = self.ordinal.saturating_add(2);
    }

    /// Adds what happened to the row just counted.
    pub fn push(&mut self, table: TableOid, op: Op, key: Key, scope: Option<Box<ScopeMove>>) {
        self.push_at(self.ordinal, table, op, key, scope);
    }

    /// Adds that the row just counted has another key now: for clients two rows.
    pub fn push_key_change(&mut self, table: TableOid, old: Found, new: Found) {
        let scope = old.scope.map(|scope| Box::new(ScopeMove { before: Some(scope), after: None }));
        self.push_at(self.ordinal - 1, table, Op::Delete, old.key, scope);
        let scope = new.scope.map(|scope| Box::new(ScopeMove { before: None, after: Some(scope) }));
        self.push_at(self.ordinal, table, Op::Insert, new.key, scope);
    }

    fn push_at(
        &mut self,
        ordinal: u32,
        table: TableOid,
        op: Op,
        key: Key,
        scope: Option<Box<ScopeMove>>,
    ) {
        if ordinal >= Self::ORDINAL_MAX {
            self.reset(table, ResetReason::LargeTransaction);
            return;
        }
        let limits = self.limits;
        let staged = self.tables.entry(table).or_insert_with(|| Staged::new(limits));
        if staged.reset {
            return;
        }
        let change = Change { table, key, op, ordinal, scope };
        let bytes = bytes_of(&change);
        staged.changes += 1;
        staged.bytes += bytes;
        self.bytes += bytes;
        let full = staged.changes >= staged.merge_at;
        self.changes.push(change);
        if full {
            self.merge(table);
        }
        self.keep_bounds();
    }

    /// Adds what became of a row of a table that holds rows, or of all of them.
    pub(super) fn push_row(&mut self, change: RowChange) {
        let limits = self.limits;
        self.tables.entry(change.table()).or_insert_with(|| Staged::new(limits));
        self.rows.push(change);
        self.keep_bounds();
    }

    /// The table's rows must be read again.
    pub(super) fn lose_rows(&mut self, table: TableOid) {
        self.rows.lose(table);
    }

    /// Whether the table's rows are still told.
    pub(super) fn keeps_rows(&self, table: TableOid) -> bool {
        self.rows.keeps(table)
    }

    /// The commit will reset this table.
    pub fn reset(&mut self, table: TableOid, reason: ResetReason) {
        let limits = self.limits;
        let staged = self.tables.entry(table).or_insert_with(|| Staged::new(limits));
        if std::mem::replace(&mut staged.reset, true) {
            return;
        }
        self.bytes -= std::mem::take(&mut staged.bytes);
        if std::mem::take(&mut staged.changes) > 0 {
            self.changes.retain(|change| change.table != table);
        }
        self.resets.push(Reset { table, reason });
    }

    /// Whether the transaction concerns no published table.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.resets.is_empty() && self.rows.is_empty()
    }

    /// Hands out the transaction's changes, resets and row changes, and is empty again.
    pub fn take(&mut self) -> (Vec<Change>, Vec<Reset>, Vec<RowChange>) {
        self.tables.clear();
        self.ordinal = 0;
        self.bytes = 0;
        let (changes, resets) = (&mut self.changes, &mut self.resets);
        (std::mem::take(changes), std::mem::take(resets), self.rows.take())
    }

    /// Merges the changes of each row of `table` into one, placed at its last change. When more rows
    /// than the limit remain, the table is reset instead.
    fn merge(&mut self, table: TableOid) {
        let mut merged = HashMap::<Key, Merged, hashbrown::DefaultHashBuilder>::default();
        for change in self.changes.iter().filter(|change| change.table == table) {
            match merged.entry(change.key.clone()) {
                Entry::Occupied(mut seen) => seen.get_mut().then(change),
                Entry::Vacant(place) => {
                    place.insert(Merged::first(change));
                }
            }
        }
        if merged.len() > self.limits.max_changes {
            self.reset(table, ResetReason::LargeTransaction);
            return;
        }
        let mut bytes = 0;
        let mut kept = 0;
        self.changes.retain_mut(|change| {
            if change.table != table {
                return true;
            }
            let is_kept = merged.get(&change.key).is_some_and(|merged| merged.keep(change));
            if is_kept {
                kept += 1;
                bytes += bytes_of(change);
            }
            is_kept
        });
        if let Some(staged) = self.tables.get_mut(&table) {
            self.bytes = self.bytes - staged.bytes + bytes;
            staged.bytes = bytes;
            staged.changes = kept;
            // Room to grow before the next merge, so that merging costs each change O(1).
            staged.merge_at = kept * 2 + self.limits.max_changes.div_ceil(2) + 1;
        }
    }

    fn keep_bounds(&mut self) {
        if self.bytes + self.rows.bytes() > self.limits.max_bytes {
            self.shed();
        }
    }

    /// Gives up the table with the most staged bytes, until half of the limit is free.
    fn shed(&mut self) {
        while self.bytes + self.rows.bytes() > self.limits.max_bytes / 2 {
            let bytes = |(oid, staged): (&TableOid, &Staged)| {
                (staged.bytes + self.rows.bytes_of(*oid), *oid)
            };
            let largest = self.tables.iter().map(bytes).max();
            let Some((1.., table)) = largest else { return };
            self.reset(table, ResetReason::LargeTransaction);
            if self.rows.bytes_of(table) > 0 {
                self.rows.lose(table);
            }
        }
    }

    /// Applies the row limit exactly: called once before the commit.
    pub fn settle(&mut self) {
        let over: Vec<TableOid> = self
            .tables
            .iter()
            .filter(|(_, staged)| staged.changes > self.limits.max_changes)
            .map(|(oid, _)| *oid)
            .collect();
        for table in over {
            self.merge(table);
        }
    }
}

/// Bytes a staged change occupies.
fn bytes_of(change: &Change) -> usize {
    let scope = change.scope.as_ref().map_or(0, |scope| scope.bytes());
    size_of::<Change>() + change.key.heap_bytes() + scope
}

#[cfg(test)]
mod tests;
