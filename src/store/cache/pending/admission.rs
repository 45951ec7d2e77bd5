//! The way of loaded values from the pending loads to the cache.

use std::sync::Arc;

use super::entry::LoadState;
use super::{PendingLoads, Presence, SetKey, SetValue};
use crate::load::ReadPoint;
use crate::lsn::Lsn;

/// Memory of the values of one set that are held back although no reader needs them any more, in
/// bytes. Beyond it a value is sent to its waiters and dropped.
const HELD_BACK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory of a value that is held back beyond its key and content, in bytes.
const HELD_BACK_OVERHEAD: usize = 400;

impl<K: SetKey, V: SetValue> PendingLoads<K, V> {
    /// Keeps a loaded value until it may be admitted, if there is room or a reader needs it.
    pub(super) fn hold_back(&mut self, key: &K, value: Option<V>, at: Arc<ReadPoint>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let bytes = HELD_BACK_OVERHEAD + key.heap_bytes() + value.as_ref().map_or(0, V::heap_bytes);
        if !entry.is_needed() && self.held_back_bytes + bytes > HELD_BACK_BYTES_MAX {
            self.entries.remove(key);
            return;
        }
        self.held_back_bytes += bytes;
        let from = self.admit_from.unwrap_or(at.visible_up_to);
        self.admit_from = Some(from.min(at.visible_up_to));
        entry.state = LoadState::Ready { value, at, bytes };
    }

    /// Admits what can be, now that everything up to `applied` has been applied: passes each value
    /// to `admit`, with whether a complete copy lacks it.
    pub(in crate::store) fn admit_ready(
        &mut self,
        applied: Lsn,
        mut admit: impl FnMut(K, Option<V>, bool),
    ) {
        if self.admit_from.is_none_or(|from| from > applied) {
            return;
        }
        let mut next: Option<Lsn> = None;
        let admitted = self.entries.extract_if(|_, entry| match &entry.state {
            LoadState::Loading(_) => false,
            LoadState::Ready { at, .. } => {
                let leaves = at.visible_up_to <= applied && (entry.required || !entry.is_pinned());
                if !leaves {
                    next = Some(next.unwrap_or(at.visible_up_to).min(at.visible_up_to));
                }
                leaves
            }
        });
        for (key, entry) in admitted {
            self.required -= usize::from(entry.required);
            if let LoadState::Ready { value, bytes, .. } = entry.state {
                self.held_back_bytes -= bytes;
                admit(key, value, entry.required);
            }
        }
        self.admit_from = next;
    }

    /// Removes one value that may be admitted at once, unless a complete copy lacks it.
    pub(in crate::store) fn admit_one(&mut self, key: &K, applied: Lsn) -> Presence<V> {
        let Some(entry) = self.entries.get(key) else { return Presence::Unknown };
        let LoadState::Ready { value, at, bytes } = &entry.state else { return Presence::Unknown };
        if at.visible_up_to > applied || entry.is_needed() {
            return Presence::Unknown;
        }
        let value = Presence::of(value.clone());
        self.held_back_bytes -= bytes;
        self.entries.remove(key);
        value
    }
}
