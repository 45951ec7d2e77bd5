//! Rows of one table that are on their way from the database, and those kept aside.
//!
//! A row that arrived is kept aside while its snapshot contains commits that have not been applied
//! yet: the changes that it contains must be skipped when they come, and who reads several rows at
//! one version has to wait for it. It is kept as well while somebody who reads several rows needs
//! it (a *pin*), so that it can't be evicted before the last one has come. Then it goes *home*: into
//! the cache, or into the map of a preloaded table when it is *required* there.

mod entry;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

pub(super) use super::ticket::{Ticket, Told};

use super::RowsError;
use super::chain::{Chain, Standing};
use super::recent::Due;
use crate::key::Key;
use crate::load::{LoadedRow, ReadPoint};
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter};
use crate::snapshot::Xid;
use crate::store::meters::LoadOutcome;
use crate::version::Version;
use entry::{Asked, Entry, State};

/// Memory of rows that are kept aside although nobody waits for them any more, in bytes, for each
/// table. Beyond it they are told to those who asked and forgotten.
const ASIDE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory of such a row beyond its document, in bytes.
const ASIDE_OVERHEAD: usize = 400;

/// Whether a reader of several rows pins them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Pin,
    Glance,
}

/// What stands on the desk under a key.
#[derive(Debug)]
pub(super) enum OnDesk {
    /// Nothing.
    Nothing,
    /// It is on its way.
    Asked,
    /// The row, complete once everything up to the position has been applied.
    Here(Option<Row>, Lsn),
}

/// What has to be done about a key that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// Nothing any more.
    Done,
    /// It has to be asked for again, after so many tries in vain.
    Again(u32),
}

#[derive(Debug, Default)]
pub(super) struct Desk {
    entries: HashMap<Key, Entry>,
    required: usize,
    aside_bytes: usize,
    /// From this applied position on some row may go home.
    home_from: Option<Lsn>,
    /// The last required row that the database refused to write as JSON, and what was told of it.
    unwritable: Option<(Key, RowsError)>,
}

impl Desk {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Rows that a preloaded table's map lacks.
    pub(super) fn required(&self) -> usize {
        self.required
    }

    pub(super) fn is_required(&self, key: &Key) -> bool {
        self.required > 0 && self.entries.get(key).is_some_and(|entry| entry.required)
    }

    /// Why a required row won't come until it is changed, if one is known.
    pub(super) fn obstacle(&self) -> Option<RowsError> {
        let (key, error) = self.unwritable.as_ref()?;
        self.is_required(key).then(|| error.clone())
    }

    pub(super) fn find(&self, key: &Key) -> OnDesk {
        match self.entries.get(key).map(|entry| &entry.state) {
            None => OnDesk::Nothing,
            Some(State::Asked(_)) => OnDesk::Asked,
            Some(State::Here { row, at, .. }) => OnDesk::Here(row.clone(), at.visible_up_to),
        }
    }

    /// A place among those who wait for a key that is on the desk.
    pub(super) fn ticket(&self, key: &Key, hold: Hold) -> Option<Ticket> {
        let entry = self.entries.get(key)?;
        let pin = (hold == Hold::Pin).then(|| entry.pin.clone());
        Some(Ticket::new(entry.tell.subscribe(), pin))
    }

    /// Puts a key on the desk that is to be asked for.
    pub(super) fn ask(&mut self, key: Key, due: Due) {
        self.entries.insert(key, Entry::new(due, false));
    }

    /// Puts a key on the desk that a query is about to ask for, although nobody waits for it.
    pub(super) fn ask_in(&mut self, query: u64, key: Key, due: Due) {
        let mut entry = Entry::new(due, false);
        if let State::Asked(asked) = &mut entry.state {
            asked.query = Some(query);
        }
        self.entries.insert(key, entry);
    }

    /// The map lacks this row because of a transaction. Tells whether it has to be asked for: not
    /// when it is on the desk already, where the change was noted.
    pub(super) fn require(&mut self, key: &Key, xid: Xid) -> bool {
        let is_new = !self.entries.contains_key(key);
        let entry =
            self.entries.entry(key.clone()).or_insert_with(|| Entry::new(Due::one(xid), false));
        self.required += usize::from(!entry.required);
        entry.required = true;
        is_new
    }

