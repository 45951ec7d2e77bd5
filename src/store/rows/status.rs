//! How rows are doing, as `/v1/status` and the metrics tell.

use super::table::{RowStorage, TableRows};
use super::table_copy::TableCopy;
use super::{RowsState, RowsStatus};
use crate::store::state::Store;
use crate::store::state::{StoreState, StoredTable};
use crate::table::RowCaching;

impl Store {
    /// How the rows of every table are doing, ordered by displayed name.
    pub fn rows_status(&self) -> Vec<RowsStatus> {
        let state = self.shared.state.read();
        let mut all: Vec<RowsStatus> = state.tables.values().map(status).collect();
        all.sort_by(|a, b| a.table.cmp(&b.table));
        all
    }
}

impl StoreState {
    /// Sets the gauges of rows in memory.
    pub(in crate::store) fn measure_rows(&self) {
        for rows in self.tables.values().filter_map(|table| table.rows.as_ref()) {
            let (entries, bytes) = rows.size();
            rows.published.row_metrics.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
            rows.published.row_metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

fn status(table: &StoredTable) -> RowsStatus {
    let (entries, bytes) = table.rows.as_ref().map_or((0, 0), TableRows::size);
    let state = match (&table.published.table.rows, &table.rows) {
        (RowCaching::Unavailable(reason), _) => RowsState::Unavailable(reason.clone()),
        (_, Some(rows)) => rows.state(),
        (_, None) => RowsState::Disabled,
    };
    let requests = table.published.row_metrics.requests();
    RowsStatus { table: table.published.name.clone(), state, entries, bytes, requests }
}

impl TableRows {
    /// Rows in memory, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        match &self.storage {
            RowStorage::Lazy(share) => (share.entries(), share.bytes()),
            RowStorage::Preload(preload) => {
                preload.rows.as_ref().map_or((0, 0), |rows| (rows.len(), rows.bytes()))
            }
        }
    }

    fn state(&self) -> RowsState {
        let preload = match &self.storage {
            RowStorage::Lazy(_) => return RowsState::Lazy,
            RowStorage::Preload(preload) => preload,
        };
        if preload.rows.is_some() {
            return RowsState::Complete;
        }
        match &*preload.copy.lock() {
            TableCopy::Refused(reason) => RowsState::Unavailable(reason.clone()),
            TableCopy::Running(running) => RowsState::Loading {
                rows: running.progress.rows(),
                estimate: running.progress.estimate(),
            },
            TableCopy::Idle | TableCopy::Wanted(_) => RowsState::Loading { rows: 0, estimate: 0 },
        }
    }
}
