//! Asks the database for the rows that somebody waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::RowsError;
use super::pending::LoadDisposition;
use crate::key::Key;
use crate::load::{LoadError, LoadedRows, Loader, ReadPoint};
use crate::store::meters::LoadOutcome;
use crate::store::state::Store;
use crate::store::state::StoredTable;
use crate::table::{Table, TableOid};
use crate::version::{Epoch, Version};

/// A worker looks for work so often although nobody called it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A key is asked for so often again while another server answers than the one that is followed, which
/// takes a second and a half: the change stream usually comes there soon.
const OTHER_SERVER_TRIES: u32 = 8;

/// One query after another. Several workers share the work.
#[derive(Debug)]
pub struct LoadWorker {
    store: Store,
}

/// What to ask the database next.
enum LoadJob {
    Rows(LoadQuery),
    Snapshot(Option<Epoch>),
    Nothing(Instant),
}

struct LoadQuery {
    number: u64,
    /// The history that was followed when it was made.
    epoch: Option<Epoch>,
    oid: TableOid,
    table: Arc<Table>,
    keys: Vec<Key>,
}

impl Store {
    /// A worker that loads rows on request; run as many as there may be queries at a time.
    pub fn load_worker(&self) -> LoadWorker {
        LoadWorker { store: self.clone() }
    }
}

impl LoadWorker {
    /// Works until `shutdown`.
    pub async fn run(self, loader: Arc<dyn Loader>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.work(&*loader)).await.is_some() {}
    }

    async fn work(&self, loader: &dyn Loader) {
        let called = self.store.shared.signals.load_wanted.notified();
        match self.store.next_job() {
            LoadJob::Rows(query) => {
                // Others may find work, too.
                self.store.shared.signals.load_wanted.notify_one();
                let began = Instant::now();
                let result = loader.load(&query.table, &query.keys).await;
                let result = result.and_then(|loaded| {
                    self.store.saw(loader, &loaded.at, query.epoch)?;
                    Ok(loaded)
                });
                self.store.answer_query(&query, result, began.elapsed());
            }
            LoadJob::Snapshot(epoch) => match loader.snapshot().await {
                Ok(at) => drop(self.store.saw(loader, &at, epoch)),
                Err(error) => tracing::debug!(%error, "no snapshot"),
            },
            LoadJob::Nothing(until) => {
                let _ = tokio::time::timeout_at(until, called).await;
            }
        }
    }
}

impl Store {
    fn next_job(&self) -> LoadJob {
        let state = self.shared.state.read();
        let epoch = state.epoch();
        loop {
            let mut loads = state.loads.lock();
            if loads.takes_snapshot() {
                return LoadJob::Snapshot(epoch);
            }
            let Some((oid, mut keys)) = loads.next_keys() else {
                let later = loads.next_time().unwrap_or_else(|| Instant::now() + LOOK_INTERVAL);
                return LoadJob::Nothing(later);
            };
            let number = loads.next_query();
            drop(loads);
            let Some(rows) = state.tables.get(&oid).and_then(|table| table.rows.as_ref()) else {
                continue;
            };
            let mut desk = rows.pending();
            keys.retain(|key| desk.begin(key, number));
            if !keys.is_empty() {
                let table = rows.published.table.clone();
                return LoadJob::Rows(LoadQuery { number, epoch, oid, table, keys });
            }
        }
    }

    /// A snapshot was obtained: see `State::saw`. Sessions that lead to another server are left.
    pub(super) fn saw(
        &self,
        loader: &dyn Loader,
        at: &ReadPoint,
        epoch: Option<Epoch>,
    ) -> Result<(), LoadError> {
        let saw = self.shared.state.read().saw(at, epoch);
        saw.inspect_err(|_| loader.leave(at.server))
    }

    fn answer_query(
        &self,
        query: &LoadQuery,
        result: Result<LoadedRows, LoadError>,
        took: Duration,
    ) {
        let state = self.shared.state.read();
        // A table that is gone, or begins anew, has told those who waited.
        let Some(table) = state.tables.get(&query.oid) else { return };
        let Some(applied) = state.version() else { return };
        if let Some(rows) = &table.rows {
            rows.published.row_metrics.load_seconds.observe(took.as_secs_f64());
        }
        let again = match result {
            Ok(loaded) => self.arrive(table, query, loaded, applied),
            Err(error) => self.fail(table, query, &error),
        };
        if !again.is_empty() {
            let mut loads = state.loads.lock();
            for (key, tries) in again {
                loads.push_later(query.oid, key, tries);
            }
        }
        drop(state);
        self.shared.signals.load_wanted.notify_one();
    }

    /// Tells those who wait; hands out what has to be asked for again.
    fn arrive(
        &self,
        table: &StoredTable,
        query: &LoadQuery,
        loaded: LoadedRows,
        applied: Version,
    ) -> Vec<(Key, u32)> {
        let Some(rows) = &table.rows else { return Vec::new() };
        let at = Arc::new(loaded.at);
        let mut again = Vec::new();
        let mut desk = rows.pending();
        for (key, row) in query.keys.iter().zip(loaded.rows) {
            let (arrived, outcome) = match row {
                Ok(row) => desk.arrive(query.number, key, row, &at, applied),
                Err(reason) => {
                    tracing::debug!(table = rows.published.name, id = ?key, "{reason}");
                    let error = RowsError::Unencodable(reason);
                    (desk.fail(query.number, key, &error, 0), Some(LoadOutcome::Failed))
                }
            };
            if let Some(outcome) = outcome {
                rows.published.row_metrics.count_load(outcome);
            }
            match arrived {
                LoadDisposition::Again(tries) => again.push((key.clone(), tries)),
                LoadDisposition::Done => {
                    rows.admit_one(&mut desk, key, applied.position.lsn, &self.shared.cache);
                }
            }
        }
        if desk.required() > 0 {
            self.shared.signals.writer_wanted.notify_one();
        }
        again
    }

    fn fail(&self, table: &StoredTable, query: &LoadQuery, error: &LoadError) -> Vec<(Key, u32)> {
        let Some(rows) = &table.rows else { return Vec::new() };
        let name = &rows.published.name;
        tracing::debug!(table = name, %error, "rows could not be loaded");
        let told = match error {
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
        if told.is_none() {
            self.requests.refresh_catalog.notify_one();
        }
        let patience = match error {
            LoadError::OtherServer => OTHER_SERVER_TRIES,
            _ => 0,
        };
        let mut desk = rows.pending();
        let arrived = query.keys.iter().map(|key| {
            rows.published.row_metrics.count_load(LoadOutcome::Failed);
            let arrived = match &told {
                Some(error) => desk.fail(query.number, key, error, patience),
                None => desk.again(query.number, key),
            };
            (key.clone(), arrived)
        });
        let again = arrived.filter_map(|(key, arrived)| match arrived {
            LoadDisposition::Again(tries) => Some((key, tries)),
            LoadDisposition::Done => None,
        });
        again.collect()
    }
}
