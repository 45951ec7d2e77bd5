//! Copies the tables that are to be in memory as a whole, one after another.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::preload::too_large;
use super::table::RowStorage;
use super::table_copy::{ActiveCopy, CopyRequest, FinishedCopy, Overlay, Progress, TableCopy};
use crate::key::Key;
use crate::load::{CopySink, LoadError, Loader, ReadPoint};
use crate::row::Row;
use crate::store::directory::Resource;
use crate::store::state::Store;
use crate::table::TableOid;
use crate::version::{Epoch, Position};

/// A copy that failed is tried again so much later, and twice as late each time…
const PAUSE: Duration = Duration::from_secs(1);
/// …but not later than this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How far a copy is, is logged so often.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Keys that may have changed meanwhile for the writer to lay them over in one hold of the lock.
const OVERLAY_LEFT_MAX: usize = 1_000;
/// Times that the overlay is laid over without a lock before the rest is left to the writer,
/// however much that is.
const ROUNDS_MAX: usize = 10;
/// The stream is asked so long for the position that a finished copy waits for.
const HURRY_TIME_MAX: Duration = Duration::from_millis(500);

/// Copies one table after another.
#[derive(Debug)]
pub struct Preloader {
    store: Store,
    /// Copies begun.
    begun: u64,
}

/// A copy that was registered.
struct Registered {
    number: u64,
    /// The history that was followed then.
    epoch: Option<Epoch>,
    published: Arc<Resource>,
    wanted: CopyRequest,
    progress: Arc<Progress>,
    max_bytes: usize,
}

impl Store {
    /// What copies preloaded tables; there is to be one of it.
    pub fn preloader(&self) -> Preloader {
        Preloader { store: self.clone(), begun: 0 }
    }

    /// Does something with the copy of this number, if it is still on its way.
    fn with_copy<T>(
        &self,
        table: TableOid,
        number: u64,
        work: impl FnOnce(&mut ActiveCopy) -> T,
    ) -> Option<T> {
        let state = self.shared.state.read();
        let rows = state.tables.get(&table)?.rows.as_ref()?;
        let RowStorage::Preload(preload) = &rows.storage else { return None };
        preload.copy.lock().running(number).map(work)
    }

    /// Ends the copy of this number.
    fn end_copy(&self, table: TableOid, number: u64, end: TableCopy) {
        let state = self.shared.state.read();
        let rows = state.tables.get(&table).and_then(|table| table.rows.as_ref());
        if let Some(RowStorage::Preload(preload)) = rows.map(|rows| &rows.storage) {
            let mut copy = preload.copy.lock();
            if copy.running(number).is_some() {
                *copy = end;
            }
        }
    }
}

