//! The rows that are read through: one cache over all tables, of which the least recently used
//! leave when it is full.
//!
//! A row is found under its table's *generation*, a number that no other table has or had. A table
//! whose rows can't be trusted any more is given another one; then what was under the old one is
//! found no more, counts no more, and leaves as the least recently used.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hashbrown::Equivalent;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use prometheus::IntCounter;

use super::pending_changes::RowState;
use crate::key::Key;
use crate::row::{Row, RowAfter};
use crate::store::limits::RowLimits;

/// Memory of an entry beyond its key and document, in bytes: the cache's own nodes and their
/// allocations, as measured. With the smallest key and no value at all it would be 289: six allocations
/// that no setting of the cache saves (one more is for `time_to_live`).
const ENTRY_OVERHEAD: usize = 350;

/// The rows of all lazily held tables. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::store) struct RowCache {
    rows: moka::sync::Cache<CacheKey, CachedRow>,
    /// Whether time alone makes rows go.
    can_expire: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CacheKey {
    generation: u64,
    key: Key,
}

/// The key of a row that was in the cache, shared with it.
#[derive(Debug)]
pub(super) struct CachedKey(Arc<CacheKey>);

impl CachedKey {
    pub(super) fn key(&self) -> &Key {
        &self.0.key
    }
}

/// A [`CacheKey`] that is asked for: hashes as that does.
#[derive(Hash)]
struct CacheKeyRef<'a> {
    generation: u64,
    key: &'a Key,
}

impl Equivalent<CacheKey> for CacheKeyRef<'_> {
    fn equivalent(&self, place: &CacheKey) -> bool {
        self.generation == place.generation && *self.key == place.key
    }
}

#[derive(Clone, Debug)]
struct CachedRow {
    /// `None`: there is no such row.
    row: Option<Row>,
    share: Arc<CacheGeneration>,
}

impl CachedRow {
    fn bytes(&self, key: &Key) -> usize {
        ENTRY_OVERHEAD + key.heap_bytes() + self.row.as_ref().map_or(0, Row::heap_bytes)
    }
}

/// What one generation of one table has in the cache.
#[derive(Debug)]
pub(in crate::store) struct CacheGeneration {
    generation: u64,
    entries: AtomicU64,
    bytes: AtomicU64,
    evictions: IntCounter,
}

