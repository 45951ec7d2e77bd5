//! A reader's wait for a value that is being loaded.

use std::sync::Arc;

use tokio::sync::watch;

use super::SetValue;
use crate::version::Version;

/// The outcome of a load, as its waiters receive it.
#[derive(Clone, Debug)]
pub(in crate::store) enum LoadReply<K, V: SetValue> {
    /// The value (`None`: absent), at least as new as this version.
    Value(Option<V>, Version),
    /// The value is stored under this key, which is equal to the requested one.
    CanonicalKey(K),
    /// The value could not be loaded.
    Failed(V::Error),
}

/// Whether a waiter pins its value: keeps it from eviction until the reader has all its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Retention {
    Pinned,
    Unpinned,
}

/// A subscription to the outcome of one load.
#[derive(Debug)]
pub(in crate::store) struct LoadWaiter<K, V: SetValue> {
    reply: watch::Receiver<Option<LoadReply<K, V>>>,
    /// Keeps the value pending, out of reach of eviction, for as long as it lives.
    _pin: Option<Arc<()>>,
}

impl<K: Clone, V: SetValue> LoadWaiter<K, V> {
    pub(super) fn new(
        reply: watch::Receiver<Option<LoadReply<K, V>>>,
        pin: Option<Arc<()>>,
    ) -> Self {
        Self { reply, _pin: pin }
    }

    /// Waits for the outcome; `None` when the value has to be requested anew.
    pub(in crate::store) async fn wait(&mut self) -> Option<LoadReply<K, V>> {
        self.reply.wait_for(Option::is_some).await.ok()?.clone()
    }
}
