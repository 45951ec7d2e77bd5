//! What every question for rows has in common: where they are, what is waited for, and what is said
//! when they don't come.

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

/// The stream is asked so often how far it is: once may have been too early.
const NUDGE_INTERVAL: Duration = Duration::from_millis(20);

impl Store {
    /// Drops what is in memory of these tables and reads it again; every client gets a reset of
    /// them. A preloaded table goes on being served until the new copy takes its place.
    pub fn reload(&self, tables: &[Arc<Resource>]) {
        self.shared.reloads.lock().extend(tables.iter().map(|table| table.oid()));
        self.shared.signals.writer_wanted.notify_one();
    }

    /// The stream is asked to say how far it is, so that a position is reached on a quiet server
    /// within a round trip: [`Store::wait_applied`] for who is in a hurry.
    pub async fn hurry_applied(&self, position: Position) {
        loop {
            self.requests.report_position.notify_one();
            // The first question may come before the server has written what is waited for.
            if timeout(NUDGE_INTERVAL, self.wait_applied(position)).await.is_ok() {
                return;
            }
        }
    }

    /// The catalog is looked at soon: for who doubts that the server is still there.
    pub fn request_catalog_refresh(&self) {
        self.requests.refresh_catalog.notify_one();
    }

    /// What a reader waits for, if it comes before its time is up. Once the store is closed nothing
    /// does: every wait for a position ends by then without it.
    pub(super) async fn in_time<T>(
        &self,
        until: Instant,
        coming: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            () = self.closed() => None,
            came = timeout_at(until, coming) => came.ok(),
        }
    }
}

impl StoreState {
    /// A snapshot was obtained that was asked for when `epoch` was followed. What is read in it belongs
    /// to what the change stream tells only if the stream is of the same server, or was when it last
    /// came. And of another history it does not even say which transactions have ended: they may bear
    /// the same ids.
    pub(super) fn saw(&self, at: &ReadPoint, epoch: Option<Epoch>) -> Result<(), LoadError> {
        if self.server != Some(at.server) {
            return Err(LoadError::OtherServer);
        }
        if self.epoch() == epoch {
            self.loads.lock().complete(&at.snapshot);
        }
        Ok(())
    }

    /// The rows of a table as it is defined now.
    pub(super) fn rows_of(
        &self,
        table: &Resource,
    ) -> Result<(&StoredTable, &TableRows), RowsError> {
        let Some(known) = self.tables.get(&table.oid()) else {
            return Err(RowsError::TemporarilyUnavailable(format!(
                "{} is not published any more",
                table.name
            )));
        };
        let refused = |reason| RowsError::Unavailable { table: table.name.clone(), reason };
        match (&known.published.table.rows, &known.rows) {
            (RowCaching::Unavailable(reason), _) => Err(refused(reason.clone())),
            (_, None) => Err(RowsError::NotCached(table.name.clone())),
            (_, Some(rows)) => {
                rows.refusal().map_or(Ok((known, rows)), |reason| Err(refused(reason)))
            }
        }
    }
}

pub(super) fn not_started() -> RowsError {
    RowsError::TemporarilyUnavailable(
        "the change stream has not started yet; try again later".into(),
    )
}

pub(super) fn too_late() -> RowsError {
    RowsError::TemporarilyUnavailable(
        "the row is not in memory, and the database did not give it in time; try again later"
            .into(),
    )
}

pub(super) fn too_many(limits: &RowLimits) -> RowsError {
    let max = limits.max_pending_loads;
    RowsError::TemporarilyUnavailable(format!(
        "{max} rows wait to be read from the database already (cache.loads_waiting_max); try again \
         later"
    ))
}