    /// The map has it again.
    pub(super) fn release(&mut self, key: &Key) {
        if self.required > 0
            && let Some(entry) = self.entries.get_mut(key)
        {
            self.required -= usize::from(entry.required);
            entry.required = false;
        }
    }

    pub(super) fn release_all(&mut self) {
        self.required = 0;
        self.entries.values_mut().for_each(|entry| entry.required = false);
    }

    /// A change to a key. Tells whether it has to be asked for again.
    pub(super) fn change(&mut self, key: &Key, xid: Xid, image: &RowAfter) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let Some(entry) = self.entries.get_mut(key) else { return false };
        match &mut entry.state {
            State::Asked(asked) => asked.chain.push(xid, image.clone()),
            State::Here { at, .. } if at.snapshot.sees(xid) => {}
            State::Here { row, bytes, .. } => match Standing::of(row.take()).after(image) {
                Standing::Row(new) => *row = Some(new),
                Standing::Absent => *row = None,
                Standing::Unknown => {
                    self.aside_bytes -= *bytes;
                    let is_needed = entry.required || entry.is_pinned();
                    entry.state = State::Asked(Asked::new(Due::one(xid)));
                    entry.tell.send_replace(None);
                    if !is_needed {
                        self.entries.remove(key);
                    }
                    return is_needed;
                }
            },
        }
        false
    }

    /// The table is empty.
    pub(super) fn clear(&mut self, xid: Xid) {
        let keys: Vec<Key> = self.entries.keys().cloned().collect();
        for key in keys {
            self.change(&key, xid, &RowAfter::Deleted);
        }
        self.release_all();
    }

    /// The server may have crashed. Rows that came from it may hold a commit that it lost, and queries
    /// on their way may bring such rows: all are asked for again, those of them that are needed at once.
    pub(super) fn distrust(&mut self, due: &Due) -> Vec<Key> {
        self.entries.retain(|_, entry| match &mut entry.state {
            State::Here { bytes, .. } => {
                self.aside_bytes -= *bytes;
                if entry.required {
                    entry.state = State::Asked(Asked { query: Some(0), ..Asked::new(due.clone()) });
                    entry.tell.send_replace(None);
                }
                entry.required
            }
            State::Asked(_) => true,
        });
        self.home_from = None;
        let on_their_way =
            self.entries.iter_mut().filter_map(|(key, entry)| match &mut entry.state {
                State::Asked(asked) => asked.query.take().map(|_| key.clone()),
                State::Here { .. } => None,
            });
        on_their_way.collect()
    }

    /// A query is about to ask for a key. Tells whether that is still to be done.
    pub(super) fn begin(&mut self, key: &Key, query: u64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let is_wanted = entry.is_wanted();
        let State::Asked(asked) = &mut entry.state else { return false };
        if asked.query.is_some() {
            return false;
        }
        if !is_wanted {
            self.entries.remove(key);
            return false;
        }
        asked.query = Some(query);
        true
    }

    /// What a query brought for a key it asked for.
    pub(super) fn arrive(
        &mut self,
        query: u64,
        key: &Key,
        loaded: LoadedRow,
        at: &Arc<ReadPoint>,
        applied: Version,
    ) -> (Arrived, Option<LoadOutcome>) {
        let Some(entry) = self.entries.get_mut(key) else { return (Arrived::Done, None) };
        let State::Asked(asked) = &mut entry.state else { return (Arrived::Done, None) };
        if asked.query != Some(query) {
            return (Arrived::Done, None);
        }
        asked.query = None;
        if loaded.row.is_some() && loaded.key != *key {
            entry.tell.send_replace(Some(Told::Spelled(loaded.key)));
            self.forget(key);
            return (Arrived::Done, Some(LoadOutcome::Loaded));
        }
        let standing = if asked.due.is_seen_by(&at.snapshot) {
            asked.chain.resolve(Standing::of(loaded.row), &at.snapshot)
        } else {
            Standing::Unknown
        };
        let row = match standing {
            Standing::Row(row) => Some(row),
            Standing::Absent => None,
            Standing::Unknown => {
                asked.tries += 1;
                if asked.due.is_seen_by(&at.snapshot)
                    && let Some(last) = asked.chain.last()
                {
                    // What is not in this snapshot has to be in the next one.
                    asked.due = Due::one(last);
                    asked.chain = Chain::default();
                }
                return (Arrived::Again(asked.tries), Some(LoadOutcome::Again));
            }
        };
        let outcome = if row.is_some() { LoadOutcome::Loaded } else { LoadOutcome::Absent };
        entry.tell.send_replace(Some(Told::Here(row.clone(), applied)));
        self.put_aside(key, row, at.clone());
        (Arrived::Done, Some(outcome))
    }

    fn put_aside(&mut self, key: &Key, row: Option<Row>, at: Arc<ReadPoint>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let bytes = ASIDE_OVERHEAD + key.heap_bytes() + row.as_ref().map_or(0, Row::heap_bytes);
        let is_needed = entry.required || entry.is_pinned();
        if !is_needed && self.aside_bytes + bytes > ASIDE_BYTES_MAX {
            self.entries.remove(key);
            return;
        }
        self.aside_bytes += bytes;
        let from = self.home_from.unwrap_or(at.visible_up_to);
        self.home_from = Some(from.min(at.visible_up_to));
        entry.state = State::Here { row, at, bytes };
    }

    /// A query for a key failed. It is asked for again, after so many tries, if it is required or there
    /// were not more than `patience`.
    pub(super) fn fail(
        &mut self,
        query: u64,
        key: &Key,
        error: &RowsError,
        patience: u32,
    ) -> Arrived {
        let Some(entry) = self.entries.get_mut(key) else { return Arrived::Done };
        let State::Asked(asked) = &mut entry.state else { return Arrived::Done };
        if asked.query != Some(query) {
            return Arrived::Done;
        }
        asked.query = None;
        asked.tries += 1;
        let tries = asked.tries;
        if tries <= patience {
            return Arrived::Again(tries);
        }
        entry.tell.send_replace(Some(Told::Failed(error.clone())));
        if entry.required {
            entry.tell = watch::channel(None).0;
            if error.is_of_one_row() {
                self.unwritable = Some((key.clone(), error.clone()));
            }
            return Arrived::Again(tries);
        }
        self.forget(key);
        Arrived::Done
    }

    /// A query for a key was of no use, and another one may be.
    pub(super) fn again(&mut self, query: u64, key: &Key) -> Arrived {
        match self.entries.get_mut(key).map(|entry| &mut entry.state) {
            Some(State::Asked(asked)) if asked.query == Some(query) => {
                asked.query = None;
                asked.tries += 1;
                Arrived::Again(asked.tries)
            }
            _ => Arrived::Done,
        }
    }

    fn forget(&mut self, key: &Key) {
        self.release(key);
        self.entries.remove(key);
    }

    /// Sends home what can go, now that everything up to `applied` has been applied. `home` is told
    /// the row and whether the map lacks it.
    pub(super) fn settle(&mut self, applied: Lsn, mut home: impl FnMut(Key, Option<Row>, bool)) {
        if self.home_from.is_none_or(|from| from > applied) {
            return;
        }
        let mut next: Option<Lsn> = None;
        let leaving = self.entries.extract_if(|_, entry| match &entry.state {
            State::Asked(_) => false,
            State::Here { at, .. } => {
                let goes = at.visible_up_to <= applied && (entry.required || !entry.is_pinned());
                if !goes {
                    next = Some(next.unwrap_or(at.visible_up_to).min(at.visible_up_to));
                }
                goes
            }
        });
        for (key, entry) in leaving {
            self.required -= usize::from(entry.required);
            if let State::Here { row, bytes, .. } = entry.state {
                self.aside_bytes -= bytes;
                home(key, row, entry.required);
            }
        }
        self.home_from = next;
    }

    /// Sends one row home, if it can go at once and the map of no preloaded table lacks it.
    pub(super) fn settle_one(&mut self, key: &Key, applied: Lsn) -> Standing {
        let Some(entry) = self.entries.get(key) else { return Standing::Unknown };
        let State::Here { row, at, bytes } = &entry.state else { return Standing::Unknown };
        if entry.required || at.visible_up_to > applied || entry.is_pinned() {
            return Standing::Unknown;
        }
        let standing = Standing::of(row.clone());
        self.aside_bytes -= bytes;
        self.entries.remove(key);
        standing
    }
}
