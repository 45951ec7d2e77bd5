//! All rows that are held, once.

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
use crate::store::rows::table::RowStorage;
use crate::store::state::Store;
use crate::table::TableOid;
use crate::version::Epoch;

/// Differences of one table that are told one by one; those beyond are counted.
const DIFFERENCES_TOLD_MAX: usize = 100;
/// Rows of a copy that memory lacks, or seems to: they are looked at one by one afterwards. Those
/// beyond count as undecided.
const SUSPECTS_MAX: usize = 100_000;
/// A row is asked for so often until something can be said of it…
const TRIES_MAX: u32 = 10;
/// …with such a pause after the first time, twice as long each time.
const PAUSE: Duration = Duration::from_millis(5);
/// How far it is, is logged so often.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// What came of comparing one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableVerification {
    /// The table's displayed name.
    pub table: String,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that differ.
    pub violations: u64,
    /// The first of them.
    pub differences: Vec<Mismatch>,
    /// Rows of which nothing could be said, because they changed all the time.
    pub undecided: u64,
    /// Why the table could not be compared to its end.
    pub broken_off: Option<String>,
}

/// A verification that somebody waits for.
#[derive(Debug)]
pub(in crate::store) struct Verification {
    tables: Vec<Arc<Resource>>,
    told: oneshot::Sender<Vec<TableVerification>>,
    _turn: ScanTurn,
}

/// One verification runs at a time.
#[derive(Debug, Default)]
pub(in crate::store) struct Verifications {
    waiting: Mutex<Option<Verification>>,
    called: Notify,
    /// Held by the one that waits or runs.
    turn: Arc<()>,
}

/// Whoever has it is the only one.
#[derive(Debug)]
struct ScanTurn(#[expect(dead_code, reason = "counted while it lives")] Arc<()>);

impl Verifications {
    pub(super) async fn wanted(&self) -> Verification {
        loop {
            if let Some(verification) = self.waiting.lock().take() {
                return verification;
            }
            self.called.notified().await;
        }
    }

    fn request(
        &self,
        tables: Vec<Arc<Resource>>,
    ) -> Option<oneshot::Receiver<Vec<TableVerification>>> {
        let mut waiting = self.waiting.lock();
        // One that nobody waits for any longer, and that was not begun.
        if waiting.as_ref().is_some_and(|verification| verification.told.is_closed()) {
            *waiting = None;
        }
        if Arc::strong_count(&self.turn) > 1 {
            return None;
        }
        let (told, verdicts) = oneshot::channel();
        *waiting = Some(Verification { tables, told, _turn: ScanTurn(self.turn.clone()) });
        self.called.notify_one();
        Some(verdicts)
    }
}

impl Store {
    /// Compares all rows that are held of these tables with the database; tables without rows in
    /// memory are left out. `None` when another verification is on its way. It ends when the
    /// receiver is dropped.
    pub fn verify(
        &self,
        tables: &[Arc<Resource>],
    ) -> Option<oneshot::Receiver<Vec<TableVerification>>> {
        let held = tables.iter().filter(|table| table.table.rows.held().is_some());
        let held: Vec<_> = held.cloned().collect();
        if held.is_empty() {
            let (told, verdicts) = oneshot::channel();
            let _ = told.send(Vec::new());
            return Some(verdicts);
        }
        self.shared.verifications.request(held)
    }
}

impl ConsistencyChecker {
    pub(super) async fn verify(&self, loader: &dyn Loader, verification: Verification) {
        let Verification { tables, mut told, _turn } = verification;
        let all = async {
            let mut verdicts = Vec::with_capacity(tables.len());
            for table in &tables {
                let verdict = self.verify_table(loader, table).await;
                tracing::info!(
                    table = verdict.table,
                    rows = verdict.rows,
                    violations = verdict.violations,
                    undecided = verdict.undecided,
                    broken_off = verdict.broken_off,
                    "rows were compared with the database"
                );
                verdicts.push(verdict);
            }
            verdicts
        };
        tokio::select! {
            verdicts = all => drop(told.send(verdicts)),
            () = told.closed() => tracing::info!("nobody waits any longer for rows to be compared"),
        }
    }

    async fn verify_table(&self, loader: &dyn Loader, table: &Arc<Resource>) -> TableVerification {
        let mut verdict =
            TableVerification { table: table.name.clone(), ..TableVerification::default() };
        verdict.broken_off = match self.verify_rows(loader, table, &mut verdict).await {
            Ok(()) => None,
            Err(CompareError::Load(LoadError::Stopped)) => {
                Some("the rows are being loaded, or begin anew; try again later".into())
            }
            Err(error) => Some(error.to_string()),
        };
        verdict
    }

    /// First what is in memory, then, of a preloaded table, what is not and should be.
    async fn verify_rows(
        &self,
        loader: &dyn Loader,
        table: &Arc<Resource>,
        verdict: &mut TableVerification,
    ) -> Result<(), CompareError> {
        let mut sweep = TableScan::begin(&self.store, table.oid());
        let mut reported = Instant::now();
        while let Some(keys) = sweep.next_keys(&self.store, CheckPace::ROWS_MAX) {
            self.decide(loader, table.oid(), keys, verdict).await?;
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                tracing::info!(table = table.name, rows = verdict.rows, "rows are being compared");
            }
        }
        if !table.table.rows.is_preloaded() {
            return Ok(());
        }
        let epoch = self.store.shared.state.read().epoch();
        let (store, suspects) = (&self.store, Vec::new());
        let mut missing = MissingRows { store, table: table.oid(), epoch, suspects, more: 0 };
        loader.copy(&table.table, &mut missing).await?;
        verdict.undecided += missing.more;
        for keys in missing.suspects.chunks(CheckPace::ROWS_MAX) {
            self.decide(loader, table.oid(), keys.to_vec(), verdict).await?;
        }
        Ok(())
    }

    /// Compares these rows, again and again those of which nothing could be said.
    async fn decide(
        &self,
        loader: &dyn Loader,
        table: TableOid,
        mut keys: Vec<Key>,
        verdict: &mut TableVerification,
    ) -> Result<(), CompareError> {
        let mut pause = PAUSE;
        for _ in 0..TRIES_MAX {
            let compared = self.compare(loader, table, &keys).await?;
            verdict.rows += compared.rows;
            verdict.violations += compared.violations.len() as u64;
            let room = DIFFERENCES_TOLD_MAX.saturating_sub(verdict.differences.len());
            verdict.differences.extend(compared.violations.into_iter().take(room));
            keys = compared.undecided;
            if keys.is_empty() {
                return Ok(());
            }
            sleep(pause).await;
            pause *= 2;
        }
        verdict.undecided += keys.len() as u64;
        Ok(())
    }
}

/// Takes a copy, and keeps of it the keys that are not in memory.
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
        self.store.shared.state.read().saw(at, self.epoch)?;
        Ok(true)
    }

    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError> {
        let state = self.store.shared.state.read();
        let held = state.tables.get(&self.table).and_then(|table| table.rows.as_ref());
        let Some(RowStorage::Preload(preload)) = held.map(|rows| &rows.storage) else {
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
