//! The only writer: applies the events of the change stream, in order.
//!
//! A batch is applied in slices, one lock hold each, or in a single one if it replaces the set of
//! tables: readers must not see its earlier events with the new tables missing. While the lock is
//! held, logs and the exact positions move; then the positions visible without it, the applied one
//! last (see [`notifications`](super::notifications)); then the lock is released, and last the
//! waiters are woken. So a woken waiter finds what it was woken for, and a reader that comes by
//! itself sees whole commits only.

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
use super::metrics::StoreMetrics;
use super::notifications::Notifications;
use super::rows::DeferredDrop;
use super::state::{StoreInner, StoreState, StoredTable};
use crate::change::{CommitTime, Event};
use crate::version::Position;

/// Changes after which the writer lets readers in. A commit is never divided, so a hold is as
/// long as the largest commit where that is longer.
const CHANGES_PER_LOCK: usize = 1024;

/// The store's only writer.
pub struct Writer {
    shared: Arc<StoreInner>,
    limits: LogLimits,
    metrics: StoreMetrics,
    /// `commit_to_visible_seconds`, collected here and added once for each lock hold.
    commit_to_visible: LocalHistogram,
    /// Whether a change to an unpublished table was logged already.
    warned_unknown: bool,
}

/// What one lock hold leaves to be done after it.
#[derive(Debug, Default)]
struct PostCommit {
    /// Number of changes and resets applied.
    work: usize,
    /// Resources whose waiters are to be woken.
    touched: Vec<Arc<Resource>>,
    /// Contents of logs that were reset: dropping millions of keys takes long.
    dropped: Vec<Box<dyn Debug + Send>>,
    /// Rows that are cached no longer.
    dropped_rows: Vec<DeferredDrop>,
    /// Whether rows are queued for loading.
    loads_requested: bool,
    /// Whether a table has to be copied.
    copy_requested: bool,
    /// The timestamps of the applied commits.
    committed: Vec<CommitTime>,
}

impl Writer {
    pub(super) fn new(shared: Arc<StoreInner>, limits: LogLimits, metrics: StoreMetrics) -> Self {
        let commit_to_visible = metrics.commit_to_visible_seconds.local();
        Self { shared, limits, metrics, commit_to_visible, warned_unknown: false }
    }

    /// Applies events in order. When this returns, readers see all of them, and their waiters have
    /// been woken.
    ///
    /// A commit that ends at or before the applied position is a repetition and ignored: after a
    /// crash the server sends again what was not confirmed durably.
    pub fn apply(&mut self, events: Vec<Event>) {
        let shared = self.shared.clone();
        let replaces_tables = events.iter().any(|event| matches!(event, Event::Tables { .. }));
        let work_max = if replaces_tables { usize::MAX } else { CHANGES_PER_LOCK };
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let mut state = shared.state.write();
            let mut post_commit = PostCommit::default();
            while post_commit.work < work_max
                && let Some(event) = events.next()
            {
                post_commit.work += 1;
                self.apply_event(&mut state, event, &mut post_commit);
            }
            self.admit_rows(&mut state, &mut post_commit);
            self.enforce_max_bytes(&mut state);
            publish(&mut state, &shared.notifications);
            // Readers that wait for the lock get it before the next slice.
            RwLockWriteGuard::unlock_fair(state);
            self.finish(&shared.notifications, post_commit);
        }
    }

    fn apply_event(&mut self, state: &mut StoreState, event: Event, post_commit: &mut PostCommit) {
        match event {
            Event::Started(started) => self.start(state, started, post_commit),
            _ if state.history.is_none() => {
                tracing::error!("ignoring an event before the stream's first start");
            }
            Event::Commit(transaction) => self.commit(state, transaction, post_commit),
            Event::Watermark(lsn) => {
                state.applied = state.applied.max(Position::after_commit(lsn));
            }
            Event::Tables { tables, resets } => {
                self.replace_tables(state, tables, &resets, post_commit);
            }
        }
    }

    /// Evicts the oldest changes of the largest log until all logs together fit.
    fn enforce_max_bytes(&self, state: &mut StoreState) {
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

    /// Does what needs no lock.
    fn finish(&mut self, notifications: &Notifications, post_commit: PostCommit) {
        if !post_commit.touched.is_empty() {
            notifications.any_change.notify_waiters();
        }
        for resource in post_commit.touched {
            resource.changed.notify_waiters();
        }
        notifications.applied_advanced.notify_waiters();
        if post_commit.loads_requested {
            notifications.load_requested.notify_one();
        }
        if post_commit.copy_requested {
            notifications.copy_requested.notify_one();
        }
        if !post_commit.committed.is_empty() {
            let now = CommitTime::from_timestamp(Timestamp::now());
            for committed in post_commit.committed {
                self.commit_to_visible.observe(seconds_between(committed, now));
            }
            self.commit_to_visible.flush();
        }
        drop((post_commit.dropped, post_commit.dropped_rows));
    }
}

/// Makes the positions under the lock visible without it.
fn publish(state: &mut StoreState, notifications: &Notifications) {
    let Some(version) = state.version() else { return };
    for table in state.tables.values_mut().filter(|table| table.touched) {
        table.touched = false;
        table.resource.newest.set(table.newest);
    }
    notifications.newest.set(state.newest);
    notifications.publish(version);
}

/// Seconds from `earlier` to `later`; zero when the clocks disagree about the order.
fn seconds_between(earlier: CommitTime, later: CommitTime) -> f64 {
    let micros = later.0.saturating_sub(earlier.0).max(0);
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests;
