//! The join of one set's loads with the change stream.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::{Mutex, MutexGuard};

use super::{
    LoadQueue, LoadWaiter, Lookup, PendingLoads, PendingState, Presence, RecentCommits,
    RequiredXids, Retention, SetKey, SetValue,
};
use crate::lsn::Lsn;
use crate::snapshot::Xid;

/// The pending loads of one set, those for readers and those for consistency checks, and the
/// position below which nothing is known of its changes.
#[derive(Debug)]
pub(in crate::store) struct StreamJoin<K, V: SetValue> {
    /// Locked while the lock of the whole state is held, after it; before that of [`LoadQueue`].
    pending: Mutex<PendingLoads<K, V>>,
    /// Number of pending keys, so that lookups of cached values need not lock `pending`.
    pending_count: AtomicUsize,
    /// Values that are being compared with the database: joined with the changes like those of
    /// readers, and not visible to readers. Locked while the lock of the whole state is held.
    checked: Mutex<PendingLoads<K, V>>,
    /// Any commit up to here may have changed any value, for all that is known.
    floor: Lsn,
}

/// The answer to a request for a value that was not found.
pub(in crate::store) enum LoadRequest<K, V: SetValue> {
    /// It came meanwhile.
    Found(Option<V>),
    /// It is being loaded already.
    Waiting(LoadWaiter<K, V>),
    /// It was queued: a load worker has to be notified.
    Queued(LoadWaiter<K, V>),
    /// Too many keys are waiting already.
    QueueFull,
}

/// Exclusive access to the pending loads for holders of the shared state lock.
pub(in crate::store) struct PendingGuard<'a, K: SetKey, V: SetValue> {
    pending: MutexGuard<'a, PendingLoads<K, V>>,
    count: &'a AtomicUsize,
}

impl<K: SetKey, V: SetValue> Deref for PendingGuard<'_, K, V> {
    type Target = PendingLoads<K, V>;

    fn deref(&self) -> &PendingLoads<K, V> {
        &self.pending
    }
}

impl<K: SetKey, V: SetValue> DerefMut for PendingGuard<'_, K, V> {
    fn deref_mut(&mut self) -> &mut PendingLoads<K, V> {
        &mut self.pending
    }
}

impl<K: SetKey, V: SetValue> Drop for PendingGuard<'_, K, V> {
    fn drop(&mut self) {
        self.count.store(self.pending.len(), SeqCst);
    }
}

impl<K: SetKey, V: SetValue> StreamJoin<K, V> {
    /// A join without pending loads; of the changes up to `floor` nothing is known.
    pub(in crate::store) fn new(floor: Lsn) -> Self {
        Self {
            pending: Mutex::default(),
            pending_count: AtomicUsize::new(0),
            checked: Mutex::default(),
            floor,
        }
    }

    pub(in crate::store) fn floor(&self) -> Lsn {
        self.floor
    }

    /// The pending loads, for holders of the shared state lock.
    pub(in crate::store) fn pending(&self) -> PendingGuard<'_, K, V> {
        PendingGuard { pending: self.pending.lock(), count: &self.pending_count }
    }

    /// Does something with the pending loads without locking them.
    pub(in crate::store) fn with_pending<T>(
        &mut self,
        work: impl FnOnce(&mut PendingLoads<K, V>) -> T,
    ) -> T {
        let pending = self.pending.get_mut();
        let result = work(pending);
        *self.pending_count.get_mut() = pending.len();
        result
    }

    /// The loads of the consistency check that is running.
    pub(in crate::store) fn checked(&self) -> MutexGuard<'_, PendingLoads<K, V>> {
        self.checked.lock()
    }

    /// Records a change to a key. Returns whether the key has to be queued.
    pub(in crate::store) fn change(&mut self, key: &K, xid: Xid, change: &V::Change) -> bool {
        self.checked.get_mut().change(key, xid, change);
        self.with_pending(|pending| pending.change(key, xid, change))
    }

    /// Records that a transaction that ends at `end` deleted all values.
    pub(in crate::store) fn delete_all(&mut self, xid: Xid, end: Lsn) {
        self.floor = end;
        self.checked.get_mut().delete_all(xid);
        self.with_pending(|pending| pending.delete_all(xid));
    }

    /// Discards all loads, because something up to `floor` makes their results useless. Their waiters
    /// request the values anew.
    pub(in crate::store) fn invalidate_all(&mut self, floor: Lsn) {
        self.floor = floor;
        *self.checked.get_mut() = PendingLoads::default();
        self.with_pending(|pending| *pending = PendingLoads::default());
    }

    /// Discards what was read so far, because the connection to the server was lost, perhaps with the
    /// server: what is ahead of the stream may never have been durable (`synchronous_commit = off`).
    /// Returns the keys to be queued again.
    pub(in crate::store) fn mark_for_reload(&mut self, required_xids: &RequiredXids) -> Vec<K> {
        *self.checked.get_mut() = PendingLoads::default();
        self.with_pending(|pending| pending.mark_for_reload(required_xids))
    }

    /// The pending state of a key.
    pub(in crate::store) fn find(&self, key: &K) -> PendingState<V> {
        if self.is_empty() { PendingState::None } else { self.pending.lock().find(key) }
    }

    /// The value under a key if it was loaded: exact at `applied`, or ahead of it.
    pub(in crate::store) fn lookup(&self, key: &K, applied: Lsn) -> Lookup<V> {
        match self.find(key) {
            PendingState::Ready(value, from) if from <= applied => Lookup::Value(value),
            PendingState::Ready(_, from) => Lookup::AheadUntil(from),
            PendingState::None | PendingState::Loading => Lookup::Miss,
        }
    }

    /// The value under a key if it was loaded, however far ahead.
    pub(in crate::store) fn newest(&self, key: &K) -> Presence<V> {
        match self.find(key) {
            PendingState::Ready(value, _) => Presence::of(value),
            PendingState::None | PendingState::Loading => Presence::Unknown,
        }
    }

    /// Whether a complete copy of the set lacks this value.
    pub(in crate::store) fn is_required(&self, key: &K) -> bool {
        !self.is_empty() && self.pending.lock().is_required(key)
    }

    /// Whether a complete copy of the set lacks no value.
    pub(in crate::store) fn is_complete(&self) -> bool {
        self.is_empty() || self.pending.lock().required() == 0
    }

    fn is_empty(&self) -> bool {
        self.pending_count.load(SeqCst) == 0
    }

    /// Requests a value that was not found. `cached` repeats the lookup in the cache, with the pending loads
    /// locked: the value may have been admitted since. `required_xids` are the commits that its query
    /// has to see.
    pub(in crate::store) fn request<S: Copy + PartialEq>(
        &self,
        (set, key): (S, &K),
        retention: Retention,
        queue: &Mutex<LoadQueue<S, K>>,
        cached: impl FnOnce() -> Presence<V>,
        required_xids: impl FnOnce(&RecentCommits) -> RequiredXids,
    ) -> LoadRequest<K, V> {
        let mut pending = self.pending();
        if let Some(waiter) = pending.waiter(key, retention) {
            return LoadRequest::Waiting(waiter);
        }
        match cached() {
            Presence::Present(value) => return LoadRequest::Found(Some(value)),
            Presence::Absent => return LoadRequest::Found(None),
            Presence::Unknown => {}
        }
        let mut queue = queue.lock();
        if queue.is_full() {
            return LoadRequest::QueueFull;
        }
        let required_xids = required_xids(&queue.recent);
        let waiter = pending.enqueue_load(key.clone(), required_xids, retention);
        queue.push(set, key.clone());
        LoadRequest::Queued(waiter)
    }
}
