//! The rows of one open transaction, of tables that hold rows: the part of the stage beside the ids.
//!
//! Pure. Row changes are kept in stream order and not merged: whoever holds the rows applies them one
//! after the other. A table whose rows are given up is told as lost, and nothing more is kept of it.

use std::collections::HashMap;

use crate::row::RowChange;
use crate::table::TableOid;

/// Row changes of one open transaction.
#[derive(Debug, Default)]
pub(super) struct RowStage {
    changes: Vec<RowChange>,
    tables: HashMap<TableOid, StagedRows, hashbrown::DefaultHashBuilder>,
    bytes: usize,
}

/// What is staged of one table.
#[derive(Debug, Default)]
struct StagedRows {
    bytes: usize,
    /// What became of its rows is not known; nothing of it is staged any more.
    lost: bool,
}

impl RowStage {
    /// Adds what a row is now, or that the table is empty: then what was said of its rows is moot.
    pub(super) fn push(&mut self, change: RowChange) {
        let table = change.table();
        if self.tables.entry(table).or_default().lost {
            return;
        }
        if matches!(change, RowChange::Clear(_)) {
            self.drop_staged(table);
        }
        let bytes = change.bytes();
        self.tables.entry(table).or_default().bytes += bytes;
        self.bytes += bytes;
        self.changes.push(change);
    }

    /// What became of the table's rows can't be told.
    pub(super) fn lose(&mut self, table: TableOid) {
        if self.tables.get(&table).is_some_and(|staged| staged.lost) {
            return;
        }
        self.drop_staged(table);
        self.push(RowChange::Lost(table));
        self.tables.entry(table).or_default().lost = true;
    }

    fn drop_staged(&mut self, table: TableOid) {
        let bytes =
            self.tables.get_mut(&table).map_or(0, |staged| std::mem::take(&mut staged.bytes));
        if bytes > 0 {
            self.bytes -= bytes;
            self.changes.retain(|change| change.table() != table);
        }
    }

    /// Bytes of everything staged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the table's rows are still told.
    pub(super) fn keeps(&self, table: TableOid) -> bool {
        self.tables.get(&table).is_none_or(|staged| !staged.lost)
    }

    /// Bytes staged of a table that could still be given up.
    pub(super) fn bytes_of(&self, table: TableOid) -> usize {
        self.tables.get(&table).filter(|staged| !staged.lost).map_or(0, |staged| staged.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Hands out the row changes, and is empty again.
    pub(super) fn take(&mut self) -> Vec<RowChange> {
        self.tables.clear();
        self.bytes = 0;
        std::mem::take(&mut self.changes)
    }
}
