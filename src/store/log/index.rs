//! An index from a key's hash to the slot of its record, which grows in small steps.
//!
//! One hash table over millions of keys doubles at once: hundreds of milliseconds in which readers
//! are blocked. This index is made of many small tables, and every [`SPLIT_AT`] new keys the next
//! one in turn is split in two (linear hashing: W. Litwin, VLDB 1980). The longest
//! stall is that of one small table.

use hashbrown::HashTable;

/// Average number of keys in a shard at which the next one in turn is split. Between one and two
/// times that many are in a shard; both fit well below 7/8 of a power of two.
const SPLIT_AT: usize = 880;

/// Slots by the hashes of their records' keys.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<HashTable<HashedSlot>>,
    len: usize,
    bytes: usize,
}

/// A slot with the hash it is found by. Kept here so that growing a shard touches no record: each
/// would be a cache miss.
#[derive(Clone, Copy, Debug)]
struct HashedSlot {
    hash: u32,
    slot: u32,
}

impl HashedSlot {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "a table hashes what it holds by reference"
    )]
    fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

/// The hash as a shard's own table uses it: all its bits, in positions that are independent of the
/// choice of the shard.
fn spread(hash: u32) -> u64 {
    // The multiplier is 2^64 divided by the golden ratio (Knuth, TAOCP 3, 6.4).
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: vec![HashTable::new()], len: 0, bytes: 0 }
    }
}

impl Index {
    /// Memory allocated, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.shards.capacity() * size_of::<HashTable<HashedSlot>>()
    }

    /// The slot under `hash` for which `is_match` is true.
    pub(super) fn find(&self, hash: u32, mut is_match: impl FnMut(u32) -> bool) -> Option<u32> {
        let is_match = |entry: &HashedSlot| entry.hash == hash && is_match(entry.slot);
        self.shards.get(self.shard_of(hash))?.find(spread(hash), is_match).map(|entry| entry.slot)
    }

    /// Adds a slot that is not in the index yet.
    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        if self.len >= self.shards.len() * SPLIT_AT {
            self.split_next();
        }
        let number = self.shard_of(hash);
        if let Some(shard) = self.shards.get_mut(number) {
            let before = shard.allocation_size();
            shard.insert_unique(spread(hash), HashedSlot { hash, slot }, HashedSlot::spread);
            self.bytes += shard.allocation_size() - before;
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, hash: u32, slot: u32) {
        let number = self.shard_of(hash);
        let Some(shard) = self.shards.get_mut(number) else { return };
        let Ok(found) = shard.find_entry(spread(hash), |known| known.slot == slot) else { return };
        found.remove();
        self.len -= 1;
        if shard.len() * 4 < shard.capacity() {
            let before = shard.allocation_size();
            shard.shrink_to(shard.len() * 2, HashedSlot::spread);
            self.bytes -= before - shard.allocation_size();
        }
    }

    /// Replaces a key's slot.
    pub(super) fn rename(&mut self, hash: u32, from: u32, to: u32) {
        let number = self.shard_of(hash);
        let shard = self.shards.get_mut(number);
        let entry = shard.and_then(|s| s.find_mut(spread(hash), |entry| entry.slot == from));
        if let Some(entry) = entry {
            entry.slot = to;
        }
    }

    /// In a round of `2^n` shards the first ones have been split already: there one more bit of
    /// the hash counts.
    fn shard_of(&self, hash: u32) -> usize {
        let bits = hash as usize;
        let round = self.round();
        let wide = bits & (2 * round - 1);
        if wide < self.shards.len() { wide } else { bits & (round - 1) }
    }

    /// Number of shards at the beginning of this round: the power of two not above their number.
    fn round(&self) -> usize {
        1 << self.shards.len().ilog2()
    }

    fn split_next(&mut self) {
        let number = self.shards.len() - self.round();
        let Some(shard) = self.shards.get_mut(number) else { return };
        let split = std::mem::take(shard);
        self.bytes -= split.allocation_size();
        let sibling = self.shards.len();
        self.shards.push(HashTable::new());
        let (moving, staying): (Vec<_>, Vec<_>) =
            split.into_iter().partition(|entry| self.shard_of(entry.hash) == sibling);
        for (number, entries) in [(number, staying), (sibling, moving)] {
            let mut shard = HashTable::with_capacity(entries.len());
            for entry in entries {
                shard.insert_unique(entry.spread(), entry, HashedSlot::spread);
            }
            self.bytes += shard.allocation_size();
            if let Some(target) = self.shards.get_mut(number) {
                *target = shard;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    fn hash(hasher: &RandomState, slot: u32) -> u32 {
        u32::try_from(hasher.hash_one(slot) >> 32).unwrap()
    }

    fn filled(hasher: &RandomState, count: u32) -> Index {
        let mut index = Index::default();
        for slot in 0..count {
            index.insert(hash(hasher, slot), slot);
        }
        index
    }

    fn allocated(index: &Index) -> usize {
        index.shards.iter().map(HashTable::allocation_size).sum()
    }

    #[test]
    fn all_slots_are_found_after_many_splits() {
        let hasher = RandomState::new();
        let count = 50_000;
        let index = filled(&hasher, count);
        assert!(index.shards.len() > 50);
        for slot in 0..count {
            assert_eq!(index.find(hash(&hasher, slot), |s| s == slot), Some(slot));
        }
        assert_eq!(index.find(hash(&hasher, count), |s| s == count), None);
        assert_eq!(index.bytes, allocated(&index));
        assert!(index.bytes() < 20 * count as usize, "{}", index.bytes());
        let largest = index.shards.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 2 * SPLIT_AT + SPLIT_AT / 2, "{largest}");
    }

    #[test]
    fn removed_slots_are_gone_and_give_memory_back() {
        let hasher = RandomState::new();
        let count = 20_000;
        let mut index = filled(&hasher, count);
        for slot in 0..count - 10 {
            index.remove(hash(&hasher, slot), slot);
        }
        assert_eq!(index.len, 10);
        assert_eq!(index.bytes, allocated(&index));
        assert!(index.bytes() < 5_000, "{}", index.bytes());
        for slot in 0..count {
            let found = index.find(hash(&hasher, slot), |s| s == slot);
            assert_eq!(found, (slot >= count - 10).then_some(slot));
        }
    }

    #[test]
    fn a_slot_can_be_replaced() {
        let hasher = RandomState::new();
        let mut index = filled(&hasher, 5_000);
        index.rename(hash(&hasher, 77), 77, 9_000);
        assert_eq!(index.find(hash(&hasher, 77), |slot| slot == 9_000), Some(9_000));
        assert_eq!(index.find(hash(&hasher, 77), |slot| slot == 77), None);
    }
}
