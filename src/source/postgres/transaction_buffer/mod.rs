//! The buffer of one open transaction's changes, bounded whatever the transaction's size.
//!
//! Pure. Changes are kept in stream order until the commit, and beside them the rows of tables with
//! cached rows. Two limits bound them: [`TransactionLimits::max_changes`] distinct rows of a table,
//! beyond which the commit resets the table (its row changes are still buffered: the row cache
//! needs them all the same), and [`TransactionLimits::max_bytes`] for ids and rows of the whole
//! transaction. When those are exceeded, the table with the most buffered bytes overflows, until
//! half is free: it will be reset, and its rows invalidated. Precision is given up, never
//! correctness.
//!
//! A streamed transaction may undo part of itself ([`subxacts`]). As long as it may, nothing from
//! before that part is merged into it or dropped because of it, and only the bytes bound the
//! buffer. When the marks themselves take too much, the whole transaction overflows: every table
//! that it touches will be reset.

mod net_change;
mod subxacts;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::relation::ScopedKey;
use super::row_buffer::RowBuffer;
use crate::change::{Change, Op, Reset, ResetReason, ScopeTransition};
use crate::key::Key;
use crate::row::RowChange;
use crate::snapshot::Xid;
use crate::table::TableOid;
use net_change::NetChange;
use subxacts::{BufferOffset, SubxactMarks};

/// Bounds of the memory for open transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionLimits {
    /// Distinct rows of one table (`log.max_transaction_changes`).
    pub max_changes: usize,
    /// Memory of one transaction's changes, ids and rows, in bytes (`log.max_transaction_bytes`).
    pub max_bytes: usize,
    /// Memory of all streamed transactions together, in bytes (`log.max_streamed_bytes`). Beyond it
    /// the largest overflow.
    pub max_streamed_bytes: usize,
}

/// Changes of one open transaction.
#[derive(Debug)]
pub struct TransactionBuffer {
    limits: TransactionLimits,
    changes: Vec<Change>,
    /// Each with its step; 0 is never undone.
    resets: Vec<(u64, Reset)>,
    tables: HashMap<TableOid, TableBuffer, hashbrown::DefaultHashBuilder>,
    /// Ordinal of the last row counted.
    ordinal: u32,
    /// Counter of buffered resets and row changes.
    step: u64,
    /// The subtransactions that may be rolled back.
    marks: SubxactMarks,
    /// Every table that the transaction touches will be reset.
    overflowed: bool,
    /// The buffer contains changes of a table that will be reset.
    has_superseded: bool,
    /// Memory of `changes`, in bytes.
    bytes: usize,
    rows: RowBuffer,
}

/// Buffered changes of one table.
#[derive(Debug)]
struct TableBuffer {
    changes: usize,
    bytes: usize,
    /// Number of changes at which changes of the same row are merged.
    merge_at: usize,
    /// The commit will reset the table; further changes are dropped.
    reset: bool,
}

impl TableBuffer {
    fn new(limits: TransactionLimits) -> Self {
        let merge_at = limits.max_changes.saturating_add(1);
        Self { changes: 0, bytes: 0, merge_at, reset: false }
    }
}

impl TransactionBuffer {
    /// Ordinals beyond which (two billion rows in one commit) tables are reset.
    const ORDINAL_MAX: u32 = u32::MAX - 2;

    /// An empty buffer.
    pub fn new(limits: TransactionLimits) -> Self {
        Self {
            limits,
            changes: Vec::new(),
            resets: Vec::new(),
            tables: HashMap::default(),
            ordinal: 0,
            step: 0,
            marks: SubxactMarks::default(),
            overflowed: false,
            has_superseded: false,
            bytes: 0,
            rows: RowBuffer::default(),
        }
    }

    /// Attributes the following changes to subtransaction `xid` of `top`, or to `top` itself.
    pub(super) fn enter(&mut self, top: Xid, xid: Xid) {
        if !self.overflowed {
            self.marks.enter(top, xid, BufferOffset { ordinal: self.ordinal, step: self.step });
            self.keep_bounds();
        }
    }

    /// Undoes what subtransaction `xid` of `top` did, as if it had never been sent.
    pub(super) fn roll_back(&mut self, top: Xid, xid: Xid) {
        let Some(place) = self.marks.roll_back(top, xid) else { return };
        while let Some(change) = self.changes.pop_if(|change| change.ordinal > place.ordinal) {
            let bytes = change_bytes(&change);
            self.bytes -= bytes;
            if let Some(buffered) = self.tables.get_mut(&change.table) {
                buffered.changes -= 1;
                buffered.bytes -= bytes;
            }
        }
        let tables = &mut self.tables;
        self.resets.retain(|(step, reset)| {
            let stays = *step <= place.step;
            if !stays && let Some(buffered) = tables.get_mut(&reset.table) {
                buffered.reset = false;
            }
            stays
        });
        self.rows.roll_back(place.step);
        self.ordinal = place.ordinal;
    }

