//! Reading one row.

use std::sync::Arc;

use tokio::time::Instant;

use super::access::{load_timed_out, not_started, queue_full};
use super::table_rows::TableRows;
use super::{ReadRow, RowOrigin, RowWaiter, RowsError, trace};
use crate::key::Key;
use crate::row::Row;
use crate::store::cache::{
    LoadReply, LoadRequest, Presence, RecentCommits, RequiredXids, Retention,
};
use crate::store::directory::Resource;
use crate::store::state::{Store, StoreState, StoredTable};

impl Store {
    /// One row. If it is not in memory, waits for the database until `deadline`.
    pub async fn row(
        &self,
        table: &Arc<Resource>,
        key: &Key,
        deadline: Instant,
    ) -> Result<ReadRow, RowsError> {
        if let Some(row) = self.cached_row(table, key) {
            trace::hit(table, key);
            return Ok(row);
        }
        let mut key = key.clone();
        let mut origin = RowOrigin::Memory;
        loop {
            let mut waiter = match self.find_or_request(table, &key, origin)? {
                Ok(row) => {
                    if origin == RowOrigin::Memory {
                        trace::hit(table, &key);
                    }
                    return Ok(row);
                }
                Err(waiter) => waiter,
            };
            if origin == RowOrigin::Memory {
                trace::miss(table, &key);
            }
            origin = RowOrigin::Database;
            let reply = self.before_deadline(deadline, waiter.wait()).await;
            match reply.ok_or_else(load_timed_out)? {
                Some(LoadReply::Value(row, version)) => {
                    return Ok(ReadRow { version, row, origin });
                }
                Some(LoadReply::CanonicalKey(canonical)) => key = canonical,
                Some(LoadReply::Failed(error)) => return Err(error),
                None => {}
            }
        }
    }

    /// A row of a lazy table that is in the shared cache. Takes no lock: the applied position is read
    /// first, and a row in the cache is never older than that.
    fn cached_row(&self, table: &Resource, key: &Key) -> Option<ReadRow> {
        let version = self.shared.notifications.applied()?;
        let row = match self.shared.cache.find(table.generation()?, key) {
            Presence::Present(row) => Some(row),
            Presence::Absent => None,
            Presence::Unknown => return None,
        };
        Some(ReadRow { version, row, origin: RowOrigin::Memory })
    }

    /// The row if it is in memory, or a waiter for it.
    fn find_or_request(
        &self,
        table: &Resource,
        key: &Key,
        origin: RowOrigin,
    ) -> Result<Result<ReadRow, RowWaiter>, RowsError> {
        let state = self.shared.state.read();
        let (stored, rows) = state.rows_of(table)?;
        let version = state.version().ok_or_else(not_started)?;
        let row = match rows.find_newest(key) {
            Presence::Present(row) => Some(row),
            Presence::Absent => None,
            Presence::Unknown => {
                match self.request_row(&state, stored, rows, key, Retention::Unpinned)? {
                    Ok(row) => row,
                    Err(waiter) => return Ok(Err(waiter)),
                }
            }
        };
        Ok(Ok(ReadRow { version, row, origin }))
    }

    /// Requests a row that was not found, unless it came meanwhile.
    pub(in crate::store) fn request_row(
        &self,
        state: &StoreState,
        stored: &StoredTable,
        rows: &TableRows,
        key: &Key,
        retention: Retention,
    ) -> Result<Result<Option<Row>, RowWaiter>, RowsError> {
        let request = rows.join().request(
            (rows.resource.oid(), key),
            retention,
            &state.loads,
            || rows.find_cached(key),
            |recent| required_xids(stored, rows, key, recent),
        );
        match request {
            LoadRequest::Found(row) => Ok(Ok(row)),
            LoadRequest::Waiting(waiter) => Ok(Err(waiter)),
            LoadRequest::Queued(waiter) => {
                self.shared.notifications.load_requested.notify_one();
                Ok(Err(waiter))
            }
            LoadRequest::QueueFull => Err(queue_full(&self.shared.limits)),
        }
    }
}

/// The recent commits that may have changed a row.
pub(in crate::store) fn required_xids(
    stored: &StoredTable,
    rows: &TableRows,
    key: &Key,
    recent: &RecentCommits,
) -> RequiredXids {
    let last = stored.log.last_position(key).map(|position| position.lsn);
    let floor = rows.join().floor();
    let has_one_spelling = key.is_integer() && rows.plan.keys_are_exact;
    match last {
        Some(_) if rows.plan.keys_are_exact => recent.up_to(floor, last),
        None if has_one_spelling => recent.up_to(floor.max(stored.log.floor().lsn), None),
        // A key that is not in the log under this spelling may be there under another one.
        _ => recent.all(),
    }
}
