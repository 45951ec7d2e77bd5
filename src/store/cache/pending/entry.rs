//! One key among the pending loads.

use std::sync::Arc;

use tokio::sync::watch;

use super::{LoadReply, LoadWaiter, PendingChanges, RequiredXids, Retention, SetValue};
use crate::load::ReadPoint;

/// A key whose value is being loaded or held back.
#[derive(Debug)]
pub(super) struct PendingEntry<K, V: SetValue> {
    pub(super) state: LoadState<V>,
    pub(super) reply: watch::Sender<Option<LoadReply<K, V>>>,
    /// Cloned by every waiter that pins the value.
    pub(super) pin: Arc<()>,
    /// Whether a complete copy of the set lacks this value.
    pub(super) required: bool,
}

#[derive(Debug)]
pub(super) enum LoadState<V: SetValue> {
    Loading(InFlightLoad<V>),
    /// Loaded, and held back until it may be admitted. `bytes` is the memory it counts with.
    Ready {
        value: Option<V>,
        at: Arc<ReadPoint>,
        bytes: usize,
    },
}

/// A load that is queued or running.
#[derive(Debug)]
pub(super) struct InFlightLoad<V: SetValue> {
    /// The commits that the query's snapshot has to contain.
    pub(super) required_xids: RequiredXids,
    /// The changes since the request.
    pub(super) changes: PendingChanges<V>,
    /// The number of the query that is reading it; `None` while it is queued.
    pub(super) query: Option<u64>,
    /// Queries without a usable result.
    pub(super) tries: u32,
}

impl<V: SetValue> InFlightLoad<V> {
    pub(super) fn new(required_xids: RequiredXids) -> Self {
        Self { required_xids, changes: PendingChanges::default(), query: None, tries: 0 }
    }
}

impl<K: Clone, V: SetValue> PendingEntry<K, V> {
    pub(super) fn new(load: InFlightLoad<V>) -> Self {
        let (reply, _) = watch::channel(None);
        Self { state: LoadState::Loading(load), reply, pin: Arc::default(), required: false }
    }

    pub(super) fn waiter(&self, retention: Retention) -> LoadWaiter<K, V> {
        let pin = (retention == Retention::Pinned).then(|| self.pin.clone());
        LoadWaiter::new(self.reply.subscribe(), pin)
    }

    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }

    /// Whether a waiter or the complete copy needs the value.
    pub(super) fn is_wanted(&self) -> bool {
        self.required || self.reply.receiver_count() > 0
    }

    /// Whether the value must stay pending until it can be admitted.
    pub(super) fn is_needed(&self) -> bool {
        self.required || self.is_pinned()
    }
}