    /// Counts a row change, reported or not. Every row takes two ordinals, the first for the old id
    /// of a changed key, so that every instance counts alike, whatever it knows of the table.
    pub fn next_row(&mut self) {
        self.ordinal = self.ordinal.saturating_add(2);
    }

    /// Adds the change of the row just counted.
    pub fn push(&mut self, table: TableOid, op: Op, key: Key, scope: Option<Box<ScopeTransition>>) {
        self.push_at(self.ordinal, table, op, key, scope);
    }

    /// Adds a change of key of the row just counted: for clients two rows.
    pub fn push_key_change(&mut self, table: TableOid, old: ScopedKey, new: ScopedKey) {
        let scope =
            old.scope.map(|scope| Box::new(ScopeTransition { before: Some(scope), after: None }));
        self.push_at(self.ordinal - 1, table, Op::Delete, old.key, scope);
        let scope =
            new.scope.map(|scope| Box::new(ScopeTransition { before: None, after: Some(scope) }));
        self.push_at(self.ordinal, table, Op::Insert, new.key, scope);
    }

    fn push_at(
        &mut self,
        ordinal: u32,
        table: TableOid,
        op: Op,
        key: Key,
        scope: Option<Box<ScopeTransition>>,
    ) {
        if ordinal >= Self::ORDINAL_MAX || self.overflowed {
            self.reset(table, ResetReason::LargeTransaction);
            return;
        }
        let limits = self.limits;
        let buffered = self.tables.entry(table).or_insert_with(|| TableBuffer::new(limits));
        if buffered.reset {
            return;
        }
        let change = Change { table, key, op, ordinal, scope };
        let bytes = change_bytes(&change);
        buffered.changes += 1;
        buffered.bytes += bytes;
        self.bytes += bytes;
        let full = buffered.changes >= buffered.merge_at;
        self.changes.push(change);
        if full {
            self.merge(table);
        }
        self.keep_bounds();
    }

    /// Adds a change of a cached row, or of all rows of a table.
    pub(super) fn push_row(&mut self, change: RowChange) {
        let (limits, table) = (self.limits, change.table());
        if self.overflowed {
            self.invalidate_rows(table);
            return;
        }
        self.tables.entry(table).or_insert_with(|| TableBuffer::new(limits));
        self.step += 1;
        self.rows.push(self.step, change, !self.marks.is_empty());
        self.keep_bounds();
    }

    /// Invalidates the table's rows: they must be reloaded.
    pub(super) fn invalidate_rows(&mut self, table: TableOid) {
        self.step += 1;
        self.rows.invalidate(self.step, table, !self.marks.is_empty());
    }

    /// Whether changes of the table's rows are still kept.
    pub(super) fn accepts_rows(&self, table: TableOid) -> bool {
        self.rows.accepts(table)
    }

    /// Resets the table at the commit, unless that is rolled back.
    pub fn reset(&mut self, table: TableOid, reason: ResetReason) {
        let limits = self.limits;
        let buffered = self.tables.entry(table).or_insert_with(|| TableBuffer::new(limits));
        if std::mem::replace(&mut buffered.reset, true) {
            return;
        }
        self.step += 1;
        self.resets.push((self.step, Reset { table, reason }));
        if self.marks.is_empty() {
            self.drop_changes(table);
        } else {
            self.has_superseded = true;
        }
    }

    /// Resets the table at the commit and invalidates its rows, whatever is rolled back until then.
    /// Only for a table that the transaction has touched.
    pub(super) fn overflow_table(&mut self, table: TableOid, reason: ResetReason) {
        let Some(buffered) = self.tables.get_mut(&table) else { return };
        if std::mem::replace(&mut buffered.reset, true) {
            if let Some(entry) = self.resets.iter_mut().find(|(_, reset)| reset.table == table) {
                entry.0 = 0;
            }
        } else {
            self.resets.push((0, Reset { table, reason }));
        }
        self.drop_changes(table);
        if self.rows.contains(table) {
            self.rows.overflow(table);
        }
    }

    /// Overflows the whole transaction: every table that it touches will be reset, and nothing more
    /// is buffered.
    pub(super) fn overflow(&mut self) {
        self.overflowed = true;
        self.marks.clear();
        let touched: Vec<TableOid> = self.tables.keys().copied().collect();
        for table in touched {
            self.overflow_table(table, ResetReason::LargeTransaction);
        }
    }

