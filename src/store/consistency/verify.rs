//! The comparison of all cached rows, on request.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::compare::CompareError;
use super::scan::TableScan;
use super::{ConsistencyChecker, Mismatch};
use crate::key::Key;
use crate::load::{CopySink, LoadError, Loader, ReadPoint};
use crate::row::Row;
use crate::store::directory::Resource;
use crate::store::limits::CheckPace;
use crate::store::rows::RowStorage;
use crate::store::state::Store;
use crate::table::TableOid;
use crate::version::Epoch;

/// Differences of one table that are listed; those beyond are only counted.
const LISTED_DIFFERENCES_MAX: usize = 100;
/// Rows of a copy that seem to be missing in memory: they are compared one by one afterwards. Those
/// beyond count as undecided.
const SUSPECTS_MAX: usize = 100_000;
/// Comparisons of a row until it is decided…
const TRIES_MAX: u32 = 10;
/// …with this pause after the first one, doubled each time.
const PAUSE: Duration = Duration::from_millis(5);
/// Interval between progress log lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The result of comparing one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableVerification {
    /// The table's displayed name.
    pub table: String,
    /// Number of rows compared.
    pub rows: u64,
    /// Number of rows that differ.
    pub violations: u64,
    /// The first hundred of them.
    pub differences: Vec<Mismatch>,
    /// Number of rows that could not be compared because they changed with every try.
    pub undecided: u64,
    /// Why the comparison ended early, if it did.
    pub broken_off: Option<String>,
}

/// A requested verification.
#[derive(Debug)]
pub(in crate::store) struct Verification {
    tables: Vec<Arc<Resource>>,
    results: oneshot::Sender<Vec<TableVerification>>,
    _turn: ScanTurn,
}

/// The slot for the one verification that may be queued or running.
#[derive(Debug, Default)]
pub(in crate::store) struct Verifications {
    waiting: Mutex<Option<Verification>>,
    requested: Notify,
    /// Cloned by the verification that is queued or running.
    turn: Arc<()>,
}

