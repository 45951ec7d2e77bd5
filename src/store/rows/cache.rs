//! The rows that are read through: one cache over all tables, of which the least recently used
//! leave when it is full.
//!
//! A row is found under its table's *generation*, a number that no other table has or had. A table
//! whose rows can't be trusted any more is given another one; then what was under the old one is
//! found no more, counts no more, and leaves as the least recently used.
//!
//! One lock over all: it is held for a look at one row, and taken last of all locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::IntCounter;

use super::chain::Standing;
use super::lru::{Held, Lru, Tick};
use crate::key::Key;
use crate::row::{Image, Row};
use crate::store::limits::RowLimits;

/// Memory of an entry beyond its key and document, in bytes: its place, its entry in the index, and
/// what the allocator adds to the document, as measured.
const ENTRY_OVERHEAD: usize = 90;
/// Rows that leave under one hold of the lock because they have expired.
const DROPPED_AT_ONCE: usize = 1000;
/// Places that are looked at under one hold of the lock when keys are listed.
const SLOTS_AT_ONCE: u32 = 4096;
/// Chunks of the cache's memory that are given back at a time.
const CHUNKS_GIVEN_BACK: usize = 16;
/// Of a [`Tick`].
const TICK: Duration = Duration::from_millis(10);

/// The rows of all lazily held tables. Cloning shares it.
#[derive(Clone, Debug)]
pub(in crate::store) struct Cache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_bytes: u64,
    time_to_idle: Option<u32>,
    time_to_live: Option<u32>,
    began: Instant,
    rows: Mutex<Rows>,
}

/// What the lock protects.
#[derive(Debug, Default)]
struct Rows {
    lru: Lru,
    bytes: u64,
}

impl Held {
    fn bytes(&self) -> usize {
        bytes(&self.key, self.row.as_ref())
    }
}

fn bytes(key: &Key, row: Option<&Row>) -> usize {
    ENTRY_OVERHEAD + key.heap_bytes() + row.map_or(0, Row::heap_bytes)
}

/// What one generation of one table has in the cache.
#[derive(Debug)]
pub(in crate::store) struct Share {
    generation: u64,
    entries: AtomicU64,
    bytes: AtomicU64,
    evictions: IntCounter,
}

impl Share {
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

    fn lose(&self, bytes: usize) {
        self.entries.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes as u64, Relaxed);
    }
}

impl Rows {
    fn add(&mut self, held: Held) {
        let bytes = held.bytes();
        held.share.gain(bytes);
        self.bytes += bytes as u64;
        self.lru.push(held);
    }

    fn remove(&mut self, slot: u32) {
        if let Some(held) = self.lru.remove(slot) {
            let bytes = held.bytes();
            held.share.lose(bytes);
            self.bytes -= bytes as u64;
        }
    }

    /// The least recently used leave until the others fit.
    fn keep_to(&mut self, max_bytes: u64) {
        while self.bytes > max_bytes {
            let Some((slot, held)) = self.lru.oldest() else { return };
            held.share.evictions.inc();
            self.remove(slot);
        }
    }
}

impl Shared {
    fn now(&self) -> Tick {
        if self.time_to_idle.is_none() && self.time_to_live.is_none() {
            return Tick::default();
        }
        Tick(ticks(self.began.elapsed()))
    }

    fn has_expired(&self, held: &Held, now: Tick) -> bool {
        self.time_to_idle.is_some_and(|most| now.since(held.used) >= most)
            || self.time_to_live.is_some_and(|most| now.since(held.written) >= most)
    }

    /// The slot of a row that has not expired.
    fn find(&self, rows: &mut Rows, generation: u64, key: &Key) -> Option<u32> {
        let slot = rows.lru.find(generation, key)?;
        let expired = self.has_expired(rows.lru.get(slot)?, self.now());
        if expired {
            rows.remove(slot);
        }
        (!expired).then_some(slot)
    }

    fn read(&self, rows: &mut Rows, slot: u32) -> Standing {
        rows.lru.touch(slot);
        let Some(held) = rows.lru.get_mut(slot) else { return Standing::Unknown };
        held.used = self.now();
        Standing::of(held.row.clone())
    }

    fn write(&self, rows: &mut Rows, share: &Arc<Share>, key: Key, row: Option<Row>) {
        if let Some(slot) = rows.lru.find(share.generation, &key) {
            rows.remove(slot);
        }
        // A row that is larger than the cache must not empty it.
        if bytes(&key, row.as_ref()) as u64 > self.max_bytes {
            share.evictions.inc();
            return;
        }
        let now = self.now();
        rows.add(Held { key, row, share: share.clone(), used: now, written: now });
        rows.keep_to(self.max_bytes);
    }
}