    /// Drops the table: it is not published any more.
    pub(super) fn forget(&mut self, table: TableOid) {
        self.drop_changes(table);
        self.resets.retain(|(_, reset)| reset.table != table);
        self.rows.forget(table);
        self.tables.remove(&table);
    }

    fn drop_changes(&mut self, table: TableOid) {
        let Some(buffered) = self.tables.get_mut(&table) else { return };
        self.bytes -= std::mem::take(&mut buffered.bytes);
        if std::mem::take(&mut buffered.changes) > 0 {
            self.changes.retain(|change| change.table != table);
        }
    }

    /// Whether the transaction changes no published table.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.resets.is_empty() && self.rows.is_empty()
    }

    /// Whether every table that the transaction touches will be reset.
    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Memory of the whole buffer, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.rows.bytes() + self.marks.bytes()
    }

    /// Takes the transaction's changes, resets and row changes, leaving the buffer empty.
    pub fn take(&mut self) -> (Vec<Change>, Vec<Reset>, Vec<RowChange>) {
        self.tables.clear();
        self.ordinal = 0;
        self.step = 0;
        self.marks.clear();
        self.overflowed = false;
        self.has_superseded = false;
        self.bytes = 0;
        let changes = std::mem::take(&mut self.changes);
        let resets = std::mem::take(&mut self.resets).into_iter().map(|(_, reset)| reset);
        (changes, resets.collect(), self.rows.take())
    }

    /// Merges the changes of each row of `table` into one, at the position of its last change, but
    /// not across marks. When more rows than the limit remain, and none can be rolled back, the
    /// table is reset instead.
    fn merge(&mut self, table: TableOid) {
        let mut merged =
            HashMap::<(usize, Key), NetChange, hashbrown::DefaultHashBuilder>::default();
        let marks = &self.marks;
        let row = |change: &Change| (marks.segment(change.ordinal), change.key.clone());
        for change in self.changes.iter().filter(|change| change.table == table) {
            match merged.entry(row(change)) {
                Entry::Occupied(mut seen) => seen.get_mut().append(change),
                Entry::Vacant(place) => {
                    let has_earlier = place.key().0 > 0;
                    place.insert(NetChange::first(change, has_earlier));
                }
            }
        }
        if merged.len() > self.limits.max_changes && marks.is_empty() {
            self.reset(table, ResetReason::LargeTransaction);
            return;
        }
        let mut bytes = 0;
        let mut kept = 0;
        self.changes.retain_mut(|change| {
            if change.table != table {
                return true;
            }
            let is_kept = merged.get(&row(change)).is_some_and(|merged| merged.keep(change));
            if is_kept {
                kept += 1;
                bytes += change_bytes(change);
            }
            is_kept
        });
        if let Some(buffered) = self.tables.get_mut(&table) {
            self.bytes = self.bytes - buffered.bytes + bytes;
            buffered.bytes = bytes;
            buffered.changes = kept;
            // Room to grow before the next merge, so that merging costs each change O(1).
            buffered.merge_at = kept * 2 + self.limits.max_changes.div_ceil(2) + 1;
        }
    }

    fn keep_bounds(&mut self) {
        if self.bytes() > self.limits.max_bytes {
            self.evict_largest();
        }
    }

    /// Overflows the table with the most buffered bytes, until half of the limit is free.
    fn evict_largest(&mut self) {
        if self.marks.bytes() > self.limits.max_bytes / 4 {
            self.overflow();
        }
        while self.bytes() > self.limits.max_bytes / 2 {
            let bytes = |(oid, buffered): (&TableOid, &TableBuffer)| {
                (buffered.bytes + self.rows.bytes_of(*oid), *oid)
            };
            let largest = self.tables.iter().map(bytes).max();
            let Some((1.., table)) = largest else { return };
            self.overflow_table(table, ResetReason::LargeTransaction);
        }
    }

    /// Applies the row limit exactly, and drops superseded changes: called once before the commit.
    pub fn finish(&mut self) {
        self.marks.clear();
        if std::mem::take(&mut self.has_superseded) {
            let tables = &self.tables;
            let is_reset = |oid: TableOid| tables.get(&oid).is_some_and(|buffered| buffered.reset);
            self.changes.retain(|change| !is_reset(change.table));
        }
        let over: Vec<TableOid> = self
            .tables
            .iter()
            .filter(|(_, buffered)| !buffered.reset && buffered.changes > self.limits.max_changes)
            .map(|(oid, _)| *oid)
            .collect();
        for table in over {
            self.merge(table);
        }
        self.rows.finish();
    }
}

/// Memory of a buffered change, in bytes.
fn change_bytes(change: &Change) -> usize {
    let scope = change.scope.as_ref().map_or(0, |scope| scope.bytes());
    size_of::<Change>() + change.key.heap_bytes() + scope
}

#[cfg(test)]
mod tests;