/// The right to run: its owner is the only verification.
#[derive(Debug)]
struct ScanTurn(#[expect(dead_code, reason = "counted while it lives")] Arc<()>);

impl Verifications {
    pub(super) async fn next(&self) -> Verification {
        loop {
            if let Some(verification) = self.waiting.lock().take() {
                return verification;
            }
            self.requested.notified().await;
        }
    }

    fn request(
        &self,
        tables: Vec<Arc<Resource>>,
    ) -> Option<oneshot::Receiver<Vec<TableVerification>>> {
        let mut waiting = self.waiting.lock();
        // Remove one that was not begun and whose client has gone.
        if waiting.as_ref().is_some_and(|verification| verification.results.is_closed()) {
            *waiting = None;
        }
        if Arc::strong_count(&self.turn) > 1 {
            return None;
        }
        let (results, receiver) = oneshot::channel();
        *waiting = Some(Verification { tables, results, _turn: ScanTurn(self.turn.clone()) });
        self.requested.notify_one();
        Some(receiver)
    }
}

impl Store {
    /// Compares all cached rows of these tables with the database; tables without cached rows are left
    /// out. `None` while another verification is queued or running. Ends when the receiver is
    /// dropped.
    pub fn verify(
        &self,
        tables: &[Arc<Resource>],
    ) -> Option<oneshot::Receiver<Vec<TableVerification>>> {
        let cached = tables.iter().filter(|table| table.row_caching().held().is_some());
        let cached: Vec<_> = cached.cloned().collect();
        if cached.is_empty() {
            let (results, receiver) = oneshot::channel();
            let _ = results.send(Vec::new());
            return Some(receiver);
        }
        self.shared.verifications.request(cached)
    }
}

impl ConsistencyChecker {
    pub(super) async fn verify(&self, loader: &dyn Loader, verification: Verification) {
        let Verification { tables, mut results, _turn } = verification;
        let all = async {
            let mut verified = Vec::with_capacity(tables.len());
            for table in &tables {
                let result = self.verify_table(loader, table).await;
                tracing::info!(
                    table = result.table,
                    rows = result.rows,
                    violations = result.violations,
                    undecided = result.undecided,
                    broken_off = result.broken_off,
                    "verification finished"
                );
                verified.push(result);
            }
            verified
        };
        tokio::select! {
            verified = all => drop(results.send(verified)),
            () = results.closed() => tracing::info!("verification cancelled: its client has gone"),
        }
    }

    async fn verify_table(&self, loader: &dyn Loader, table: &Arc<Resource>) -> TableVerification {
        let mut result =
            TableVerification { table: table.name.clone(), ..TableVerification::default() };
        result.broken_off = match self.verify_rows(loader, table, &mut result).await {
            Ok(()) => None,
            Err(CompareError::Load(LoadError::Stopped)) => {
                Some("the rows are being loaded or were dropped; try again later".into())
            }
            Err(error) => Some(error.to_string()),
        };
        result
    }

    /// Compares the rows in memory first, then, of a preloaded table, those that are missing there.
    async fn verify_rows(
        &self,
        loader: &dyn Loader,
        table: &Arc<Resource>,
        result: &mut TableVerification,
    ) -> Result<(), CompareError> {
        let mut scan = TableScan::begin(&self.store, table.oid());
        let mut reported = Instant::now();
        while let Some(keys) = scan.next_keys(&self.store, CheckPace::ROWS_MAX) {
            self.decide(loader, table.oid(), keys, result).await?;
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                tracing::info!(
                    table = table.name,
                    rows = result.rows,
                    "verification compares rows"
                );
            }
        }
        if !table.row_caching().is_preloaded() {
            return Ok(());
        }
        let epoch = self.store.shared.state.read().epoch();
        let (store, suspects) = (&self.store, Vec::new());
        let mut missing = MissingRows { store, table: table.oid(), epoch, suspects, more: 0 };
        loader.copy(table.table(), &mut missing).await?;
        result.undecided += missing.more;
        for keys in missing.suspects.chunks(CheckPace::ROWS_MAX) {
            self.decide(loader, table.oid(), keys.to_vec(), result).await?;
        }
        Ok(())
    }

    /// Compares these rows, the undecided ones again after a pause.
    async fn decide(
        &self,
        loader: &dyn Loader,
        table: TableOid,
        mut keys: Vec<Key>,
        result: &mut TableVerification,
    ) -> Result<(), CompareError> {
        let mut pause = PAUSE;
        for _ in 0..TRIES_MAX {
            let compared = self.compare(loader, table, &keys).await?;
            result.rows += compared.rows;
            result.violations += compared.mismatches.len() as u64;
            let room = LISTED_DIFFERENCES_MAX.saturating_sub(result.differences.len());
            result.differences.extend(compared.mismatches.into_iter().take(room));
            keys = compared.undecided;
            if keys.is_empty() {
                return Ok(());
            }
            sleep(pause).await;
            pause *= 2;
        }
        result.undecided += keys.len() as u64;
        Ok(())
    }
}

/// The sink of a copy that keeps only the keys that are not in memory.
struct MissingRows<'a> {
    store: &'a Store,
    table: TableOid,
    /// The history that was followed when it began.
    epoch: Option<Epoch>,
    suspects: Vec<Key>,
    more: u64,
}

impl CopySink for MissingRows<'_> {
    fn begin(&mut self, at: &ReadPoint, _: u64) -> Result<bool, LoadError> {
        self.store.shared.state.read().check_read_point(at, self.epoch)?;
        Ok(true)
    }

    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError> {
        let state = self.store.shared.state.read();
        let rows_of_table = state.tables.get(&self.table).and_then(|table| table.rows.as_ref());
        let Some(RowStorage::Preloaded(preload)) = rows_of_table.map(|rows| &rows.storage) else {
            return Err(LoadError::Stopped);
        };
        let Some(map) = &preload.rows else { return Err(LoadError::Stopped) };
        for (key, _) in rows.into_iter().filter(|(key, _)| map.find(key).is_none()) {
            if self.suspects.len() < SUSPECTS_MAX {
                self.suspects.push(key);
            } else {
                self.more += 1;
            }
        }
        Ok(())
    }
}