/// Wraps after 497 days, and then [`Tick::since`] still tells the difference.
#[expect(clippy::cast_possible_truncation, reason = "it may wrap")]
fn ticks(time: Duration) -> u32 {
    (time.as_millis() / TICK.as_millis()) as u32
}

impl Cache {
    pub(in crate::store) fn new(limits: &RowLimits) -> Self {
        // A limit above what can be told apart is none that a row lives to see.
        let limit = |time: Duration| {
            u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX)
        };
        Self(Arc::new(Shared {
            max_bytes: limits.max_bytes,
            time_to_idle: limits.time_to_idle.map(limit),
            time_to_live: limits.time_to_live.map(limit),
            began: Instant::now(),
            rows: Mutex::default(),
        }))
    }

    /// What is known of a row.
    pub(super) fn find(&self, generation: u64, key: &Key) -> Standing {
        let rows = &mut *self.0.rows.lock();
        match self.0.find(rows, generation, key) {
            Some(slot) => self.0.read(rows, slot),
            None => Standing::Unknown,
        }
    }

    pub(super) fn insert(&self, share: &Arc<Share>, key: Key, row: Option<Row>) {
        self.0.write(&mut self.0.rows.lock(), share, key, row);
    }

    /// A change to a row: of no concern unless the row is here. `absent` says whether it can be
    /// remembered that a row is gone. Tells whether the row had to leave.
    pub(super) fn change(&self, share: &Arc<Share>, key: Key, image: &Image, absent: bool) -> bool {
        let rows = &mut *self.0.rows.lock();
        let Some(slot) = self.0.find(rows, share.generation, &key) else { return false };
        let before = match image {
            Image::Partial { .. } => self.0.read(rows, slot),
            _ => Standing::Unknown,
        };
        match before.after(image) {
            Standing::Row(row) => self.0.write(rows, share, key, Some(row)),
            Standing::Absent if absent => self.0.write(rows, share, key, None),
            Standing::Absent | Standing::Unknown => {
                rows.remove(slot);
                return true;
            }
        }
        false
    }

    /// What is known of a row, which does not count as used by it.
    pub(super) fn peek(&self, generation: u64, key: &Key) -> Standing {
        let rows = &*self.0.rows.lock();
        let held = rows.lru.find(generation, key).and_then(|slot| rows.lru.get(slot));
        let held = held.filter(|held| !self.0.has_expired(held, self.0.now()));
        held.map_or(Standing::Unknown, |held| Standing::of(held.row.clone()))
    }

    /// The keys of a generation, of rows and of absent ones; nothing counts as used. Takes time with
    /// the size of the whole cache, and lets others in between.
    pub(super) fn keys(&self, generation: u64) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut slot = 0_u32;
        loop {
            let rows = self.0.rows.lock();
            let slots = slot..rows.lru.slots().min(slot.saturating_add(SLOTS_AT_ONCE));
            if slots.is_empty() {
                return keys;
            }
            slot = slots.end;
            let held = slots.filter_map(|slot| rows.lru.get(slot));
            let held = held.filter(|held| held.share.generation() == generation);
            keys.extend(held.map(|held| held.key.clone()));
        }
    }

    /// Drops what has expired, and gives back memory that is not used.
    ///
    /// It looks at those used least recently only. One that is too old but was used since then is
    /// found no more, and leaves in its turn: at the latest when it has not been used for as long
    /// as it may live.
    pub(in crate::store) fn tidy_up(&self) {
        while !self.drop_expired() {}
        self.0.rows.lock().lru.give_back(CHUNKS_GIVEN_BACK);
    }

    /// Drops some; tells whether that were all.
    fn drop_expired(&self) -> bool {
        let rows = &mut *self.0.rows.lock();
        let now = self.0.now();
        for _ in 0..DROPPED_AT_ONCE {
            match rows.lru.oldest() {
                Some((slot, held)) if self.0.has_expired(held, now) => rows.remove(slot),
                _ => return true,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share() -> Arc<Share> {
        Share::new(IntCounter::new("evictions", "evictions").unwrap())
    }

    fn cache(max_bytes: usize) -> Cache {
        let max_bytes = u64::try_from(max_bytes).unwrap();
        Cache::new(&RowLimits { max_bytes, ..RowLimits::default() })
    }

    fn row(text: &str) -> Row {
        Row::new(text.as_bytes())
    }

    #[test]
    fn looking_at_what_is_held_is_no_use_of_it() {
        let (cache, share, other) = (cache(3 * (ENTRY_OVERHEAD + 18)), share(), share());
        for id in 0..3 {
            cache.insert(if id == 2 { &other } else { &share }, Key::integer(id), Some(row("{}")));
        }
        assert_eq!(cache.keys(share.generation()), [Key::integer(0), Key::integer(1)]);
        assert_eq!(cache.peek(share.generation(), &Key::integer(0)), Standing::Row(row("{}")));
        assert_eq!(cache.peek(share.generation(), &Key::integer(2)), Standing::Unknown);
        cache.insert(&share, Key::integer(3), Some(row("{}")));
        assert_eq!(cache.peek(share.generation(), &Key::integer(0)), Standing::Unknown);
    }

    #[test]
    fn changes_concern_only_rows_that_are_here() {
        let (cache, share) = (cache(1 << 20), share());
        let generation = share.generation();
        cache.change(&share, Key::integer(1), &Image::Whole(row("{}")), true);
        assert_eq!(cache.find(generation, &Key::integer(1)), Standing::Unknown);
        cache.insert(&share, Key::integer(1), None);
        cache.change(&share, Key::integer(1), &Image::Whole(row("{}")), true);
        assert_eq!(cache.find(generation, &Key::integer(1)), Standing::Row(row("{}")));
        cache.change(&share, Key::integer(1), &Image::Gone, true);
        assert_eq!(cache.find(generation, &Key::integer(1)), Standing::Absent);
        cache.change(&share, Key::integer(1), &Image::Gone, false);
        assert_eq!(cache.find(generation, &Key::integer(1)), Standing::Unknown);
    }

    #[test]
    fn what_is_too_old_is_not_found_and_leaves() {
        let wait = || std::thread::sleep(2 * TICK);
        let limits = |idle: Option<Duration>, live: Option<Duration>| RowLimits {
            time_to_idle: idle,
            time_to_live: live,
            ..RowLimits::default()
        };
        for limits in [limits(Some(TICK), None), limits(None, Some(TICK))] {
            let (cache, share) = (Cache::new(&limits), share());
            for id in 0..3 {
                cache.insert(&share, Key::integer(id), Some(row("{}")));
            }
            wait();
            assert_eq!(cache.find(share.generation(), &Key::integer(1)), Standing::Unknown);
            assert!(!cache.change(&share, Key::integer(2), &Image::Gone, true));
            assert_eq!(share.entries(), 1);
            cache.tidy_up();
            assert_eq!((share.entries(), share.bytes(), share.evictions.get()), (0, 0, 0));
        }
        // Reading keeps a row from being idle, not from being old.
        let (cache, share) = (Cache::new(&limits(Some(50 * TICK), Some(8 * TICK))), share());
        cache.insert(&share, Key::integer(1), None);
        for _ in 0..5 {
            wait();
            cache.find(share.generation(), &Key::integer(1));
        }
        assert_eq!(cache.find(share.generation(), &Key::integer(1)), Standing::Unknown);
    }

    #[test]
    fn a_row_that_is_larger_than_the_cache_does_not_empty_it() {
        let (cache, share) = (cache(10 * (ENTRY_OVERHEAD + 18)), share());
        cache.insert(&share, Key::integer(1), Some(row("{}")));
        cache.insert(&share, Key::integer(2), Some(row(&"x".repeat(2000))));
        assert!(cache.find(share.generation(), &Key::integer(1)).row().is_some());
        assert_eq!(cache.find(share.generation(), &Key::integer(2)), Standing::Unknown);
        // Nor may what it was before be found.
        cache.insert(&share, Key::integer(1), Some(row(&"x".repeat(2000))));
        assert_eq!(cache.find(share.generation(), &Key::integer(1)), Standing::Unknown);
        assert_eq!((share.entries(), share.bytes()), (0, 0));
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
        assert_eq!(cache.find(share.generation(), &Key::integer(19)), Standing::Unknown);
        assert!(cache.find(share.generation(), &Key::integer(20)).row().is_some());
        let next = share.next();
        assert_eq!(cache.find(next.generation(), &Key::integer(20)), Standing::Unknown);
        assert_eq!(next.entries(), 0);
    }
}
