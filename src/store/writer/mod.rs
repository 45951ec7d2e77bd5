//! The only writer: takes what replication says, in order.
//!
//! A batch is applied in slices, one lock hold each, or in a single one when it tells which tables there
//! are: what comes before is not true of the new ones. While the lock is held, logs and the exact
//! positions move; then the marks, then the applied position (see [`signals`](super::signals)); then
//! the lock is left, and last those who wait are woken. So whoever is woken finds what it was
//! woken for, and who looks without being woken sees whole commits only.

mod commit;
mod expire;
mod membership;
mod rows;

use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLockWriteGuard;
use prometheus::local::LocalHistogram;

use super::directory::Resource;
use super::limits::LogLimits;
use super::log::SPARE;
use super::rows::DeferredDrop;
use super::signals::Notifications;
use super::state::{StoreInner, StoreState, StoredTable};
use crate::change::{CommitTime, Event};
use crate::metrics::Metrics;
use crate::version::Position;

/// Changes after which the writer lets readers in. A commit is never divided, so a hold is as
/// long as the largest commit where that is longer.
const CHANGES_PER_LOCK: usize = 1024;

/// The store's only writer.
pub struct Writer {
    shared: Arc<StoreInner>,
    limits: LogLimits,
    metrics: Metrics,
    /// `commit_to_visible_seconds`, collected here and added once for each lock hold.
    visible: LocalHistogram,
    warned_unknown: bool,
}

/// What one lock hold leaves to be done after it.
#[derive(Debug, Default)]
struct PostCommit {
    /// Changes and resets applied.
    work: usize,
    /// Tables whose waiters are to be woken.
    touched: Vec<Arc<Resource>>,
    /// Contents of logs that were reset: dropping millions of keys takes long.
    dropped: Vec<Box<dyn Debug + Send>>,
    /// Rows that are not held any more.
    dropped_rows: Vec<DeferredDrop>,
    /// Whether rows wait to be asked of the database.
    wants_rows: bool,
    /// Whether a table waits to be copied.
    wants_copy: bool,
    /// When the applied commits were committed.
    committed: Vec<CommitTime>,
}

impl Writer {
    pub(super) fn new(shared: Arc<StoreInner>, limits: LogLimits, metrics: Metrics) -> Self {
        let visible = metrics.commit_to_visible_seconds.local();
        Self { shared, limits, metrics, visible, warned_unknown: false }
    }

    /// Applies events in order. When this returns, readers see all of them, and those who waited
    /// for them have been woken.
    ///
    /// A commit that ends at or before the applied position is a repetition and ignored: after a
    /// crash the server sends again what was not confirmed durably.
    pub fn apply(&mut self, events: Vec<Event>) {
        let shared = self.shared.clone();
        let tells_tables = events.iter().any(|event| matches!(event, Event::Tables { .. }));
        let work_max = if tells_tables { usize::MAX } else { CHANGES_PER_LOCK };
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let mut state = shared.state.write();
            let mut aftermath = PostCommit::default();
            while aftermath.work < work_max
                && let Some(event) = events.next()
            {
                aftermath.work += 1;
                self.take(&mut state, event, &mut aftermath);
            }
            self.settle_rows(&mut state, &mut aftermath);
            self.keep_to_max_bytes(&mut state);
            publish(&mut state, &shared.signals);
            // Whoever has been waiting for the lock has it before we come back for more.
            RwLockWriteGuard::unlock_fair(state);
            self.finish(&shared.signals, aftermath);
        }
    }

    fn take(&mut self, state: &mut StoreState, event: Event, aftermath: &mut PostCommit) {
        match event {
            Event::Started(started) => self.start(state, started, aftermath),
            _ if state.history.is_none() => tracing::error!("an event came before the first start"),
            Event::Commit(transaction) => self.commit(state, transaction, aftermath),
            Event::Watermark(lsn) => {
                state.applied = state.applied.max(Position::after_commit(lsn));
            }
            Event::Tables { tables, resets } => {
                self.replace_tables(state, tables, &resets, aftermath);
            }
        }
    }

    /// Forgets the oldest changes of the largest log until all logs together fit.
    fn keep_to_max_bytes(&self, state: &mut StoreState) {
        while state.bytes() > self.limits.max_bytes {
            let logs = state.tables.values_mut().flat_map(StoredTable::logs);
            let Some(largest) = logs.filter(|l| l.len() > 0).max_by_key(|l| l.bytes()) else {
                return;
            };
            if largest.has_spare_chunk() {
                largest.release_chunk();
            } else {
                (0..SPARE).take_while(|_| largest.evict_oldest()).for_each(drop);
            }
        }
    }

    /// What is done without the lock.
    fn finish(&mut self, signals: &Notifications, aftermath: PostCommit) {
        if !aftermath.touched.is_empty() {
            signals.any_change.notify_waiters();
        }
        for table in aftermath.touched {
            table.changed.notify_waiters();
        }
        signals.applied_moved.notify_waiters();
        if aftermath.wants_rows {
            signals.load_wanted.notify_one();
        }
        if aftermath.wants_copy {
            signals.copy_wanted.notify_one();
        }
        if !aftermath.committed.is_empty() {
            let now = CommitTime::from_timestamp(Timestamp::now());
            for committed in aftermath.committed {
                self.visible.observe(seconds_since(committed, now));
            }
            self.visible.flush();
        }
        drop((aftermath.dropped, aftermath.dropped_rows));
    }
}

/// Lets readers see without the lock what they could see with it.
fn publish(state: &mut StoreState, signals: &Notifications) {
    let Some(version) = state.version() else { return };
    for table in state.tables.values_mut().filter(|table| table.touched) {
        table.touched = false;
        table.published.mark.set(table.newest);
    }
    signals.newest.set(state.newest);
    signals.publish(version);
}

/// Seconds from `earlier` to `later`; zero when the clocks disagree about which is which.
fn seconds_since(earlier: CommitTime, later: CommitTime) -> f64 {
    let micros = later.0.saturating_sub(earlier.0).max(0);
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests;
