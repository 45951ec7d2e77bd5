//! The workers that load requested rows from the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{RowsError, TableRows};
use crate::key::Key;
use crate::load::{LoadError, LoadedRows, Loader, ReadPoint};
use crate::store::cache::LoadDisposition;
use crate::store::metrics::LoadOutcome;
use crate::store::state::Store;
use crate::table::{Table, TableOid};
use crate::version::{Epoch, Version};

/// Polling interval for work when no notification arrives.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Tries for a key while another server answers than the one whose changes are followed: a second and
/// a half in all. The change stream usually gets there soon.
const OTHER_SERVER_TRIES: u32 = 8;

/// Runs one query after another. Several workers share the queue.
#[derive(Debug)]
pub struct LoadWorker {
    store: Store,
}

/// The next thing to request from the database.
enum LoadJob {
    Rows(LoadQuery),
    Snapshot(Option<Epoch>),
    /// Nothing until this time, or a notification.
    Idle(Instant),
}

/// A query for some rows of one table.
struct LoadQuery {
    number: u64,
    /// The history that was followed when the query was made.
    epoch: Option<Epoch>,
    oid: TableOid,
    table: Arc<Table>,
    keys: Vec<Key>,
}

impl Store {
    /// A worker that loads requested rows; the number of workers is the number of queries at a time.
    pub fn load_worker(&self) -> LoadWorker {
        LoadWorker { store: self.clone() }
    }
}

impl LoadWorker {
    /// Works until `shutdown`.
    pub async fn run(self, loader: Arc<dyn Loader>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.run_job(&*loader)).await.is_some() {}
    }

    async fn run_job(&self, loader: &dyn Loader) {
        let store = &self.store;
        let requested = store.shared.notifications.load_requested.notified();
        match store.next_job() {
            LoadJob::Rows(query) => {
                // There may be work for another worker, too.
                store.shared.notifications.load_requested.notify_one();
                let began = Instant::now();
                let result = loader.load(&query.table, &query.keys).await;
                let result = result.and_then(|loaded| {
                    store.check_read_point(loader, &loaded.at, query.epoch)?;
                    Ok(loaded)
                });
                store.complete_query(&query, result, began.elapsed());
            }
            LoadJob::Snapshot(epoch) => match loader.snapshot().await {
                // Of another server's snapshot there is nothing to do but to leave it.
                Ok(at) => drop(store.check_read_point(loader, &at, epoch)),
                Err(error) => tracing::debug!(%error, "snapshot not available"),
            },
            LoadJob::Idle(until) => {
                let _ = timeout_at(until, requested).await;
            }
        }
    }
}

impl Store {
    fn next_job(&self) -> LoadJob {
        let state = self.shared.state.read();
        let epoch = state.epoch();
        loop {
            let mut queue = state.loads.lock();
            if queue.claim_snapshot() {
                return LoadJob::Snapshot(epoch);
            }
            let Some((oid, mut keys)) = queue.next_keys() else {
                let next = queue.next_time().unwrap_or_else(|| Instant::now() + POLL_INTERVAL);
                return LoadJob::Idle(next);
            };
            let number = queue.next_query();
            drop(queue);
            let Some(rows) = state.tables.get(&oid).and_then(|table| table.rows.as_ref()) else {
                continue;
            };
            let mut pending = rows.join().pending();
            keys.retain(|key| pending.begin(key, number));
            if !keys.is_empty() {
                let table = rows.resource.table().clone();
                return LoadJob::Rows(LoadQuery { number, epoch, oid, table, keys });
            }
        }
    }

    /// Checks a read point as [`StoreState::check_read_point`] does, and has the loader close its
    /// sessions with another server.
    ///
    /// [`StoreState::check_read_point`]: crate::store::state::StoreState::check_read_point
    pub(in crate::store) fn check_read_point(
        &self,
        loader: &dyn Loader,
        at: &ReadPoint,
        epoch: Option<Epoch>,
    ) -> Result<(), LoadError> {
        let checked = self.shared.state.read().check_read_point(at, epoch);
        checked.inspect_err(|_| loader.leave(at.server))
    }

