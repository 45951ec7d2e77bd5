//! Waiting for a change, or for a position.
//!
//! No wake-up is lost: the `notified()` future is created *before* the condition is checked, and
//! [`Notify::notify_waiters`](tokio::sync::Notify::notify_waiters) reaches every `notified()` that
//! exists by then, polled or not. The writer moves the positions first and notifies after. Dropping
//! a waiting future loses nothing: it holds no permit and no place in a queue.
//!
//! Waking is by resource: a waiter for one is not woken for another. A waiter with a scope checks
//! whether a row in its scope changed, and waits again if not. A waiter for all resources, or for
//! many, is woken by any change.

use futures_util::FutureExt;
use futures_util::future::{Either, select_all};

use super::directory::ResourceSelection;
use super::state::Store;
use crate::version::{Position, Version};

/// Number of resources up to which a waiter subscribes to each of them; beyond, it subscribes to any
/// change.
const SUBSCRIPTIONS_MAX: usize = 16;

impl Store {
    /// Waits until a change set of these resources after `after` is not empty: not at all if it is not
    /// now, or if `after` belongs to another history. Returns as well once the store is closed.
    /// Cancel safe.
    pub async fn wait_for_change(&self, resources: &ResourceSelection, after: Version) {
        loop {
            let changed = self.subscribe(resources);
            if self.is_closed() || self.has_news(resources, after) {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = self.shared.notifications.closed.cancelled() => {}
            }
        }
    }

    /// Completes when one of the resources changes; for long selections when any does.
    fn subscribe(&self, resources: &ResourceSelection) -> impl Future<Output = ()> {
        if let ResourceSelection::Listed(listed) = resources
            && (1..=SUBSCRIPTIONS_MAX).contains(&listed.len())
        {
            let resources = listed.iter().map(|scoped| &scoped.resource);
            let each: Vec<_> = resources.clone().map(|r| Box::pin(r.changed.notified())).collect();
            // A resource that was replaced or removed by now notifies no more.
            if !resources.clone().any(|resource| resource.newest.is_closed()) {
                return Either::Left(select_all(each).map(drop));
            }
        }
        Either::Right(self.shared.notifications.any_change.notified())
    }

    /// Waits until everything up to `position` of the history being followed has been applied.
    /// Returns as well once the store is closed. Cancel safe.
    pub async fn wait_applied(&self, position: Position) {
        let notifications = &self.shared.notifications;
        loop {
            let advanced = notifications.applied_advanced.notified();
            if self.is_closed() || self.applied().is_some_and(|v| v.position >= position) {
                return;
            }
            tokio::select! {
                () = advanced => {}
                () = notifications.closed.cancelled() => {}
            }
        }
    }

    /// Ends all waits, now and later. Queries are answered as before.
    pub fn close(&self) {
        self.shared.notifications.closed.cancel();
    }

    /// Waits until [`Store::close`] is called. Cancel safe.
    pub async fn closed(&self) {
        self.shared.notifications.closed.cancelled().await;
    }

    /// Whether [`Store::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.shared.notifications.closed.is_cancelled()
    }
}

#[cfg(test)]
mod tests;
