//! The state of cached rows for `/v1/status` and the metrics.

use super::table_copy::TableCopy;
use super::table_rows::{RowStorage, TableRows};
use super::{RowsState, RowsStatus};
use crate::store::state::{Store, StoreState, StoredTable};
use crate::table::RowCaching;

impl Store {
    /// The state of the cached rows of every table, ordered by displayed name.
    pub fn rows_status(&self) -> Vec<RowsStatus> {
        let state = self.shared.state.read();
        let mut all: Vec<RowsStatus> = state.tables.values().map(status).collect();
        all.sort_by(|a, b| a.table.cmp(&b.table));
        all
    }
}

impl StoreState {
    /// Sets the gauges of cached rows.
    pub(in crate::store) fn measure_rows(&self) {
        for rows in self.tables.values().filter_map(|table| table.rows.as_ref()) {
            let (entries, bytes) = rows.size();
            let metrics = &rows.resource.row_metrics;
            metrics.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
            metrics.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

fn status(table: &StoredTable) -> RowsStatus {
    let (entries, bytes) = table.rows.as_ref().map_or((0, 0), TableRows::size);
    let state = match (table.resource.row_caching(), &table.rows) {
        (RowCaching::Unavailable(reason), _) => RowsState::Unavailable(reason.clone()),
        (_, Some(rows)) => rows.state(),
        (_, None) => RowsState::Disabled,
    };
    let requests = table.resource.row_metrics.requests();
    RowsStatus { table: table.resource.name.clone(), state, entries, bytes, requests }
}

impl TableRows {
    /// Number of cached rows, and their bytes.
    pub(in crate::store) fn size(&self) -> (usize, usize) {
        match &self.storage {
            RowStorage::Lazy(set) => (set.entries(), set.bytes()),
            RowStorage::Preloaded(preload) => {
                preload.rows.as_ref().map_or((0, 0), |rows| (rows.len(), rows.bytes()))
            }
        }
    }

    fn state(&self) -> RowsState {
        let preload = match &self.storage {
            RowStorage::Lazy(_) => return RowsState::Lazy,
            RowStorage::Preloaded(preload) => preload,
        };
        if preload.rows.is_some() {
            return RowsState::Complete;
        }
        match &*preload.copy.lock() {
            TableCopy::Refused(reason) => RowsState::Unavailable(reason.clone()),
            TableCopy::Active(active) => RowsState::Loading {
                rows: active.progress.rows(),
                estimate: active.progress.estimate(),
            },
            TableCopy::Idle | TableCopy::Requested(_) => {
                RowsState::Loading { rows: 0, estimate: 0 }
            }
        }
    }
}
