//! The values of all sets that may be evicted: one cache, of which the least recently used values
//! leave when it is full.
//!
//! A value is found under its set's *generation*, a number that no other set has or had. A set whose
//! values can't be trusted any more gets another one; then the values under the old one are found
//! no more, count no more, and leave as the least recently used.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hashbrown::Equivalent;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use prometheus::IntCounter;

use super::{Presence, SetKey, SetValue, ValueChange};
use crate::store::limits::RowLimits;

/// Memory of an entry beyond its key and value, in bytes: the cache's own nodes and their
/// allocations, as measured. With the smallest key and no value at all it would be 289: six allocations
/// that no setting of the cache saves (one more is for `time_to_live`).
const ENTRY_OVERHEAD: usize = 350;

/// The evictable values of all sets. Cloning shares it.
#[derive(Debug)]
pub(in crate::store) struct SharedCache<K: SetKey, V: SetValue> {
    values: moka::sync::Cache<CacheKey<K>, CachedValue<V>>,
    /// Whether values leave by time alone.
    can_expire: bool,
}

impl<K: SetKey, V: SetValue> Clone for SharedCache<K, V> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), can_expire: self.can_expire }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CacheKey<K> {
    generation: u64,
    key: K,
}

/// The key of a value that was in the cache, shared with it.
#[derive(Debug)]
pub(in crate::store) struct CachedKey<K>(Arc<CacheKey<K>>);

impl<K> CachedKey<K> {
    pub(in crate::store) fn key(&self) -> &K {
        &self.0.key
    }
}

/// A borrowed [`CacheKey`] for lookups; hashes as that does.
#[derive(Hash)]
struct CacheKeyRef<'a, K> {
    generation: u64,
    key: &'a K,
}

impl<K: Eq> Equivalent<CacheKey<K>> for CacheKeyRef<'_, K> {
    fn equivalent(&self, other: &CacheKey<K>) -> bool {
        self.generation == other.generation && *self.key == other.key
    }
}

#[derive(Clone, Debug)]
struct CachedValue<V> {
    /// `None`: there is no value under the key.
    value: Option<V>,
    generation: Arc<CacheGeneration>,
}

impl<V: SetValue> CachedValue<V> {
    fn bytes(&self, key: &impl SetKey) -> usize {
        ENTRY_OVERHEAD + key.heap_bytes() + self.value.as_ref().map_or(0, V::heap_bytes)
    }
}

/// One generation of one set, and what it has in the cache.
#[derive(Debug)]
pub(in crate::store) struct CacheGeneration {
    id: u64,
    entries: AtomicU64,
    bytes: AtomicU64,
    evictions: IntCounter,
}

