//! The comparison of some rows in memory with the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{ConsistencyChecker, Mismatch};
use crate::key::Key;
use crate::load::{LoadError, LoadedRows, Loader};
use crate::lsn::Lsn;
use crate::row::{Row, difference};
use crate::store::cache::{Lookup, PendingLoads, PendingState};
use crate::store::rows::{RowStorage, TableRows, required_xids};
use crate::store::state::{Store, StoreState};
use crate::table::{Table, TableOid};
use crate::version::{Epoch, Position};

/// Time for the change stream to reach what the snapshot contains.
const APPLIED_TIME_MAX: Duration = Duration::from_secs(5);
/// Number of the query: a table has one check at a time.
const QUERY: u64 = 0;

/// The result of one comparison.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Number of rows compared, cached absent ones included.
    pub(super) rows: u64,
    pub(super) mismatches: Vec<Mismatch>,
    /// Keys whose rows could not be compared this time.
    pub(super) undecided: Vec<Key>,
}

/// Why no row could be compared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CompareError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the change stream has not caught up with the snapshot yet")]
    NotApplied,
}

/// A running check; ends it for the table when dropped.
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
    /// Compares the rows under these keys that are in memory.
    pub(super) async fn compare(
        &self,
        loader: &dyn Loader,
        table: TableOid,
        keys: &[Key],
    ) -> Result<Compared, CompareError> {
        let Some(check) = self.store.begin_check(table, keys) else {
            return Ok(Compared::default());
        };
        let outcome = loader.load(&check.table, keys).await;
        if outcome.as_ref().is_err_and(|error| *error == LoadError::Outdated) {
            self.store.requests.refresh_catalog.notify_one();
            return Ok(Compared { undecided: keys.to_vec(), ..Compared::default() });
        }
        let rows = outcome?;
        self.store.check_read_point(loader, &rows.at, check.epoch)?;
        let visible_up_to = rows.at.visible_up_to;
        check.complete(keys, rows);
        let applied = self.store.expedite_applied(Position::after_commit(visible_up_to));
        timeout(APPLIED_TIME_MAX, applied).await.map_err(|_| CompareError::NotApplied)?;
        Ok(self.store.shared.state.read().compare(table, keys, visible_up_to))
    }
}

impl Store {
    /// Begins a check: from now on the changes to these keys are kept.
    fn begin_check(&self, oid: TableOid, keys: &[Key]) -> Option<CheckGuard<'_>> {
        let state = self.shared.state.read();
        let stored = state.tables.get(&oid)?;
        let rows = stored.rows.as_ref()?;
        let mut pending = PendingLoads::default();
        let queue = state.loads.lock();
        for key in keys {
            pending.begin_load(QUERY, key.clone(), required_xids(stored, rows, key, &queue.recent));
        }
        drop(queue);
        *rows.join().checked() = pending;
        let table = rows.resource.table().clone();
        Some(CheckGuard { store: self, oid, table, epoch: state.epoch() })
    }
}

impl CheckGuard<'_> {
    fn complete(&self, keys: &[Key], loaded: LoadedRows) {
        let state = self.store.shared.state.read();
        let Some(applied) = state.version() else { return };
        let Some(rows) = state.rows_checked(self.oid) else { return };
        let at = Arc::new(loaded.at);
        let mut pending = rows.join().checked();
        // A row that can't be written as JSON is left undecided.
        let written = keys.iter().zip(loaded.rows).filter_map(|(key, row)| Some((key, row.ok()?)));
        for (key, row) in written {
            pending.complete(QUERY, key, (row.key, row.row), &at, applied);
        }
    }
}

impl StoreState {
    fn rows_checked(&self, oid: TableOid) -> Option<&TableRows> {
        self.tables.get(&oid)?.rows.as_ref()
    }

    fn take_checked(&self, oid: TableOid) -> PendingLoads<Key, Row> {
        let rows = self.rows_checked(oid);
        rows.map(|rows| std::mem::take(&mut *rows.join().checked())).unwrap_or_default()
    }

    /// Ends a check: compares the loaded rows with those in memory, both at the applied position.
    fn compare(&self, oid: TableOid, keys: &[Key], visible_up_to: Lsn) -> Compared {
        let mut compared = Compared::default();
        let Some(rows) = self.rows_checked(oid) else { return compared };
        let checked = self.take_checked(oid);
        let applied = self.applied.lsn;
        for key in keys {
            let database = match checked.find(key) {
                PendingState::Ready(row, _) if visible_up_to <= applied => row,
                _ => {
                    compared.undecided.push(key.clone());
                    continue;
                }
            };
            // A row that is not cached, or still pending, can't be wrong.
            let Lookup::Value(memory) = rows.find(key, applied) else { continue };
            let difference = difference(memory.as_ref(), database.as_ref());
            // Preloaded tables cache no absent rows: an agreement on absence is no comparison.
            let is_row = memory.is_some() || difference.is_some() || rows.caches_absence();
            compared.rows += u64::from(is_row);
            let mismatch = difference.map(|difference| Mismatch { id: key.clone(), difference });
            compared.mismatches.extend(mismatch);
        }
        rows.report(&compared);
        compared
    }
}

impl TableRows {
    fn caches_absence(&self) -> bool {
        matches!(self.storage, RowStorage::Lazy(_))
    }

    fn report(&self, compared: &Compared) {
        let metrics = &self.resource.row_metrics;
        metrics.checks.inc_by(compared.rows);
        metrics.violations.inc_by(compared.mismatches.len() as u64);
        for Mismatch { id, difference } in &compared.mismatches {
            tracing::error!(
                table = self.resource.name,
                ?id,
                difference,
                "consistency violation: a cached row differs from the database; please file a bug, \
                 and load the table again with highwater reload"
            );
        }
    }
}