impl CacheGeneration {
    /// A new generation.
    pub(super) fn new(evictions: IntCounter) -> Arc<Self> {
        // Zero is the generation of tables that have nothing here.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            generation: NEXT.fetch_add(1, Relaxed),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            evictions,
        })
    }

    /// Another generation of the same table.
    pub(super) fn next(&self) -> Arc<Self> {
        Self::new(self.evictions.clone())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn entries(&self) -> usize {
        usize::try_from(self.entries.load(Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bytes.load(Relaxed)).unwrap_or(usize::MAX)
    }

    fn gain(&self, bytes: usize) {
        self.entries.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn lose(&self, bytes: usize, cause: RemovalCause) {
        self.entries.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes as u64, Relaxed);
        if cause == RemovalCause::Size {
            self.evictions.inc();
        }
    }
}

impl RowCache {
    pub(in crate::store) fn new(limits: &RowLimits) -> Self {
        let weight = |place: &CacheKey, cached: &CachedRow| {
            u32::try_from(cached.bytes(&place.key)).unwrap_or(u32::MAX)
        };
        let mut builder = moka::sync::Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(weight)
            .max_capacity(limits.max_bytes)
            .eviction_listener(|place: Arc<CacheKey>, cached: CachedRow, cause| {
                cached.share.lose(cached.bytes(&place.key), cause);
            });
        if let Some(time) = limits.time_to_idle {
            builder = builder.time_to_idle(time);
        }
        if let Some(time) = limits.time_to_live {
            builder = builder.time_to_live(time);
        }
        let can_expire = limits.time_to_idle.or(limits.time_to_live).is_some();
        Self { rows: builder.build(), can_expire }
    }

    /// What is known of a row.
    pub(super) fn find(&self, generation: u64, key: &Key) -> RowState {
        let cached = self.rows.get(&CacheKeyRef { generation, key });
        cached.map_or(RowState::Unknown, |cached| RowState::of(cached.row))
    }

    pub(super) fn insert(&self, share: &Arc<CacheGeneration>, key: Key, row: Option<Row>) {
        let cached = CachedRow { row, share: share.clone() };
        share.gain(cached.bytes(&key));
        self.rows.insert(CacheKey { generation: share.generation, key }, cached);
    }

    /// A change to a row: of no concern unless the row is here. `absent` says whether it can be
    /// remembered that a row is gone. Tells whether the row had to leave.
    pub(super) fn change(
        &self,
        share: &Arc<CacheGeneration>,
        key: Key,
        image: &RowAfter,
        absent: bool,
    ) -> bool {
        let place = CacheKeyRef { generation: share.generation, key: &key };
        if !self.rows.contains_key(&place) {
            // One that has expired may still lie there, unfound. Were another one put in its place, who is
            // just looking at it would find it, older than this change: moka judges by times that both
            // share.
            if self.can_expire {
                self.rows.invalidate(&place);
            }
            return false;
        }
        let before = match image {
            RowAfter::Partial { .. } => self.find(share.generation, &key),
            _ => RowState::Unknown,
        };
        match before.apply(image) {
            RowState::Row(row) => self.insert(share, key, Some(row)),
            RowState::Absent if absent => self.insert(share, key, None),
            RowState::Absent | RowState::Unknown => {
                self.rows.invalidate(&place);
                return true;
            }
        }
        false
    }

    /// The keys of a generation, of rows and of absent ones. Takes time with the size of the whole
    /// cache; nothing counts as used.
    pub(super) fn keys(&self, generation: u64) -> Vec<CachedKey> {
        let held = self.rows.iter().filter(|(place, _)| place.generation == generation);
        held.map(|(place, _)| CachedKey(place)).collect()
    }

    /// Does what is due: evicts what is too much, drops what has expired. Otherwise it is done
    /// along with reads and writes.
    pub(in crate::store) fn tidy_up(&self) {
        self.rows.run_pending_tasks();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::{Duration, Instant};

    use super::*;

    fn share() -> Arc<CacheGeneration> {
        CacheGeneration::new(IntCounter::new("evictions", "evictions").unwrap())
    }

    fn cache(max_bytes: usize) -> RowCache {
        let max_bytes = u64::try_from(max_bytes).unwrap();
        RowCache::new(&RowLimits { max_bytes, ..RowLimits::default() })
    }

    fn row(text: &str) -> Row {
        Row::new(text.as_bytes())
    }

    #[test]
    fn changes_concern_only_rows_that_are_here() {
        let (cache, share) = (cache(1 << 20), share());
        let generation = share.generation();
        cache.change(&share, Key::integer(1), &RowAfter::Full(row("{}")), true);
        assert_eq!(cache.find(generation, &Key::integer(1)), RowState::Unknown);
        cache.insert(&share, Key::integer(1), None);
        cache.change(&share, Key::integer(1), &RowAfter::Full(row("{}")), true);
        assert_eq!(cache.find(generation, &Key::integer(1)), RowState::Row(row("{}")));
        cache.change(&share, Key::integer(1), &RowAfter::Deleted, true);
        assert_eq!(cache.find(generation, &Key::integer(1)), RowState::Absent);
        cache.change(&share, Key::integer(1), &RowAfter::Deleted, false);
        assert_eq!(cache.find(generation, &Key::integer(1)), RowState::Unknown);
    }

    /// A row that has expired is not kept current. Whoever looks for it while another is put in its
    /// place must not find it: moka judges by times that both share.
    #[test]
    fn an_expired_row_does_not_come_back_with_the_one_after_it() {
        const LASTS: Duration = Duration::from_secs(2);
        let limits = RowLimits {
            time_to_live: Some(Duration::from_micros(20)),
            max_bytes: 1 << 20,
            ..RowLimits::default()
        };
        let (cache, share) = (RowCache::new(&limits), share());
        let (key, generation) = (Key::integer(1), share.generation());
        let applied = AtomicU64::new(0);
        let began = Instant::now();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for number in 1.. {
                    let row = row(&number.to_string());
                    cache.change(&share, key.clone(), &RowAfter::Full(row.clone()), true);
                    applied.store(number, SeqCst);
                    // It is read again, as it is now.
                    if number % 3 == 0 {
                        cache.insert(&share, key.clone(), Some(row));
                    }
                    if began.elapsed() > LASTS {
                        return;
                    }
                }
            });
            for _ in 0..3 {
                threads.spawn(|| {
                    while began.elapsed() < LASTS {
                        let least = applied.load(SeqCst);
                        if let RowState::Row(row) = cache.find(generation, &key) {
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
    fn what_is_held_and_evicted_is_counted() {
        let (cache, share) = (cache(10 * (ENTRY_OVERHEAD + 18)), share());
        for id in 0..30 {
            cache.insert(&share, Key::integer(id), Some(row("{}")));
            cache.insert(&share, Key::integer(id), Some(row("{}")));
            cache.tidy_up();
        }
        assert_eq!((share.entries(), share.evictions.get()), (10, 20));
        assert_eq!(share.bytes(), 10 * (ENTRY_OVERHEAD + 18));
        // The one used least recently left first.
        assert_eq!(cache.find(share.generation(), &Key::integer(19)), RowState::Unknown);
        assert!(cache.find(share.generation(), &Key::integer(20)).row().is_some());
        let next = share.next();
        assert_eq!(cache.find(next.generation(), &Key::integer(20)), RowState::Unknown);
        assert_eq!(next.entries(), 0);
    }
}
