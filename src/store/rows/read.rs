//! Reading rows by their ids.

use std::sync::Arc;

use tokio::time::Instant;

use super::ask::{not_started, too_late, too_many};
use super::chain::Standing;
use super::desk::{Hold, Ticket, Told};
use super::recent::{Due, Recent};
use super::table::TableRows;
use super::{Origin, ReadRow, RowsError, trace};
use crate::key::Key;
use crate::row::Row;
use crate::store::directory::PublishedTable;
use crate::store::state::Store;
use crate::store::state::{State, TableState};

impl Store {
    /// One row. Waits for the database until `until` where it isn't in memory.
    pub async fn row(
        &self,
        table: &Arc<PublishedTable>,
        key: &Key,
        until: Instant,
    ) -> Result<ReadRow, RowsError> {
        if let Some(found) = self.cached_row(table, key) {
            trace::hit(table, key);
            return Ok(found);
        }
        let mut key = key.clone();
        let mut origin = Origin::Memory;
        loop {
            let mut ticket = match self.look(table, &key, origin)? {
                Ok(found) => {
                    if origin == Origin::Memory {
                        trace::hit(table, &key);
                    }
                    return Ok(found);
                }
                Err(ticket) => ticket,
            };
            if origin == Origin::Memory {
                trace::miss(table, &key);
            }
            origin = Origin::Database;
            match self.in_time(until, ticket.told()).await.ok_or_else(too_late)? {
                Some(Told::Here(row, version)) => return Ok(ReadRow { version, row, origin }),
                Some(Told::Spelled(other)) => key = other,
                Some(Told::Failed(error)) => return Err(error),
                None => {}
            }
        }
    }

    /// A row that is read through and in the cache. Takes no lock: what is in the cache is never
    /// older than the applied position was before one looks there.
    fn cached_row(&self, table: &PublishedTable, key: &Key) -> Option<ReadRow> {
        let version = self.shared.signals.applied()?;
        let row = match self.shared.cache.find(table.generation()?, key) {
            Standing::Row(row) => Some(row),
            Standing::Absent => None,
            Standing::Unknown => return None,
        };
        Some(ReadRow { version, row, origin: Origin::Memory })
    }

    /// The row if it is in memory, or a place among those who wait for it.
    fn look(
        &self,
        table: &PublishedTable,
        key: &Key,
        origin: Origin,
    ) -> Result<Result<ReadRow, Ticket>, RowsError> {
        let state = self.shared.state.read();
        let (known, rows) = state.rows_of(table)?;
        let version = state.version().ok_or_else(not_started)?;
        let row = match rows.find_newest(key, &self.shared.cache) {
            Standing::Row(row) => Some(row),
            Standing::Absent => None,
            Standing::Unknown => match self.ask(&state, known, rows, key, Hold::Glance)? {
                Ok(row) => row,
                Err(ticket) => return Ok(Err(ticket)),
            },
        };
        Ok(Ok(ReadRow { version, row, origin }))
    }

    /// Asks for a row that was not in memory, unless it came meanwhile.
    pub(super) fn ask(
        &self,
        state: &State,
        known: &TableState,
        rows: &TableRows,
        key: &Key,
        hold: Hold,
    ) -> Result<Result<Option<Row>, Ticket>, RowsError> {
        let mut desk = rows.desk();
        if let Some(ticket) = desk.ticket(key, hold) {
            return Ok(Err(ticket));
        }
        match rows.find_cached(key, &self.shared.cache) {
            Standing::Unknown => {}
            cached => return Ok(Ok(cached.row())),
        }
        let mut loads = state.loads.lock();
        if loads.len() >= self.shared.limits.loads_waiting_max {
            return Err(too_many(&self.shared.limits));
        }
        desk.ask(key.clone(), due(known, rows, key, &loads.recent));
        loads.push(rows.published.oid(), key.clone());
        self.shared.signals.load_wanted.notify_one();
        desk.ticket(key, hold).map(Err).ok_or_else(too_late)
    }
}

/// The recent commits that may have touched a row.
pub(super) fn due(known: &TableState, rows: &TableRows, key: &Key, recent: &Recent) -> Due {
    let last = known.log.last_position(key).map(|position| position.lsn);
    let has_one_spelling = key.is_integer() && rows.held.keys_are_exact;
    match last {
        Some(_) if rows.held.keys_are_exact => recent.up_to(rows.floor, last),
        None if has_one_spelling => recent.up_to(rows.floor.max(known.log.floor().lsn), None),
        // What is not in the log under this spelling may be under another.
        _ => recent.all(),
    }
}
