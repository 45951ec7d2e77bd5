//! The values of one set that are being loaded, and those held back after loading.
//!
//! A loaded value is held back while its snapshot contains commits that have not been applied yet:
//! the changes that it contains must be skipped when they come, and a reader of several values at
//! one version has to wait for it. It is held back as well while a reader of several values pins
//! it, so that it can't be evicted before the last of them has come. Then it is *admitted*: to the
//! cache, or to a complete copy of the set if it is *required* there.

mod admission;
mod entry;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::{
    LoadFailure, LoadReply, LoadWaiter, PendingChanges, Presence, RequiredXids, Retention, SetKey,
    SetValue, ValueChange,
};
use crate::load::ReadPoint;
use crate::lsn::Lsn;
use crate::snapshot::Xid;
use crate::store::metrics::LoadOutcome;
use crate::version::Version;
use entry::{InFlightLoad, LoadState, PendingEntry};

/// The pending state of one key.
#[derive(Debug)]
pub(in crate::store) enum PendingState<V> {
    /// Not pending.
    None,
    /// Queued or being read.
    Loading,
    /// Loaded; exact once everything up to the position has been applied.
    Ready(Option<V>, Lsn),
}

/// What remains to be done about a key after a query.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum LoadDisposition {
    Done,
    /// It has to be queued again, after this many queries without a usable result.
    Retry(u32),
}

/// The pending keys of one set.
#[derive(Debug)]
pub(in crate::store) struct PendingLoads<K, V: SetValue> {
    entries: HashMap<K, PendingEntry<K, V>>,
    /// Number of entries that are required.
    required: usize,
    held_back_bytes: usize,
    /// The lowest applied position at which some value may be admitted.
    admit_from: Option<Lsn>,
    /// The last required key whose value can't be loaded until it changes, and the error.
    unloadable: Option<(K, V::Error)>,
}

impl<K, V: SetValue> Default for PendingLoads<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            required: 0,
            held_back_bytes: 0,
            admit_from: None,
            unloadable: None,
        }
    }
}

impl<K: SetKey, V: SetValue> PendingLoads<K, V> {
    pub(in crate::store) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of values that a complete copy lacks.
    pub(in crate::store) fn required(&self) -> usize {
        self.required
    }

    pub(in crate::store) fn is_required(&self, key: &K) -> bool {
        self.required > 0 && self.entries.get(key).is_some_and(|entry| entry.required)
    }

    /// Why a required value can't be loaded until it changes, if that is known of one.
    pub(in crate::store) fn obstacle(&self) -> Option<V::Error> {
        let (key, error) = self.unloadable.as_ref()?;
        self.is_required(key).then(|| error.clone())
    }

    pub(in crate::store) fn find(&self, key: &K) -> PendingState<V> {
        match self.entries.get(key).map(|entry| &entry.state) {
            None => PendingState::None,
            Some(LoadState::Loading(_)) => PendingState::Loading,
            Some(LoadState::Ready { value, at, .. }) => {
                PendingState::Ready(value.clone(), at.visible_up_to)
            }
        }
    }

    /// A waiter for a key that is pending.
    pub(in crate::store) fn waiter(
        &self,
        key: &K,
        retention: Retention,
    ) -> Option<LoadWaiter<K, V>> {
        self.entries.get(key).map(|entry| entry.waiter(retention))
    }

    /// Adds a key that is to be queued, with its first waiter.
    pub(in crate::store) fn enqueue_load(
        &mut self,
        key: K,
        required_xids: RequiredXids,
        retention: Retention,
    ) -> LoadWaiter<K, V> {
        let entry = PendingEntry::new(InFlightLoad::new(required_xids));
        let waiter = entry.waiter(retention);
        self.entries.insert(key, entry);
        waiter
    }

