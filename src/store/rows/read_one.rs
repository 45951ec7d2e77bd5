//! Reading rows by their ids.

use std::sync::Arc;

use tokio::time::Instant;

use super::load_state::{not_started, too_late, too_many};
use super::pending::{LoadReply, LoadWaiter, Retention};
use super::pending_changes::RowState;
use super::recent_commits::{RecentCommits, RequiredXids};
use super::table::TableRows;
use super::{ReadRow, RowOrigin, RowsError, trace};
use crate::key::Key;
use crate::row::Row;
use crate::store::directory::Resource;
use crate::store::state::Store;
use crate::store::state::{StoreState, StoredTable};

impl Store {
    /// One row. Waits for the database until `until` where it isn't in memory.
    pub async fn row(
        &self,
        table: &Arc<Resource>,
        key: &Key,
        until: Instant,
    ) -> Result<ReadRow, RowsError> {
        if let Some(found) = self.cached_row(table, key) {
            trace::hit(table, key);
            return Ok(found);
        }
        let mut key = key.clone();
        let mut origin = RowOrigin::Memory;
        loop {
            let mut ticket = match self.look(table, &key, origin)? {
                Ok(found) => {
                    if origin == RowOrigin::Memory {
                        trace::hit(table, &key);
                    }
                    return Ok(found);
                }
                Err(ticket) => ticket,
            };
            if origin == RowOrigin::Memory {
                trace::miss(table, &key);
            }
            origin = RowOrigin::Database;
            match self.in_time(until, ticket.wait()).await.ok_or_else(too_late)? {
                Some(LoadReply::Row(row, version)) => return Ok(ReadRow { version, row, origin }),
                Some(LoadReply::CanonicalKey(other)) => key = other,
                Some(LoadReply::Failed(error)) => return Err(error),
                None => {}
            }
        }
    }

    /// A row that is read through and in the cache. Takes no lock: what is in the cache is never
    /// older than the applied position was before one looks there.
    fn cached_row(&self, table: &Resource, key: &Key) -> Option<ReadRow> {
        let version = self.shared.signals.applied()?;
        let row = match self.shared.cache.find(table.generation()?, key) {
            RowState::Row(row) => Some(row),
            RowState::Absent => None,
            RowState::Unknown => return None,
        };
        Some(ReadRow { version, row, origin: RowOrigin::Memory })
    }

    /// The row if it is in memory, or a place among those who wait for it.
    fn look(
        &self,
        table: &Resource,
        key: &Key,
        origin: RowOrigin,
    ) -> Result<Result<ReadRow, LoadWaiter>, RowsError> {
        let state = self.shared.state.read();
        let (known, rows) = state.rows_of(table)?;
        let version = state.version().ok_or_else(not_started)?;
        let row = match rows.find_newest(key, &self.shared.cache) {
            RowState::Row(row) => Some(row),
            RowState::Absent => None,
            RowState::Unknown => match self.ask(&state, known, rows, key, Retention::Unpinned)? {
                Ok(row) => row,
                Err(ticket) => return Ok(Err(ticket)),
            },
        };
        Ok(Ok(ReadRow { version, row, origin }))
    }

    /// Asks for a row that was not in memory, unless it came meanwhile.
    pub(super) fn ask(
        &self,
        state: &StoreState,
        known: &StoredTable,
        rows: &TableRows,
        key: &Key,
        hold: Retention,
    ) -> Result<Result<Option<Row>, LoadWaiter>, RowsError> {
        let mut desk = rows.pending();
        if let Some(ticket) = desk.ticket(key, hold) {
            return Ok(Err(ticket));
        }
        match rows.find_cached(key, &self.shared.cache) {
            RowState::Unknown => {}
            cached => return Ok(Ok(cached.row())),
        }
        let mut loads = state.loads.lock();
        if loads.len() >= self.shared.limits.max_pending_loads {
            return Err(too_many(&self.shared.limits));
        }
        desk.enqueue_load(key.clone(), due(known, rows, key, &loads.recent));
        loads.push(rows.published.oid(), key.clone());
        self.shared.signals.load_wanted.notify_one();
        desk.ticket(key, hold).map(Err).ok_or_else(too_late)
    }
}

/// The recent commits that may have touched a row.
pub(super) fn due(
    known: &StoredTable,
    rows: &TableRows,
    key: &Key,
    recent: &RecentCommits,
) -> RequiredXids {
    let last = known.log.last_position(key).map(|position| position.lsn);
    let has_one_spelling = key.is_integer() && rows.held.keys_are_exact;
    match last {
        Some(_) if rows.held.keys_are_exact => recent.up_to(rows.floor, last),
        None if has_one_spelling => recent.up_to(rows.floor.max(known.log.floor().lsn), None),
        // What is not in the log under this spelling may be under another.
        _ => recent.all(),
    }
}