impl CacheGeneration {
    pub(super) fn new(evictions: IntCounter) -> Arc<Self> {
        // Zero means "no generation" where an id is kept in an atomic word.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            evictions,
        })
    }

    /// A new generation of the same set.
    pub(super) fn next(&self) -> Arc<Self> {
        Self::new(self.evictions.clone())
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn entries(&self) -> usize {
        usize::try_from(self.entries.load(Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bytes.load(Relaxed)).unwrap_or(usize::MAX)
    }

    fn note_insert(&self, bytes: usize) {
        self.entries.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn note_removal(&self, bytes: usize, cause: RemovalCause) {
        self.entries.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes as u64, Relaxed);
        if cause == RemovalCause::Size {
            self.evictions.inc();
        }
    }
}

impl<K: SetKey, V: SetValue> SharedCache<K, V> {
    pub(in crate::store) fn new(limits: &RowLimits) -> Self {
        let weight = |entry: &CacheKey<K>, cached: &CachedValue<V>| {
            u32::try_from(cached.bytes(&entry.key)).unwrap_or(u32::MAX)
        };
        let mut builder = moka::sync::Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(weight)
            .max_capacity(limits.max_bytes)
            .eviction_listener(|entry: Arc<CacheKey<K>>, cached: CachedValue<V>, cause| {
                cached.generation.note_removal(cached.bytes(&entry.key), cause);
            });
        if let Some(time) = limits.time_to_idle {
            builder = builder.time_to_idle(time);
        }
        if let Some(time) = limits.time_to_live {
            builder = builder.time_to_live(time);
        }
        let can_expire = limits.time_to_idle.or(limits.time_to_live).is_some();
        Self { values: builder.build(), can_expire }
    }

    pub(in crate::store) fn find(&self, generation: u64, key: &K) -> Presence<V> {
        let cached = self.values.get(&CacheKeyRef { generation, key });
        cached.map_or(Presence::Unknown, |cached| Presence::of(cached.value))
    }

    pub(super) fn insert(&self, generation: &Arc<CacheGeneration>, key: K, value: Option<V>) {
        let cached = CachedValue { value, generation: generation.clone() };
        generation.note_insert(cached.bytes(&key));
        self.values.insert(CacheKey { generation: generation.id, key }, cached);
    }

    /// Applies a change to a value if it is in the cache. `keeps_absence` says whether an absent value
    /// may be cached. Returns whether the value was invalidated.
    pub(super) fn change(
        &self,
        generation: &Arc<CacheGeneration>,
        key: K,
        change: &V::Change,
        keeps_absence: bool,
    ) -> bool {
        let entry = CacheKeyRef { generation: generation.id, key: &key };
        if !self.values.contains_key(&entry) {
            // An expired value may still be stored, although lookups don't find it. If another one
            // were inserted in its place, a lookup running at that moment would find the expired
            // one, older than this change: moka judges expiry by times that both entries share.
            if self.can_expire {
                self.values.invalidate(&entry);
            }
            return false;
        }
        let before = if change.needs_previous() {
            self.find(generation.id, &key)
        } else {
            Presence::Unknown
        };
        match change.apply(before) {
            Presence::Present(value) => self.insert(generation, key, Some(value)),
            Presence::Absent if keeps_absence => self.insert(generation, key, None),
            Presence::Absent | Presence::Unknown => {
                self.values.invalidate(&entry);
                return true;
            }
        }
        false
    }

    /// The keys of a generation, those of absent values included. Takes time proportional to the
    /// whole cache; does not count as use.
    pub(in crate::store) fn keys(&self, generation: u64) -> Vec<CachedKey<K>> {
        let cached = self.values.iter().filter(|(entry, _)| entry.generation == generation);
        cached.map(|(entry, _)| CachedKey(entry)).collect()
    }

    /// Evicts and expires what is due now instead of along with reads and writes.
    pub(in crate::store) fn run_maintenance(&self) {
        self.values.run_pending_tasks();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::key::Key;
    use crate::row::{Row, RowAfter};

    fn generation() -> Arc<CacheGeneration> {
        CacheGeneration::new(IntCounter::new("evictions", "evictions").unwrap())
    }

    fn cache(max_bytes: usize) -> SharedCache<Key, Row> {
        let max_bytes = u64::try_from(max_bytes).unwrap();
        SharedCache::new(&RowLimits { max_bytes, ..RowLimits::default() })
    }

    fn row(text: &str) -> Row {
        Row::new(text.as_bytes())
    }

    #[test]
    fn changes_apply_only_to_cached_values() {
        let (cache, generation) = (cache(1 << 20), generation());
        let id = generation.id();
        cache.change(&generation, Key::integer(1), &RowAfter::Full(row("{}")), true);
        assert_eq!(cache.find(id, &Key::integer(1)), Presence::Unknown);
        cache.insert(&generation, Key::integer(1), None);
        cache.change(&generation, Key::integer(1), &RowAfter::Full(row("{}")), true);
        assert_eq!(cache.find(id, &Key::integer(1)), Presence::Present(row("{}")));
        cache.change(&generation, Key::integer(1), &RowAfter::Deleted, true);
        assert_eq!(cache.find(id, &Key::integer(1)), Presence::Absent);
        cache.change(&generation, Key::integer(1), &RowAfter::Deleted, false);
        assert_eq!(cache.find(id, &Key::integer(1)), Presence::Unknown);
    }

    /// An expired value is not kept current. A lookup while another one is inserted in its place must
    /// not find it: moka judges expiry by times that both entries share.
    #[test]
    fn an_expired_value_does_not_reappear_with_its_successor() {
        const DURATION: Duration = Duration::from_secs(2);
        let limits = RowLimits {
            time_to_live: Some(Duration::from_micros(20)),
            max_bytes: 1 << 20,
            ..RowLimits::default()
        };
        let (cache, generation) = (SharedCache::new(&limits), generation());
        let (key, id) = (Key::integer(1), generation.id());
        let applied = AtomicU64::new(0);
        let began = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for number in 1.. {
                    let row = row(&number.to_string());
                    cache.change(&generation, key.clone(), &RowAfter::Full(row.clone()), true);
                    applied.store(number, SeqCst);
                    // It is loaded again, as it is now.
                    if number % 3 == 0 {
                        cache.insert(&generation, key.clone(), Some(row));
                    }
                    if began.elapsed() > DURATION {
                        return;
                    }
                }
            });
            for _ in 0..3 {
                threads.spawn(|| {
                    while began.elapsed() < DURATION {
                        let least = applied.load(SeqCst);
                        if let Presence::Present(row) = cache.find(id, &key) {
                            let number = std::str::from_utf8(row.json()).unwrap();
                            assert!(
                                number.parse::<u64>().unwrap() >= least,
                                "{number} after {least}"
                            );
                        }
                    }
                });
            }
        });
        assert!(applied.load(SeqCst) > 1000);
    }

    #[test]
    fn entries_bytes_and_evictions_are_counted() {
        let (cache, generation) = (cache(10 * (ENTRY_OVERHEAD + 18)), generation());
        for id in 0..30 {
            cache.insert(&generation, Key::integer(id), Some(row("{}")));
            cache.insert(&generation, Key::integer(id), Some(row("{}")));
            cache.run_maintenance();
        }
        assert_eq!((generation.entries(), generation.evictions.get()), (10, 20));
        assert_eq!(generation.bytes(), 10 * (ENTRY_OVERHEAD + 18));
        // The least recently used value left first.
        assert_eq!(cache.find(generation.id(), &Key::integer(19)), Presence::Unknown);
        assert_eq!(cache.find(generation.id(), &Key::integer(20)), Presence::Present(row("{}")));
        let next = generation.next();
        assert_eq!(cache.find(next.id(), &Key::integer(20)), Presence::Unknown);
        assert_eq!(next.entries(), 0);
    }
}