    /// Adds a key that query number `query` is about to read, without a waiter.
    pub(in crate::store) fn begin_load(&mut self, query: u64, key: K, required_xids: RequiredXids) {
        let load = InFlightLoad { query: Some(query), ..InFlightLoad::new(required_xids) };
        self.entries.insert(key, PendingEntry::new(load));
    }

    /// Notes that a complete copy lacks this value since a transaction. Returns whether the key has
    /// to be queued: not when it is pending already, where the change was recorded.
    pub(in crate::store) fn require(&mut self, key: &K, xid: Xid) -> bool {
        let is_new = !self.entries.contains_key(key);
        let entry = self
            .entries
            .entry(key.clone())
            .or_insert_with(|| PendingEntry::new(InFlightLoad::new(RequiredXids::one(xid))));
        self.required += usize::from(!entry.required);
        entry.required = true;
        is_new
    }

    /// Notes that the complete copy has this value again.
    pub(in crate::store) fn release(&mut self, key: &K) {
        if self.required > 0
            && let Some(entry) = self.entries.get_mut(key)
        {
            self.required -= usize::from(entry.required);
            entry.required = false;
        }
    }

    pub(in crate::store) fn release_all(&mut self) {
        self.required = 0;
        self.entries.values_mut().for_each(|entry| entry.required = false);
    }

