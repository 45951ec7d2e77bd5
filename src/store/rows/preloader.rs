//! The task that copies preloaded tables, one after another.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::preload::too_large;
use super::table_copy::{ActiveCopy, CopyRequest, FinishedCopy, Progress, TableCopy};
use super::table_rows::RowStorage;
use crate::key::Key;
use crate::load::{CopySink, LoadError, Loader, ReadPoint};
use crate::row::Row;
use crate::store::directory::Resource;
use crate::store::state::Store;
use crate::table::TableOid;
use crate::version::{Epoch, Position};

/// Pause before a failed copy is tried again; doubled each time…
const PAUSE: Duration = Duration::from_secs(1);
/// …up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Interval between progress log lines, and fallback polling interval without a notification.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Number of changed keys that may be left for the writer to apply under one hold of the lock.
const OVERLAY_LEFT_MAX: usize = 1_000;
/// Times that the overlay is applied without a lock before the rest is left to the writer, whatever
/// its size.
const ROUNDS_MAX: usize = 10;
/// Time for which the stream's position is requested so that a finished copy can be installed.
const EXPEDITE_TIME_MAX: Duration = Duration::from_millis(500);

/// Copies one table after another.
#[derive(Debug)]
pub struct Preloader {
    store: Store,
    /// Number of copies begun.
    begun: u64,
}

/// A copy for which changes are being kept.
struct RegisteredCopy {
    number: u64,
    /// The history that was followed then.
    epoch: Option<Epoch>,
    resource: Arc<Resource>,
    request: CopyRequest,
    progress: Arc<Progress>,
    max_bytes: usize,
}

impl Store {
    /// The task that copies preloaded tables; there is to be one of it.
    pub fn preloader(&self) -> Preloader {
        Preloader { store: self.clone(), begun: 0 }
    }

    /// Does something with the copy of this number, if it is still active.
    fn with_copy<T>(
        &self,
        table: TableOid,
        number: u64,
        work: impl FnOnce(&mut ActiveCopy) -> T,
    ) -> Option<T> {
        let state = self.shared.state.read();
        let rows = state.tables.get(&table)?.rows.as_ref()?;
        let RowStorage::Preloaded(preload) = &rows.storage else { return None };
        preload.copy.lock().active(number).map(work)
    }

    /// Replaces the copy of this number by `end`, if it is still active.
    fn end_copy(&self, table: TableOid, number: u64, end: TableCopy) {
        let state = self.shared.state.read();
        let rows = state.tables.get(&table).and_then(|table| table.rows.as_ref());
        if let Some(RowStorage::Preloaded(preload)) = rows.map(|rows| &rows.storage) {
            let mut copy = preload.copy.lock();
            if copy.active(number).is_some() {
                *copy = end;
            }
        }
    }
}