impl Preloader {
    /// Works until `shutdown`.
    pub async fn run(mut self, loader: Arc<dyn Loader>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.work(&*loader)).await.is_some() {}
    }

    async fn work(&mut self, loader: &dyn Loader) {
        let store = self.store.clone();
        let called = store.shared.signals.copy_wanted.notified();
        match self.register() {
            Ok(registered) => self.copy(registered, loader).await,
            Err(until) => {
                let _ = timeout_at(until, called).await;
            }
        }
    }

    /// Registers the next copy: from now on, what happens to the table is kept for it. If there is
    /// none now, tells when to look again.
    fn register(&mut self) -> Result<Registered, Instant> {
        let now = Instant::now();
        let mut next = now + REPORT_INTERVAL;
        let state = self.store.shared.state.read();
        for rows in state.tables.values().filter_map(|table| table.rows.as_ref()) {
            let RowStorage::Preload(preload) = &rows.storage else { continue };
            let mut copy = preload.copy.lock();
            let TableCopy::Wanted(wanted) = *copy else { continue };
            if wanted.from > now {
                next = next.min(wanted.from);
                continue;
            }
            self.begun += 1;
            let running = running(self.begun, wanted, state.loads.lock().recent.all());
            let progress = running.progress.clone();
            *copy = TableCopy::Running(Box::new(running));
            let (number, epoch, max_bytes) = (self.begun, state.epoch(), preload.max_bytes);
            let published = rows.published.clone();
            return Ok(Registered { number, epoch, published, wanted, progress, max_bytes });
        }
        Err(next)
    }

    async fn copy(&self, registered: Registered, loader: &dyn Loader) {
        let (oid, number) = (registered.published.oid(), registered.number);
        let mut sink = Sink {
            store: &self.store,
            copy: &registered,
            built: FinishedCopy::default(),
            began: Instant::now(),
            reported: Instant::now(),
        };
        let result = loader.copy(&registered.published.table, &mut sink).await;
        sink.report("rows were copied");
        let built = sink.built;
        let table = &registered.published.name;
        match result {
            Ok(()) => self.finish(&registered, built).await,
            Err(LoadError::Refused(reason)) => {
                tracing::error!(table, "the rows can't be preloaded: {reason}");
                self.store.end_copy(oid, number, TableCopy::Refused(reason));
            }
            Err(LoadError::Stopped) => self.again(&registered, Duration::ZERO),
            Err(error) => {
                if error == LoadError::Outdated {
                    self.store.requests.refresh_catalog.notify_one();
                }
                let failures = registered.wanted.failures.min(16);
                let pause = PAUSE.saturating_mul(1 << failures).min(PAUSE_MAX);
                tracing::warn!(table, %error, ?pause, "the rows could not be copied; trying again");
                self.again(&registered, pause);
            }
        }
    }

    fn again(&self, registered: &Registered, pause: Duration) {
        let from = Instant::now() + pause;
        let failures = registered.wanted.failures + 1;
        let wanted = CopyRequest { from, failures, ..registered.wanted };
        self.store.end_copy(
            registered.published.oid(),
            registered.number,
            TableCopy::Wanted(wanted),
        );
    }

    /// Lays over what happened meanwhile, and leaves the rest to the writer.
    async fn finish(&self, registered: &Registered, mut built: FinishedCopy) {
        let (oid, number) = (registered.published.oid(), registered.number);
        let mut at: Option<Arc<ReadPoint>> = None;
        for _ in 0..ROUNDS_MAX {
            let taken = self.store.with_copy(oid, number, |running| {
                let many = running.overlay.len() > OVERLAY_LEFT_MAX;
                (running.at.clone(), many.then(|| std::mem::take(&mut running.overlay)))
            });
            let Some((contained, overlay)) = taken else { return };
            at = contained;
            let (Some(at), Some(overlay)) = (&at, overlay) else { break };
            built.apply_overlay(overlay, at);
        }
        let Some(at) = at else { return self.again(registered, PAUSE) };
        self.store.with_copy(oid, number, |running| running.built = Some(built));
        self.store.shared.signals.writer_wanted.notify_one();
        let position = Position::after_commit(at.visible_up_to);
        let _ =
            timeout_at(Instant::now() + HURRY_TIME_MAX, self.store.hurry_applied(position)).await;
    }
}

fn running(
    number: u64,
    wanted: CopyRequest,
    due: super::recent_commits::RequiredXids,
) -> ActiveCopy {
    ActiveCopy {
        number,
        wanted,
        due,
        at: None,
        overlay: Overlay::default(),
        built: None,
        progress: Arc::default(),
    }
}

/// Takes the rows of a copy.
struct Sink<'a> {
    store: &'a Store,
    copy: &'a Registered,
    built: FinishedCopy,
    began: Instant,
    reported: Instant,
}

impl CopySink for Sink<'_> {
    fn begin(&mut self, at: &ReadPoint, rows_estimate: u64) -> Result<bool, LoadError> {
        self.store.shared.state.read().saw(at, self.copy.epoch)?;
        let number = self.copy.number;
        let begins = self.store.with_copy(self.copy.published.oid(), number, |running| {
            let sees_all = running.due.is_seen_by(&at.snapshot);
            running.at = sees_all.then(|| Arc::new(at.clone()));
            sees_all
        });
        self.copy.progress.estimate.store(rows_estimate, Relaxed);
        begins.ok_or(LoadError::Stopped)
    }

    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError> {
        for (key, row) in rows {
            self.built.rows.insert(key, row);
        }
        self.copy.progress.rows.store(self.built.rows.len() as u64, Relaxed);
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.report("rows are being copied");
        }
        let overlay =
            self.store.with_copy(self.copy.published.oid(), self.copy.number, |running| {
                running.overlay.bytes()
            });
        let Some(overlay) = overlay else { return Err(LoadError::Stopped) };
        if self.built.rows.bytes() + overlay > self.copy.max_bytes {
            return Err(LoadError::Refused(too_large(self.copy.max_bytes)));
        }
        Ok(())
    }
}

impl Sink<'_> {
    fn report(&mut self, what: &str) {
        self.reported = Instant::now();
        let rows = self.built.rows.len();
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        tracing::info!(
            table = self.copy.published.name,
            rows,
            estimate = self.copy.progress.estimate(),
            rows_per_second = (rows as f64 / seconds).round(),
            "{what}"
        );
    }
}