    fn complete_query(
        &self,
        query: &LoadQuery,
        result: Result<LoadedRows, LoadError>,
        took: Duration,
    ) {
        let state = self.shared.state.read();
        // The waiters of a table that was removed or replaced have been notified.
        let Some(table) = state.tables.get(&query.oid) else { return };
        let Some(applied) = state.version() else { return };
        if let Some(rows) = &table.rows {
            rows.resource.row_metrics.load_seconds.observe(took.as_secs_f64());
            let retries = match result {
                Ok(loaded) => self.complete_loads(rows, query, loaded, applied),
                Err(error) => self.fail_loads(rows, query, &error),
            };
            if !retries.is_empty() {
                let mut queue = state.loads.lock();
                for (key, tries) in retries {
                    queue.push_delayed(query.oid, key, tries);
                }
            }
        }
        drop(state);
        self.shared.notifications.load_requested.notify_one();
    }

    /// Hands the rows to their waiters and to the cache. Returns the keys to be queued again.
    fn complete_loads(
        &self,
        rows: &TableRows,
        query: &LoadQuery,
        loaded: LoadedRows,
        applied: Version,
    ) -> Vec<(Key, u32)> {
        let resource = &rows.resource;
        let at = Arc::new(loaded.at);
        let mut retries = Vec::new();
        let mut pending = rows.join().pending();
        for (key, row) in query.keys.iter().zip(loaded.rows) {
            let (disposition, outcome) = match row {
                Ok(row) => pending.complete(query.number, key, (row.key, row.row), &at, applied),
                Err(reason) => {
                    tracing::debug!(table = resource.name, id = ?key, "row not loaded: {reason}");
                    let error = RowsError::Unencodable(reason);
                    (pending.fail(query.number, key, &error, 0), Some(LoadOutcome::Failed))
                }
            };
            if let Some(outcome) = outcome {
                resource.row_metrics.count_load(outcome);
            }
            match disposition {
                LoadDisposition::Retry(tries) => retries.push((key.clone(), tries)),
                LoadDisposition::Done => {
                    rows.admit_one(&mut pending, key, applied.position.lsn);
                }
            }
        }
        if pending.required() > 0 {
            self.shared.notifications.writer_requested.notify_one();
        }
        retries
    }

    /// Reports a failed query to the waiters. Returns the keys to be queued again.
    fn fail_loads(
        &self,
        rows: &TableRows,
        query: &LoadQuery,
        error: &LoadError,
    ) -> Vec<(Key, u32)> {
        let name = &rows.resource.name;
        tracing::debug!(table = name, %error, "rows not loaded");
        let reported = match error {
            LoadError::Outdated => None,
            LoadError::BadKey(text) => Some(RowsError::BadKey(text.clone())),
            LoadError::Refused(reason) => {
                Some(RowsError::Unavailable { table: name.clone(), reason: reason.clone() })
            }
            LoadError::Unavailable(_) | LoadError::OtherServer | LoadError::Stopped => {
                Some(RowsError::TemporarilyUnavailable(format!(
                    "the row is not in memory, and {error}; try again later"
                )))
            }
        };
        if reported.is_none() {
            self.requests.refresh_catalog.notify_one();
        }
        let tries_max = match error {
            LoadError::OtherServer => OTHER_SERVER_TRIES,
            _ => 0,
        };
        let mut pending = rows.join().pending();
        let dispositions = query.keys.iter().map(|key| {
            rows.resource.row_metrics.count_load(LoadOutcome::Failed);
            let disposition = match &reported {
                Some(error) => pending.fail(query.number, key, error, tries_max),
                None => pending.retry(query.number, key),
            };
            (key, disposition)
        });
        let retries = dispositions.filter_map(|(key, disposition)| match disposition {
            LoadDisposition::Retry(tries) => Some((key.clone(), tries)),
            LoadDisposition::Done => None,
        });
        retries.collect()
    }
}
