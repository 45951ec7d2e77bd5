//! Waiting for a change, or for a position.
//!
//! No wake-up is lost: what wakes is made *before* the condition is looked at, and
//! [`Notify::notify_waiters`](tokio::sync::Notify::notify_waiters) reaches every `notified()` that
//! exists by then, polled or not. The writer moves the positions first and wakes after. Dropping a
//! waiting future loses nothing: it holds no permit and no place.
//!
//! Waking is by table: who waits for one is not woken for another. Who waits for a part of a table's
//! rows looks whether it is that part that changed, and goes on waiting if not. Who waits for all tables, or
//! for very many, is woken for any change.

use futures_util::FutureExt;
use futures_util::future::{Either, select_all};

use super::directory::ResourceSelection;
use super::state::Store;
use crate::version::{Position, Version};

/// Up to this many tables a waiter is enlisted with each of them; beyond, with the store.
const TABLES_ENLISTED_MAX: usize = 16;

impl Store {
    /// Waits until there is something to tell about these tables after `after`: at once if there
    /// is now, or if `after` belongs to another history. Returns as well once the store is closed.
    /// Cancel safe.
    pub async fn wait_for_change(&self, tables: &ResourceSelection, after: Version) {
        loop {
            let woken = self.enlist(tables);
            if self.is_closed() || self.has_news(tables, after) {
                return;
            }
            tokio::select! {
                () = woken => {}
                () = self.shared.signals.closed.cancelled() => {}
            }
        }
    }

    /// What is woken when something happens to one of the tables; perhaps for others, too.
    fn enlist(&self, tables: &ResourceSelection) -> impl Future<Output = ()> {
        if let ResourceSelection::Tables(tables) = tables
            && (1..=TABLES_ENLISTED_MAX).contains(&tables.len())
        {
            let tables = tables.iter().map(|part| &part.table);
            let each: Vec<_> = tables.clone().map(|t| Box::pin(t.changed.notified())).collect();
            // A table that was replaced or removed by now wakes nobody ever again.
            if !tables.clone().any(|table| table.mark.is_closed()) {
                return Either::Left(select_all(each).map(drop));
            }
        }
        Either::Right(self.shared.signals.any_change.notified())
    }

    /// Waits until everything up to `position` of the history being followed has been applied.
    /// Returns as well once the store is closed. Cancel safe.
    pub async fn wait_applied(&self, position: Position) {
        let signals = &self.shared.signals;
        loop {
            let moved = signals.applied_moved.notified();
            if self.is_closed() || self.applied().is_some_and(|v| v.position >= position) {
                return;
            }
            tokio::select! {
                () = moved => {}
                () = signals.closed.cancelled() => {}
            }
        }
    }

    /// Ends all waiting, now and later. Questions go on being answered.
    pub fn close(&self) {
        self.shared.signals.closed.cancel();
    }

    /// Waits until [`Store::close`] is called. Cancel safe.
    pub async fn closed(&self) {
        self.shared.signals.closed.cancelled().await;
    }

    /// Whether [`Store::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.shared.signals.closed.is_cancelled()
    }
}

#[cfg(test)]
mod tests;
