//! Row changes of one open transaction, for tables with cached rows: the part of the transaction
//! buffer beside the ids.
//!
//! Pure. Row changes are kept in stream order and not merged: the row cache applies them one after
//! the other. A table whose rows overflow is invalidated, and nothing more is kept of it.
//!
//! While part of the transaction may still be rolled back, nothing that came before is dropped:
//! each change is kept with its step, so that the steps after some point can be undone.

use std::collections::HashMap;

use crate::row::RowChange;
use crate::table::TableOid;

/// Row changes of one open transaction.
#[derive(Debug, Default)]
pub(super) struct RowBuffer {
    /// Each with its step, in rising order.
    changes: Vec<(u64, RowChange)>,
    tables: HashMap<TableOid, BufferedRows, hashbrown::DefaultHashBuilder>,
    bytes: usize,
    /// A buffered change is superseded by a later one.
    has_superseded: bool,
}

/// State of one table.
#[derive(Debug, Default)]
struct BufferedRows {
    bytes: usize,
    /// Its rows are invalidated; further changes are dropped.
    invalidated: bool,
    /// Invalidated whatever is rolled back; not among the changes.
    overflowed: bool,
}

impl RowBuffer {
    /// Adds the new state of a row, or of the whole table: then earlier changes of its rows are
    /// superseded.
    pub(super) fn push(&mut self, step: u64, change: RowChange, revocable: bool) {
        let table = change.table();
        if self.tables.entry(table).or_default().invalidated {
            return;
        }
        if !matches!(change, RowChange::Upsert { .. }) {
            self.supersede(table, revocable);
        }
        let bytes = cost(&change);
        let buffered = self.tables.entry(table).or_default();
        buffered.bytes += bytes;
        buffered.invalidated = matches!(change, RowChange::Invalidate(_));
        self.bytes += bytes;
        self.changes.push((step, change));
    }

    /// Invalidates the table's rows.
    pub(super) fn invalidate(&mut self, step: u64, table: TableOid, revocable: bool) {
        self.push(step, RowChange::Invalidate(table), revocable);
    }

    /// Invalidates the table's rows, even if changes since some point are rolled back.
    pub(super) fn overflow(&mut self, table: TableOid) {
        self.drop_buffered(table);
        let buffered = self.tables.entry(table).or_default();
        buffered.invalidated = true;
        buffered.overflowed = true;
    }

    /// Drops the table: it is not published any more.
    pub(super) fn forget(&mut self, table: TableOid) {
        self.drop_buffered(table);
        self.tables.remove(&table);
    }

    /// Undoes everything after this step.
    pub(super) fn roll_back(&mut self, to: u64) {
        while let Some((_, change)) = self.changes.pop_if(|(step, _)| *step > to) {
            let bytes = cost(&change);
            self.bytes -= bytes;
            if let Some(buffered) = self.tables.get_mut(&change.table()) {
                buffered.bytes -= bytes;
                buffered.invalidated &= !matches!(change, RowChange::Invalidate(_));
            }
        }
    }

    /// Drops superseded changes: called once before the commit.
    pub(super) fn finish(&mut self) {
        if std::mem::take(&mut self.has_superseded) {
            self.drop_superseded();
        }
        let overflowed = self.tables.iter().filter(|(_, buffered)| buffered.overflowed);
        self.changes.extend(overflowed.map(|(table, _)| (0, RowChange::Invalidate(*table))));
    }

    fn drop_superseded(&mut self) {
        let mut begins = HashMap::<TableOid, usize, hashbrown::DefaultHashBuilder>::default();
        for (place, (_, change)) in self.changes.iter().enumerate() {
            if !matches!(change, RowChange::Upsert { .. }) {
                begins.insert(change.table(), place);
            }
        }
        let mut place = 0;
        self.changes.retain(|(_, change)| {
            let is_superseded = begins.get(&change.table()).is_some_and(|begins| place < *begins);
            place += 1;
            !is_superseded
        });
    }

    fn supersede(&mut self, table: TableOid, revocable: bool) {
        if revocable {
            self.has_superseded = true;
        } else {
            self.drop_buffered(table);
        }
    }

    fn drop_buffered(&mut self, table: TableOid) {
        let bytes =
            self.tables.get_mut(&table).map_or(0, |buffered| std::mem::take(&mut buffered.bytes));
        if bytes > 0 {
            self.bytes -= bytes;
            self.changes.retain(|(_, change)| change.table() != table);
        }
    }

    /// Memory of all changes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether changes of the table's rows are still kept.
    pub(super) fn accepts(&self, table: TableOid) -> bool {
        self.tables.get(&table).is_none_or(|buffered| !buffered.invalidated)
    }

    /// Memory that an overflow of the table would free, in bytes.
    pub(super) fn bytes_of(&self, table: TableOid) -> usize {
        let Some(buffered) = self.tables.get(&table) else { return 0 };
        // The invalidation itself is kept in any case.
        let needed = if buffered.invalidated { cost(&RowChange::Invalidate(table)) } else { 0 };
        buffered.bytes.saturating_sub(needed)
    }

    /// Whether any change of the table's rows was ever added.
    pub(super) fn contains(&self, table: TableOid) -> bool {
        self.tables.contains_key(&table)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Takes the row changes, leaving the buffer empty.
    pub(super) fn take(&mut self) -> Vec<RowChange> {
        self.tables.clear();
        self.bytes = 0;
        self.has_superseded = false;
        std::mem::take(&mut self.changes).into_iter().map(|(_, change)| change).collect()
    }
}

/// Memory of a buffered change, in bytes.
fn cost(change: &RowChange) -> usize {
    size_of::<u64>() + change.bytes()
}
