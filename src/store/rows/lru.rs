//! Rows in the order of their use.
//!
//! A place costs 56 bytes, its entry in the index some 14: a cache of a general library took 350
//! beside the row itself, most of them in allocations of its own for each entry. The order is a
//! list through the places; a number instead of a pointer halves its links.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::cache::Share;
use crate::key::Key;
use crate::row::Row;
use crate::store::index::Index;
use crate::store::slab::{CHUNK, Slab};

/// No slot: the end of the list.
const NONE: u32 = u32::MAX;

/// A row, or that there is none, and whose it is.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) key: Key,
    /// `None`: there is no such row.
    pub(super) row: Option<Row>,
    pub(super) share: Arc<Share>,
    /// When it was last read or written.
    pub(super) used: Tick,
    /// When it was last written.
    pub(super) written: Tick,
}

/// A time in hundredths of a second, which a limit of 497 days can tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    pub(super) fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// Rows by generation and key, and from the one used last to the one used least recently.
#[derive(Debug)]
pub(super) struct Lru {
    places: Slab<Place>,
    index: Index,
    /// Keys are chosen by the users of the application, so the hashes must not be predictable.
    hasher: DefaultHashBuilder,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Place {
    held: Held,
    newer: u32,
    older: u32,
}

impl Default for Lru {
    fn default() -> Self {
        Self {
            places: Slab::default(),
            index: Index::default(),
            hasher: DefaultHashBuilder::default(),
            newest: NONE,
            oldest: NONE,
        }
    }
}

impl Lru {
    /// The slot of a key.
    pub(super) fn find(&self, generation: u64, key: &Key) -> Option<u32> {
        self.index.find(self.hash_of(generation, key), |slot| {
            let held = self.get(slot);
            held.is_some_and(|h| h.share.generation() == generation && h.key == *key)
        })
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Held> {
        self.places.get(slot).map(|place| &place.held)
    }

    /// Every slot in use is below this.
    pub(super) fn slots(&self) -> u32 {
        self.places.slots()
    }

    /// Its key and generation stay as they are.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Held> {
        self.places.get_mut(slot).map(|place| &mut place.held)
    }

    /// Adds what is not there yet, as used last.
    pub(super) fn push(&mut self, held: Held) {
        let hash = self.hash_of(held.share.generation(), &held.key);
        let slot = self.places.insert(Place { held, newer: NONE, older: NONE });
        self.index.insert(hash, slot);
        self.put_first(slot);
    }

    /// It is the one used last.
    pub(super) fn touch(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.put_first(slot);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Held> {
        self.unlink(slot);
        let held = self.places.remove(slot)?.held;
        self.index.remove(self.hash_of(held.share.generation(), &held.key), slot);
        Some(held)
    }

    /// The one used least recently.
    pub(super) fn oldest(&self) -> Option<(u32, &Held)> {
        Some((self.oldest, self.get(self.oldest)?))
    }

    /// Gives memory back when more than half of it holds nothing: so many chunks at most, so that
    /// nobody waits for long.
    pub(super) fn give_back(&mut self, chunks_max: usize) {
        for _ in 0..chunks_max {
            if self.places.free_len() < self.places.len() + CHUNK {
                return;
            }
            let Some(moved) = self.places.drop_last_chunk() else { return };
            self.rename(&moved.into_iter().collect());
        }
    }

    /// Places have moved, from the first slot to the second.
    fn rename(&mut self, moved: &HashMap<u32, u32>) {
        let now = |slot: u32| moved.get(&slot).copied().unwrap_or(slot);
        (self.newest, self.oldest) = (now(self.newest), now(self.oldest));
        for (&from, &to) in moved {
            let Some(place) = self.places.get_mut(to) else { continue };
            (place.newer, place.older) = (now(place.newer), now(place.older));
            let (newer, older) = (place.newer, place.older);
            let hash = self
                .places
                .get(to)
                .map(|place| self.hash_of(place.held.share.generation(), &place.held.key));
            self.index.rename(hash.unwrap_or_default(), from, to);
            self.link(newer, to);
            self.link(to, older);
        }
    }

    fn put_first(&mut self, slot: u32) {
        let second = self.newest;
        self.link(NONE, slot);
        self.link(slot, second);
    }

    fn unlink(&mut self, slot: u32) {
        let Some(Place { newer, older, .. }) = self.places.get(slot) else { return };
        let (newer, older) = (*newer, *older);
        self.link(newer, older);
    }

    /// Makes two slots neighbours.
    fn link(&mut self, newer: u32, older: u32) {
        match self.places.get_mut(newer) {
            Some(place) => place.older = older,
            None => self.newest = older,
        }
        match self.places.get_mut(older) {
            Some(place) => place.newer = newer,
            None => self.oldest = newer,
        }
    }

    /// The upper half: the better one of the hasher's.
    fn hash_of(&self, generation: u64, key: &Key) -> u32 {
        (self.hasher.hash_one((generation, key)) >> u32::BITS) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use prometheus::IntCounter;

    fn held(share: &Arc<Share>, id: i64) -> Held {
        Held {
            key: Key::integer(id),
            row: None,
            share: share.clone(),
            used: Tick(0),
            written: Tick(0),
        }
    }

    fn share() -> Arc<Share> {
        Share::new(IntCounter::new("evictions", "evictions").unwrap())
    }

    /// The ids from the newest to the oldest, as the list has them in either direction.
    fn order(lru: &Lru) -> Vec<Key> {
        let walk = |first: u32, next: fn(&Place) -> u32| {
            let mut keys = Vec::new();
            let mut slot = first;
            while let Some(place) = lru.places.get(slot) {
                keys.push(place.held.key.clone());
                slot = next(place);
            }
            keys
        };
        let forwards = walk(lru.newest, |place| place.older);
        let mut backwards = walk(lru.oldest, |place| place.newer);
        backwards.reverse();
        assert_eq!(forwards, backwards);
        forwards
    }

    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Option<Place>>(), 56);
    }

