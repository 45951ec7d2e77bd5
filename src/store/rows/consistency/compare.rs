//! Some rows, as they are in memory and in the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{ConsistencyChecker, Mismatch};
use crate::key::Key;
use crate::load::{LoadError, LoadedRows, Loader};
use crate::lsn::Lsn;
use crate::row::difference;
use crate::store::rows::pending::{PendingRows, PendingState};
use crate::store::rows::read_one::due;
use crate::store::rows::table::{Lookup, RowStorage, TableRows};
use crate::store::state::Store;
use crate::store::state::StoreState;
use crate::table::{Table, TableOid};
use crate::version::{Epoch, Position};

/// What the change stream has to reach is waited for so long.
const APPLIED_TIME_MAX: Duration = Duration::from_secs(5);
/// The number of our queries: there is one at a time on the desk of a table.
const QUERY: u64 = 0;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Rows that were compared, and absent ones that are remembered.
    pub(super) rows: u64,
    pub(super) violations: Vec<Mismatch>,
    /// Of these nothing can be said this time.
    pub(super) undecided: Vec<Key>,
}

/// Why nothing could be compared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CompareError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the change stream has not told yet what the database shows")]
    NotApplied,
}

/// Clears a table's desk of checks, however a check ends.
struct CheckGuard<'a> {
    store: &'a Store,
    oid: TableOid,
    table: Arc<Table>,
    /// The history that was followed when it began.
    epoch: Option<Epoch>,
}

impl Drop for CheckGuard<'_> {
    fn drop(&mut self) {
        self.store.shared.state.read().take_checked(self.oid);
    }
}

impl ConsistencyChecker {
    /// Compares the rows under these keys, as far as they are in memory.
    pub(super) async fn compare(
        &self,
        loader: &dyn Loader,
        table: TableOid,
        keys: &[Key],
    ) -> Result<Compared, CompareError> {
        let Some(check) = self.store.begin_check(table, keys) else {
            return Ok(Compared::default());
        };
        let answer = loader.load(&check.table, keys).await;
        if answer.as_ref().is_err_and(|error| *error == LoadError::Outdated) {
            self.store.requests.refresh_catalog.notify_one();
            return Ok(Compared { undecided: keys.to_vec(), ..Compared::default() });
        }
        let answer = answer?;
        self.store.saw(loader, &answer.at, check.epoch)?;
        let horizon = answer.at.visible_up_to;
        check.arrive(keys, answer);
        let reached = self.store.hurry_applied(Position::after_commit(horizon));
        timeout(APPLIED_TIME_MAX, reached).await.map_err(|_| CompareError::NotApplied)?;
        Ok(self.store.shared.state.read().compare(&self.store, table, keys, horizon))
    }
}

impl Store {
    /// From now on the changes to these keys are kept.
    fn begin_check(&self, oid: TableOid, keys: &[Key]) -> Option<CheckGuard<'_>> {
        let state = self.shared.state.read();
        let known = state.tables.get(&oid)?;
        let rows = known.rows.as_ref()?;
        let mut desk = PendingRows::default();
        let loads = state.loads.lock();
        for key in keys {
            desk.ask_in(QUERY, key.clone(), due(known, rows, key, &loads.recent));
        }
        drop(loads);
        *rows.checked.lock() = desk;
        let table = rows.published.table.clone();
        Some(CheckGuard { store: self, oid, table, epoch: state.epoch() })
    }
}

impl CheckGuard<'_> {
    fn arrive(&self, keys: &[Key], loaded: LoadedRows) {
        let state = self.store.shared.state.read();
        let Some(applied) = state.version() else { return };
        let Some(rows) = state.rows_on_check(self.oid) else { return };
        let at = Arc::new(loaded.at);
        let mut desk = rows.checked.lock();
        // Of a row that can't be told nothing is said either.
        let told = keys.iter().zip(loaded.rows).filter_map(|(key, row)| Some((key, row.ok()?)));
        for (key, row) in told {
            desk.arrive(QUERY, key, row, &at, applied);
        }
    }
}

impl StoreState {
    fn rows_on_check(&self, oid: TableOid) -> Option<&TableRows> {
        self.tables.get(&oid)?.rows.as_ref()
    }

    fn take_checked(&self, oid: TableOid) -> PendingRows {
        let rows = self.rows_on_check(oid);
        rows.map(|rows| std::mem::take(&mut *rows.checked.lock())).unwrap_or_default()
    }

    /// Compares what stands on the desk with what is in memory, both at the applied position.
    fn compare(&self, store: &Store, oid: TableOid, keys: &[Key], horizon: Lsn) -> Compared {
        let mut compared = Compared::default();
        let Some(rows) = self.rows_on_check(oid) else { return compared };
        let desk = self.take_checked(oid);
        let applied = self.applied.lsn;
        for key in keys {
            let database = match desk.find(key) {
                PendingState::Here(row, _) if horizon <= applied => row,
                _ => {
                    compared.undecided.push(key.clone());
                    continue;
                }
            };
            // What has left memory, or is on its way there, claims nothing.
            let Lookup::Row(memory) = rows.find(key, applied, &store.shared.cache) else {
                continue;
            };
            let difference = difference(memory.as_ref(), database.as_ref());
            // That a row of a preloaded table is absent is not held anywhere.
            let is_row = memory.is_some() || difference.is_some() || rows.remembers_absent();
            compared.rows += u64::from(is_row);
            let violation = difference.map(|difference| Mismatch { id: key.clone(), difference });
            compared.violations.extend(violation);
        }
        rows.tell(&compared);
        compared
    }
}

impl TableRows {
    fn remembers_absent(&self) -> bool {
        matches!(self.storage, RowStorage::Lazy(_))
    }

    fn tell(&self, compared: &Compared) {
        let meters = &self.published.row_metrics;
        meters.checks.inc_by(compared.rows);
        meters.violations.inc_by(compared.violations.len() as u64);
        for Mismatch { id, difference } in &compared.violations {
            tracing::error!(
                table = self.published.name,
                ?id,
                difference,
                "VIOLATION: a row in memory is not what the database says; please report it, and \
                 read the table again with highwater reload"
            );
        }
    }
}
