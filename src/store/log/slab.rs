//! Numbered slots for values, in chunks: growing never moves a value, and shrinking gives memory
//! back a chunk at a time.

use std::collections::BTreeSet;

/// Values in one chunk.
pub(super) const CHUNK: usize = 1024;

/// A growing store of `T` by slot. A freed slot is used again, the lowest chunks first, so that
/// the last ones run empty.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// Indexes of the chunks that have a free slot.
    with_room: BTreeSet<usize>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    values: Vec<Option<T>>,
    free: Vec<u16>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), with_room: BTreeSet::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Number of free slots in the existing chunks.
    pub(super) fn free_len(&self) -> usize {
        self.chunks.len() * CHUNK - self.len
    }

    /// Memory allocated, in bytes, without that of the values on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self.chunks.as_slice() {
            // A small table's only chunk grows step by step.
            [only] => only.values.capacity() * size_of::<Option<T>>(),
            chunks => chunks.len() * CHUNK * size_of::<Option<T>>(),
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let (chunk, offset) = split(slot);
        self.chunks.get(chunk)?.values.get(offset)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (chunk, offset) = split(slot);
        self.chunks.get_mut(chunk)?.values.get_mut(offset)?.as_mut()
    }

    /// Stores a value and returns its slot.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = match self.with_room.first() {
            Some(&number) => number,
            None => self.add_chunk(),
        };
        self.len += 1;
        let Some(chunk) = self.chunks.get_mut(number) else {
            unreachable!("a chunk with room exists")
        };
        let offset = chunk.put(value);
        if chunk.is_full() {
            self.with_room.remove(&number);
        }
        join(number, offset)
    }

    /// Removes a value and frees its slot.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let (number, offset) = split(slot);
        let chunk = self.chunks.get_mut(number)?;
        let was_full = chunk.is_full();
        let value = chunk.values.get_mut(offset)?.take()?;
        chunk.free.push(u16::try_from(offset).unwrap_or(u16::MAX));
        if was_full {
            self.with_room.insert(number);
        }
        self.len -= 1;
        Some(value)
    }

    /// Gives the last chunk's memory back if the others have room for its values. Returns the moved
    /// values as (slot before, slot now); `None` if there is not enough room.
    pub(super) fn drop_last_chunk(&mut self) -> Option<Vec<(u32, u32)>> {
        if self.free_len() < CHUNK {
            return None;
        }
        let last = self.chunks.pop()?;
        let number = self.chunks.len();
        self.with_room.remove(&number);
        let mut moved = Vec::new();
        for (offset, value) in last.values.into_iter().enumerate() {
            let Some(value) = value else { continue };
            self.len -= 1;
            moved.push((join(number, offset), self.insert(value)));
        }
        Some(moved)
    }

    fn add_chunk(&mut self) -> usize {
        let number = self.chunks.len();
        let values = if number == 0 { Vec::new() } else { Vec::with_capacity(CHUNK) };
        self.chunks.push(Chunk { values, free: Vec::new() });
        self.with_room.insert(number);
        number
    }
}

impl<T> Chunk<T> {
    fn is_full(&self) -> bool {
        self.free.is_empty() && self.values.len() == CHUNK
    }

    fn put(&mut self, value: T) -> usize {
        let offset = self.free.pop().map(usize::from);
        if let Some((offset, free)) = offset.and_then(|p| Some((p, self.values.get_mut(p)?))) {
            *free = Some(value);
            return offset;
        }
        self.values.push(Some(value));
        self.values.len() - 1
    }
}

fn split(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    (slot / CHUNK, slot % CHUNK)
}

/// More than 2³² slots would be 200 GB of records; the limits are reached long before.
fn join(chunk: usize, offset: usize) -> u32 {
    u32::try_from(chunk * CHUNK + offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_is_reused() {
        let mut slab = Slab::default();
        let a = slab.insert("a");
        let b = slab.insert("b");
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.insert("c"), a);
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (Some(&"c"), Some(&"b"), 2));
        assert_eq!(slab.get(99_999), None);
    }

    #[test]
    fn the_last_chunk_moves_into_free_slots() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..3 * CHUNK).map(|n| slab.insert(n)).collect();
        let full = slab.bytes();
        assert_eq!(slab.drop_last_chunk(), None);
        for slot in slots.iter().filter(|slot| *slot % 2 == 0) {
            slab.remove(*slot);
        }
        let moved = slab.drop_last_chunk().unwrap();
        assert_eq!(moved.len(), CHUNK / 2);
        for (before, now) in moved {
            assert_eq!(slab.get(now).map(|n| u32::try_from(*n).unwrap()), Some(before));
        }
        assert_eq!(slab.len(), 3 * CHUNK / 2);
        assert_eq!(slab.bytes(), full / 3 * 2);
        assert_eq!(slab.drop_last_chunk(), None);
        let next = slab.insert(7);
        assert_eq!(slab.get(next), Some(&7));
    }

    #[test]
    fn an_emptied_slab_gives_all_memory_back() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..2 * CHUNK).map(|n| slab.insert(n)).collect();
        for slot in slots {
            slab.remove(slot);
        }
        assert_eq!(slab.drop_last_chunk(), Some(vec![]));
        assert_eq!(slab.drop_last_chunk(), Some(vec![]));
        assert_eq!(slab.drop_last_chunk(), None);
        assert_eq!((slab.len(), slab.bytes()), (0, 0));
    }
}