    /// Records or applies a change to a key. Returns whether the key has to be queued again.
    pub(in crate::store) fn change(&mut self, key: &K, xid: Xid, change: &V::Change) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let (value, bytes) = match &mut entry.state {
            LoadState::Loading(load) => {
                load.changes.push(xid, change.clone());
                return false;
            }
            // The loaded value contains the change.
            LoadState::Ready { at, .. } if at.snapshot.sees(xid) => return false,
            LoadState::Ready { value, bytes, .. } => (value, *bytes),
        };
        match change.apply(Presence::of(value.take())) {
            Presence::Present(new) => *value = Some(new),
            Presence::Absent => *value = None,
            Presence::Unknown => {
                self.held_back_bytes -= bytes;
                let is_needed = entry.is_needed();
                entry.state = LoadState::Loading(InFlightLoad::new(RequiredXids::one(xid)));
                entry.reply.send_replace(None);
                if !is_needed {
                    self.entries.remove(key);
                }
                return is_needed;
            }
        }
        false
    }

    /// Deletes all values: the set was emptied by a transaction.
    pub(in crate::store) fn delete_all(&mut self, xid: Xid) {
        let keys: Vec<K> = self.entries.keys().cloned().collect();
        for key in keys {
            self.change(&key, xid, &V::Change::DELETE);
        }
        self.release_all();
    }

    /// Discards everything read so far, because the server may have crashed: values that came from
    /// it may hold a commit that it lost, and so may the results of running queries. Returns the
    /// keys to be queued again.
    pub(in crate::store) fn mark_for_reload(&mut self, required_xids: &RequiredXids) -> Vec<K> {
        self.entries.retain(|_, entry| match &mut entry.state {
            LoadState::Ready { bytes, .. } => {
                self.held_back_bytes -= *bytes;
                if entry.required {
                    // As if a query were running, so that the key is queued again below.
                    entry.state = LoadState::Loading(InFlightLoad {
                        query: Some(0),
                        ..InFlightLoad::new(required_xids.clone())
                    });
                    entry.reply.send_replace(None);
                }
                entry.required
            }
            LoadState::Loading(_) => true,
        });
        self.admit_from = None;
        let running = self.entries.iter_mut().filter_map(|(key, entry)| match &mut entry.state {
            LoadState::Loading(load) => load.query.take().map(|_| key.clone()),
            LoadState::Ready { .. } => None,
        });
        running.collect()
    }

    /// Assigns a queued key to a query. Returns whether the query has to read it: not when no one
    /// waits for it any more, or another query reads it.
    pub(in crate::store) fn begin(&mut self, key: &K, query: u64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let is_wanted = entry.is_wanted();
        let LoadState::Loading(load) = &mut entry.state else { return false };
        if load.query.is_some() {
            return false;
        }
        if !is_wanted {
            self.entries.remove(key);
            return false;
        }
        load.query = Some(query);
        true
    }

    /// The load that query number `query` runs for this key. None when a change of history, a lost
    /// connection or a later request has detached the query from the key.
    fn running(&mut self, query: u64, key: &K) -> Option<&mut InFlightLoad<V>> {
        match &mut self.entries.get_mut(key)?.state {
            LoadState::Loading(load) if load.query == Some(query) => Some(load),
            LoadState::Loading(_) | LoadState::Ready { .. } => None,
        }
    }

    /// Takes the result of a query for one of its keys: the key as the database writes it, and the
    /// value under it.
    pub(in crate::store) fn complete(
        &mut self,
        query: u64,
        key: &K,
        (canonical, loaded): (K, Option<V>),
        at: &Arc<ReadPoint>,
        applied: Version,
    ) -> (LoadDisposition, Option<LoadOutcome>) {
        let Some(load) = self.running(query, key) else { return (LoadDisposition::Done, None) };
        load.query = None;
        if loaded.is_some() && canonical != *key {
            self.reply(key, LoadReply::CanonicalKey(canonical));
            self.forget(key);
            return (LoadDisposition::Done, Some(LoadOutcome::Loaded));
        }
        let is_recent = load.required_xids.is_seen_by(&at.snapshot);
        let value = if is_recent {
            load.changes.resolve(Presence::of(loaded), &at.snapshot)
        } else {
            Presence::Unknown
        };
        let value = match value {
            Presence::Present(value) => Some(value),
            Presence::Absent => None,
            Presence::Unknown => {
                load.tries += 1;
                if is_recent && let Some(last) = load.changes.last() {
                    // The next snapshot has to contain what this one does not.
                    load.required_xids = RequiredXids::one(last);
                    load.changes = PendingChanges::default();
                }
                return (LoadDisposition::Retry(load.tries), Some(LoadOutcome::Retried));
            }
        };
        let outcome = if value.is_some() { LoadOutcome::Loaded } else { LoadOutcome::Absent };
        self.reply(key, LoadReply::Value(value.clone(), applied));
        self.hold_back(key, value, at.clone());
        (LoadDisposition::Done, Some(outcome))
    }

    fn reply(&mut self, key: &K, reply: LoadReply<K, V>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.reply.send_replace(Some(reply));
        }
    }

    /// Takes the failure of a query for one of its keys. The key is queued again if it is required
    /// or failed at most `tries_max` times.
    pub(in crate::store) fn fail(
        &mut self,
        query: u64,
        key: &K,
        error: &V::Error,
        tries_max: u32,
    ) -> LoadDisposition {
        let Some(load) = self.running(query, key) else { return LoadDisposition::Done };
        load.query = None;
        load.tries += 1;
        let tries = load.tries;
        if tries <= tries_max {
            return LoadDisposition::Retry(tries);
        }
        self.reply(key, LoadReply::Failed(error.clone()));
        if let Some(entry) = self.entries.get_mut(key)
            && entry.required
        {
            // The present waiters have their answer; later ones wait for the next query.
            entry.reply = watch::channel(None).0;
            if error.is_of_one_key() {
                self.unloadable = Some((key.clone(), error.clone()));
            }
            return LoadDisposition::Retry(tries);
        }
        self.forget(key);
        LoadDisposition::Done
    }

    /// Takes a query that brought nothing for a key although another one may.
    pub(in crate::store) fn retry(&mut self, query: u64, key: &K) -> LoadDisposition {
        let Some(load) = self.running(query, key) else { return LoadDisposition::Done };
        load.query = None;
        load.tries += 1;
        LoadDisposition::Retry(load.tries)
    }

    fn forget(&mut self, key: &K) {
        self.release(key);
        self.entries.remove(key);
    }
}