    #[test]
    fn ticks_may_wrap() {
        assert_eq!(Tick(3).since(Tick(u32::MAX - 1)), 5);
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_use(steps in prop::collection::vec((0..3_u8, 0..20_i64), 0..200)) {
            let (mut lru, share) = (Lru::default(), share());
            let mut model: Vec<Key> = Vec::new();
            for (step, id) in steps {
                let key = Key::integer(id);
                let place = model.iter().position(|known| *known == key);
                let slot = lru.find(share.generation(), &key);
                prop_assert_eq!(place.is_some(), slot.is_some());
                match (step, place, slot) {
                    (0, None, None) => {
                        model.insert(0, key);
                        lru.push(held(&share, id));
                    }
                    (1, Some(place), Some(slot)) => {
                        let key = model.remove(place);
                        model.insert(0, key);
                        lru.touch(slot);
                    }
                    (2, Some(place), Some(slot)) => {
                        model.remove(place);
                        prop_assert_eq!(lru.remove(slot).unwrap().key, key);
                    }
                    _ => {}
                }
                prop_assert_eq!(&order(&lru), &model);
                prop_assert_eq!(lru.oldest().map(|(_, held)| &held.key), model.last());
            }
        }
    }

    #[test]
    fn memory_is_given_back_and_everything_is_still_found_in_its_order() {
        let (mut lru, share) = (Lru::default(), share());
        let count = i64::try_from(8 * CHUNK).unwrap();
        for id in 0..count {
            lru.push(held(&share, id));
        }
        let full = lru.places.bytes();
        // What is left is spread over all chunks.
        for id in (0..count).filter(|id| id % 8 != 3) {
            let slot = lru.find(share.generation(), &Key::integer(id)).unwrap();
            lru.remove(slot);
        }
        lru.give_back(100);
        assert!(lru.places.bytes() < full / 2, "{} of {full}", lru.places.bytes());
        let left: Vec<Key> = (0..count).rev().filter(|id| id % 8 == 3).map(Key::integer).collect();
        assert_eq!(order(&lru), left);
        for key in &left {
            let slot = lru.find(share.generation(), key).unwrap();
            assert_eq!(lru.get(slot).unwrap().key, *key);
        }
    }

    #[test]
    fn generations_are_apart() {
        let (mut lru, share) = (Lru::default(), share());
        lru.push(held(&share, 1));
        assert!(lru.find(share.generation(), &Key::integer(1)).is_some());
        assert!(lru.find(share.next().generation(), &Key::integer(1)).is_none());
    }
}
