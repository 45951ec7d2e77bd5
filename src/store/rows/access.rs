//! What all readers of rows share: access to a table's rows, waiting, and the errors of both.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::{RowsError, TableRows};
use crate::load::{LoadError, ReadPoint};
use crate::store::directory::Resource;
use crate::store::limits::RowLimits;
use crate::store::state::{Store, StoreState, StoredTable};
use crate::table::RowCaching;
use crate::version::{Epoch, Position};

/// Interval between two requests for the stream's position: the first may have come too early.
const POSITION_REQUEST_INTERVAL: Duration = Duration::from_millis(20);

impl Store {
    /// Drops the cached rows of these tables and loads them again; every client gets a reset of
    /// them. A preloaded table is served until the new copy takes its place.
    pub fn reload(&self, tables: &[Arc<Resource>]) {
        self.shared.reloads.lock().extend(tables.iter().map(|table| table.oid()));
        self.shared.notifications.writer_requested.notify_one();
    }

    /// Waits like [`Store::wait_applied`], and requests the stream's position meanwhile, so that a
    /// position is reached on a quiet server within a round trip.
    pub async fn expedite_applied(&self, position: Position) {
        loop {
            self.requests.report_position.notify_one();
            // The server may not have written the position yet when the first request arrives.
            let applied = self.wait_applied(position);
            if timeout(POSITION_REQUEST_INTERVAL, applied).await.is_ok() {
                return;
            }
        }
    }

    /// Requests a refresh of the catalog, which also shows whether the server still answers.
    pub fn request_catalog_refresh(&self) {
        self.requests.refresh_catalog.notify_one();
    }

    /// The result of a wait that ends before `deadline`; `None` after it, or once the store is
    /// closed: waits for a position end by then without having reached it.
    pub(in crate::store) async fn before_deadline<T>(
        &self,
        deadline: Instant,
        wait: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            () = self.closed() => None,
            result = timeout_at(deadline, wait) => result.ok(),
        }
    }
}

impl StoreState {
    /// Checks the read point of something that was requested while `epoch` was followed, and prunes
    /// the recent commits by its snapshot. The result is joined with the change stream only if the
    /// stream is of the same server, or was when it was last connected. Of another history the
    /// snapshot does not even say which transactions have ended: they may bear the same ids.
    pub(in crate::store) fn check_read_point(
        &self,
        at: &ReadPoint,
        epoch: Option<Epoch>,
    ) -> Result<(), LoadError> {
        if self.server != Some(at.server) {
            return Err(LoadError::OtherServer);
        }
        if self.epoch() == epoch {
            self.loads.lock().complete(&at.snapshot);
        }
        Ok(())
    }

    /// The rows of a table as it is defined now.
    pub(in crate::store) fn rows_of(
        &self,
        table: &Resource,
    ) -> Result<(&StoredTable, &TableRows), RowsError> {
        let Some(stored) = self.tables.get(&table.oid()) else {
            return Err(RowsError::TemporarilyUnavailable(format!(
                "{} is not published any more",
                table.name
            )));
        };
        let unavailable = |reason| RowsError::Unavailable { table: table.name.clone(), reason };
        match (stored.resource.row_caching(), &stored.rows) {
            (RowCaching::Unavailable(reason), _) => Err(unavailable(reason.clone())),
            (_, None) => Err(RowsError::NotCached(table.name.clone())),
            (_, Some(rows)) => {
                rows.refusal().map_or(Ok((stored, rows)), |reason| Err(unavailable(reason)))
            }
        }
    }
}

pub(in crate::store) fn not_started() -> RowsError {
    RowsError::TemporarilyUnavailable(
        "the change stream has not started yet; try again later".into(),
    )
}

pub(in crate::store) fn load_timed_out() -> RowsError {
    RowsError::TemporarilyUnavailable(
        "the row is not in memory, and the database did not return it in time; try again later"
            .into(),
    )
}

pub(in crate::store) fn queue_full(limits: &RowLimits) -> RowsError {
    let max = limits.max_pending_loads;
    RowsError::TemporarilyUnavailable(format!(
        "{max} rows are waiting to be loaded from the database already (cache.max_pending_loads); \
         try again later"
    ))
}