impl Preloader {
    /// Works until `shutdown`.
    pub async fn run(mut self, loader: Arc<dyn Loader>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.run_copy(&*loader)).await.is_some() {}
    }

    async fn run_copy(&mut self, loader: &dyn Loader) {
        let store = self.store.clone();
        let requested = store.shared.notifications.copy_requested.notified();
        match self.register() {
            Ok(registered) => self.copy(registered, loader).await,
            Err(until) => {
                let _ = timeout_at(until, requested).await;
            }
        }
    }

    /// Registers the next copy: from now on, the changes to the table are kept for it. If none is due,
    /// returns the time of the next check.
    fn register(&mut self) -> Result<RegisteredCopy, Instant> {
        let now = Instant::now();
        let mut next = now + REPORT_INTERVAL;
        let state = self.store.shared.state.read();
        for rows in state.tables.values().filter_map(|table| table.rows.as_ref()) {
            let RowStorage::Preloaded(preload) = &rows.storage else { continue };
            let mut copy = preload.copy.lock();
            let TableCopy::Requested(request) = *copy else { continue };
            if request.not_before > now {
                next = next.min(request.not_before);
                continue;
            }
            self.begun += 1;
            let active = ActiveCopy::new(self.begun, request, state.loads.lock().recent.all());
            let progress = active.progress.clone();
            *copy = TableCopy::Active(Box::new(active));
            let (number, epoch, max_bytes) = (self.begun, state.epoch(), preload.max_bytes);
            let resource = rows.resource.clone();
            return Ok(RegisteredCopy { number, epoch, resource, request, progress, max_bytes });
        }
        Err(next)
    }

    async fn copy(&self, registered: RegisteredCopy, loader: &dyn Loader) {
        let (oid, number) = (registered.resource.oid(), registered.number);
        let mut sink = CopiedRows {
            store: &self.store,
            copy: &registered,
            finished: FinishedCopy::default(),
            began: Instant::now(),
            reported: Instant::now(),
        };
        let result = loader.copy(registered.resource.table(), &mut sink).await;
        sink.report("preload copied all rows");
        let finished = sink.finished;
        let table = &registered.resource.name;
        match result {
            Ok(()) => self.finish(&registered, finished).await,
            Err(LoadError::Refused(reason)) => {
                tracing::error!(table, "preload refused: {reason}");
                self.store.end_copy(oid, number, TableCopy::Refused(reason));
            }
            Err(LoadError::Stopped) => self.retry(&registered, Duration::ZERO),
            Err(error) => {
                if error == LoadError::Outdated {
                    self.store.requests.refresh_catalog.notify_one();
                }
                let failures = registered.request.failures.min(16);
                let pause = PAUSE.saturating_mul(1 << failures).min(PAUSE_MAX);
                tracing::warn!(table, %error, ?pause, "preload failed; trying again");
                self.retry(&registered, pause);
            }
        }
    }

    fn retry(&self, registered: &RegisteredCopy, pause: Duration) {
        let request = CopyRequest {
            not_before: Instant::now() + pause,
            failures: registered.request.failures + 1,
            ..registered.request
        };
        let (oid, number) = (registered.resource.oid(), registered.number);
        self.store.end_copy(oid, number, TableCopy::Requested(request));
    }

    /// Applies the overlay without the lock while it is large, and leaves the rest to the writer.
    async fn finish(&self, registered: &RegisteredCopy, mut finished: FinishedCopy) {
        let (oid, number) = (registered.resource.oid(), registered.number);
        let mut at: Option<Arc<ReadPoint>> = None;
        for _ in 0..ROUNDS_MAX {
            let taken = self.store.with_copy(oid, number, |active| {
                let is_large = active.overlay.len() > OVERLAY_LEFT_MAX;
                (active.at.clone(), is_large.then(|| std::mem::take(&mut active.overlay)))
            });
            let Some((read_point, overlay)) = taken else { return };
            at = read_point;
            let (Some(at), Some(overlay)) = (&at, overlay) else { break };
            finished.apply_overlay(overlay, at);
        }
        let Some(at) = at else { return self.retry(registered, PAUSE) };
        self.store.with_copy(oid, number, |active| active.finished = Some(finished));
        self.store.shared.notifications.writer_requested.notify_one();
        // The writer installs it when the stream has reached what the snapshot contains.
        let applied = self.store.expedite_applied(Position::after_commit(at.visible_up_to));
        let _ = timeout_at(Instant::now() + EXPEDITE_TIME_MAX, applied).await;
    }
}

/// The sink that collects a copy's rows.
struct CopiedRows<'a> {
    store: &'a Store,
    copy: &'a RegisteredCopy,
    finished: FinishedCopy,
    began: Instant,
    reported: Instant,
}

impl CopySink for CopiedRows<'_> {
    fn begin(&mut self, at: &ReadPoint, rows_estimate: u64) -> Result<bool, LoadError> {
        self.store.shared.state.read().check_read_point(at, self.copy.epoch)?;
        let (oid, number) = (self.copy.resource.oid(), self.copy.number);
        let is_recent = self.store.with_copy(oid, number, |active| {
            let is_recent = active.required_xids.is_seen_by(&at.snapshot);
            active.at = is_recent.then(|| Arc::new(at.clone()));
            is_recent
        });
        self.copy.progress.estimate.store(rows_estimate, Relaxed);
        is_recent.ok_or(LoadError::Stopped)
    }

    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError> {
        for (key, row) in rows {
            self.finished.rows.insert(key, row);
        }
        self.copy.progress.rows.store(self.finished.rows.len() as u64, Relaxed);
        if self.reported.elapsed() >= REPORT_INTERVAL {
            self.report("preload copies rows");
        }
        let (oid, number) = (self.copy.resource.oid(), self.copy.number);
        let overlay = self.store.with_copy(oid, number, |active| active.overlay.bytes());
        let Some(overlay) = overlay else { return Err(LoadError::Stopped) };
        if self.finished.rows.bytes() + overlay > self.copy.max_bytes {
            return Err(LoadError::Refused(too_large(self.copy.max_bytes)));
        }
        Ok(())
    }
}

impl CopiedRows<'_> {
    fn report(&mut self, event: &str) {
        self.reported = Instant::now();
        let rows = self.finished.rows.len();
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        tracing::info!(
            table = self.copy.resource.name,
            rows,
            estimate = self.copy.progress.estimate(),
            rows_per_second = (rows as f64 / seconds).round(),
            "{event}"
        );
    }
}
