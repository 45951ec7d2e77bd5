//! One set of values in the shared cache, kept current from the change stream.

use std::sync::Arc;

use prometheus::IntCounter;

use super::shared_cache::CacheGeneration;
use super::{PendingLoads, Presence, SetKey, SetValue, SharedCache, StreamJoin};
use crate::lsn::Lsn;
use crate::snapshot::Xid;

/// Values by key: those that were requested and not evicted since. Each is at every moment as it
/// was at the applied position, or pending.
#[derive(Debug)]
pub(in crate::store) struct CachedSet<K: SetKey, V: SetValue> {
    join: StreamJoin<K, V>,
    cache: SharedCache<K, V>,
    /// The values are found under this; replaced to drop all of them at once.
    generation: Arc<CacheGeneration>,
    /// Whether it may be cached that a key has no value. Not where one value has several keys.
    keeps_absence: bool,
}

/// What remains to be done after a change.
pub(in crate::store) struct ChangeEffect {
    /// The key has to be queued for loading.
    pub(in crate::store) needs_load: bool,
    /// The value left memory.
    pub(in crate::store) is_invalidated: bool,
}

impl<K: SetKey, V: SetValue> CachedSet<K, V> {
    /// An empty set; of the changes up to `floor` nothing is known.
    pub(in crate::store) fn new(
        cache: &SharedCache<K, V>,
        evictions: IntCounter,
        floor: Lsn,
        keeps_absence: bool,
    ) -> Self {
        Self {
            join: StreamJoin::new(floor),
            cache: cache.clone(),
            generation: CacheGeneration::new(evictions),
            keeps_absence,
        }
    }

    pub(in crate::store) fn join(&self) -> &StreamJoin<K, V> {
        &self.join
    }

    pub(in crate::store) fn join_mut(&mut self) -> &mut StreamJoin<K, V> {
        &mut self.join
    }

    /// The number under which [`SharedCache::find`] finds the values; never 0.
    pub(in crate::store) fn generation(&self) -> u64 {
        self.generation.id()
    }

    /// Number of cached values, absent ones included.
    pub(in crate::store) fn entries(&self) -> usize {
        self.generation.entries()
    }

    /// Memory of the cached values, in bytes.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.generation.bytes()
    }

    /// Applies a change to whatever is cached or pending under its key.
    pub(in crate::store) fn change(
        &mut self,
        key: K,
        xid: Xid,
        change: &V::Change,
    ) -> ChangeEffect {
        let needs_load = self.join.change(&key, xid, change);
        let is_invalidated = self.cache.change(&self.generation, key, change, self.keeps_absence);
        ChangeEffect { needs_load, is_invalidated }
    }

    /// Deletes all values, by a transaction that ends at `end`.
    pub(in crate::store) fn delete_all(&mut self, xid: Xid, end: Lsn) {
        self.join.delete_all(xid, end);
        self.generation = self.generation.next();
    }

    /// Drops all values, because something up to `floor` makes them useless.
    pub(in crate::store) fn invalidate_all(&mut self, floor: Lsn) {
        self.join.invalidate_all(floor);
        self.generation = self.generation.next();
    }

    /// Moves to the cache what may be admitted, now that everything up to `applied` has been applied.
    pub(in crate::store) fn admit_ready(&mut self, applied: Lsn, mut on_admit: impl FnMut(&K)) {
        let Self { join, cache, generation, keeps_absence } = self;
        join.with_pending(|pending| {
            pending.admit_ready(applied, |key, value, _| {
                if value.is_some() || *keeps_absence {
                    on_admit(&key);
                    cache.insert(generation, key, value);
                }
            });
        });
    }

    /// Moves one value that has just been loaded to the cache, if it may be admitted at once.
    /// Returns whether it was.
    pub(in crate::store) fn admit_one(
        &self,
        pending: &mut PendingLoads<K, V>,
        key: &K,
        applied: Lsn,
    ) -> bool {
        let value = match pending.admit_one(key, applied) {
            Presence::Present(value) => Some(value),
            Presence::Absent if self.keeps_absence => None,
            Presence::Absent | Presence::Unknown => return false,
        };
        self.cache.insert(&self.generation, key.clone(), value);
        true
    }

    /// The value in the cache.
    pub(in crate::store) fn find_cached(&self, key: &K) -> Presence<V> {
        self.cache.find(self.generation(), key)
    }

    /// Caches a value past the join, as a defect would.
    #[cfg(test)]
    pub(in crate::store) fn insert_cached(&self, key: K, value: Option<V>) {
        self.cache.insert(&self.generation, key, value);
    }

    /// Applies a change to the cached value only, as an eviction between two steps would.
    #[cfg(test)]
    pub(in crate::store) fn change_cached(&self, key: K, change: &V::Change) -> bool {
        self.cache.change(&self.generation, key, change, self.keeps_absence)
    }
}
