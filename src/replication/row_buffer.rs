//! The rows of one open transaction, of tables that hold rows: the part of the stage beside the ids.
//!
//! Pure. Row changes are kept in stream order and not merged: whoever holds the rows applies them one
//! after the other. A table whose rows are given up is told as lost, and nothing more is kept of it.
//!
//! While a part of the transaction may still be rolled back, nothing that came before is dropped: each
//! change is kept with its step, so that the steps after some place can be taken back.

use std::collections::HashMap;

use crate::row::RowChange;
use crate::table::TableOid;

/// Row changes of one open transaction.
#[derive(Debug, Default)]
pub(super) struct RowBuffer {
    /// Each with its step, rising.
    changes: Vec<(u64, RowChange)>,
    tables: HashMap<TableOid, StagedRows, hashbrown::DefaultHashBuilder>,
    bytes: usize,
    /// Something is staged that a later change makes moot.
    unsettled: bool,
}

/// What is staged of one table.
#[derive(Debug, Default)]
struct StagedRows {
    bytes: usize,
    /// What became of its rows is not known; nothing of it is staged any more.
    lost: bool,
    /// …whatever is rolled back; not among the changes.
    given_up: bool,
}

impl RowBuffer {
    /// Adds what a row is now, or that the table is empty: then what was said of its rows is moot.
    pub(super) fn push(&mut self, step: u64, change: RowChange, revocable: bool) {
        let table = change.table();
        if self.tables.entry(table).or_default().lost {
            return;
        }
        if !matches!(change, RowChange::Upsert { .. }) {
            self.make_moot(table, revocable);
        }
        let bytes = cost(&change);
        let staged = self.tables.entry(table).or_default();
        staged.bytes += bytes;
        staged.lost = matches!(change, RowChange::Invalidate(_));
        self.bytes += bytes;
        self.changes.push((step, change));
    }

    /// What became of the table's rows can't be told.
    pub(super) fn lose(&mut self, step: u64, table: TableOid, revocable: bool) {
        self.push(step, RowChange::Invalidate(table), revocable);
    }

    /// …and will not be, even if what has come since some place is rolled back.
    pub(super) fn give_up(&mut self, table: TableOid) {
        self.drop_staged(table);
        let staged = self.tables.entry(table).or_default();
        staged.lost = true;
        staged.given_up = true;
    }

    /// The table is none of ours any more.
    pub(super) fn forget(&mut self, table: TableOid) {
        self.drop_staged(table);
        self.tables.remove(&table);
    }

    /// Takes back everything after this step.
    pub(super) fn roll_back(&mut self, to: u64) {
        while let Some((_, change)) = self.changes.pop_if(|(step, _)| *step > to) {
            let bytes = cost(&change);
            self.bytes -= bytes;
            if let Some(staged) = self.tables.get_mut(&change.table()) {
                staged.bytes -= bytes;
                staged.lost &= !matches!(change, RowChange::Invalidate(_));
            }
        }
    }

    /// Drops what is moot: called once before the commit.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.unsettled) {
            self.drop_moot();
        }
        let given_up = self.tables.iter().filter(|(_, staged)| staged.given_up);
        self.changes.extend(given_up.map(|(table, _)| (0, RowChange::Invalidate(*table))));
    }

    fn drop_moot(&mut self) {
        let mut begins = HashMap::<TableOid, usize, hashbrown::DefaultHashBuilder>::default();
        for (place, (_, change)) in self.changes.iter().enumerate() {
            if !matches!(change, RowChange::Upsert { .. }) {
                begins.insert(change.table(), place);
            }
        }
        let mut place = 0;
        self.changes.retain(|(_, change)| {
            let is_moot = begins.get(&change.table()).is_some_and(|begins| place < *begins);
            place += 1;
            !is_moot
        });
    }

    fn make_moot(&mut self, table: TableOid, revocable: bool) {
        if revocable {
            self.unsettled = true;
        } else {
            self.drop_staged(table);
        }
    }

    fn drop_staged(&mut self, table: TableOid) {
        let bytes =
            self.tables.get_mut(&table).map_or(0, |staged| std::mem::take(&mut staged.bytes));
        if bytes > 0 {
            self.bytes -= bytes;
            self.changes.retain(|(_, change)| change.table() != table);
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
        let Some(staged) = self.tables.get(&table) else { return 0 };
        // That it is lost has to be said in any case.
        let needed = if staged.lost { cost(&RowChange::Invalidate(table)) } else { 0 };
        staged.bytes.saturating_sub(needed)
    }

    /// Whether anything was ever staged of the table's rows.
    pub(super) fn concerns(&self, table: TableOid) -> bool {
        self.tables.contains_key(&table)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Hands out the row changes, and is empty again.
    pub(super) fn take(&mut self) -> Vec<RowChange> {
        self.tables.clear();
        self.bytes = 0;
        self.unsettled = false;
        std::mem::take(&mut self.changes).into_iter().map(|(_, change)| change).collect()
    }
}

/// Bytes of a change that is staged.
fn cost(change: &RowChange) -> usize {
    size_of::<u64>() + change.bytes()
}
