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

pub(super) use super::load_waiter::{LoadReply, LoadWaiter};

use super::RowsError;
use super::pending_changes::{PendingChanges, RowState};
use super::recent_commits::RequiredXids;
use crate::key::Key;
use crate::load::{LoadedRow, ReadPoint};
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter};
use crate::snapshot::Xid;
use crate::store::meters::LoadOutcome;
use crate::version::Version;
use entry::{InFlightLoad, PendingRow, PendingRowState};

/// Memory of rows that are kept aside although nobody waits for them any more, in bytes, for each
/// table. Beyond it they are told to those who asked and forgotten.
const HELD_BACK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Memory of such a row beyond its document, in bytes.
const HELD_BACK_OVERHEAD: usize = 400;

/// Whether a reader of several rows pins them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retention {
    Pinned,
    Unpinned,
}

/// What stands on the desk under a key.
#[derive(Debug)]
pub(super) enum PendingState {
    /// Nothing.
    Nothing,
    /// It is on its way.
    Asked,
    /// The row, complete once everything up to the position has been applied.
    Here(Option<Row>, Lsn),
}

/// What has to be done about a key that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LoadDisposition {
    /// Nothing any more.
    Done,
    /// It has to be asked for again, after so many tries in vain.
    Again(u32),
}

#[derive(Debug, Default)]
pub(super) struct PendingRows {
    entries: HashMap<Key, PendingRow>,
    required: usize,
    aside_bytes: usize,
    /// From this applied position on some row may go home.
    home_from: Option<Lsn>,
    /// The last required row that the database refused to write as JSON, and what was told of it.
    unwritable: Option<(Key, RowsError)>,
}

impl PendingRows {
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

    pub(super) fn find(&self, key: &Key) -> PendingState {
        match self.entries.get(key).map(|entry| &entry.state) {
            None => PendingState::Nothing,
            Some(PendingRowState::Asked(_)) => PendingState::Asked,
            Some(PendingRowState::Here { row, at, .. }) => {
                PendingState::Here(row.clone(), at.visible_up_to)
            }
        }
    }

    /// A place among those who wait for a key that is on the desk.
    pub(super) fn ticket(&self, key: &Key, hold: Retention) -> Option<LoadWaiter> {
        let entry = self.entries.get(key)?;
        let pin = (hold == Retention::Pinned).then(|| entry.pin.clone());
        Some(LoadWaiter::new(entry.tell.subscribe(), pin))
    }

    /// Puts a key on the desk that is to be asked for.
    pub(super) fn enqueue_load(&mut self, key: Key, due: RequiredXids) {
        self.entries.insert(key, PendingRow::new(due, false));
    }

    /// Puts a key on the desk that a query is about to ask for, although nobody waits for it.
    pub(super) fn ask_in(&mut self, query: u64, key: Key, due: RequiredXids) {
        let mut entry = PendingRow::new(due, false);
        if let PendingRowState::Asked(asked) = &mut entry.state {
            asked.query = Some(query);
        }
        self.entries.insert(key, entry);
    }

    /// The map lacks this row because of a transaction. Tells whether it has to be asked for: not
    /// when it is on the desk already, where the change was noted.
    pub(super) fn require(&mut self, key: &Key, xid: Xid) -> bool {
        let is_new = !self.entries.contains_key(key);
        let entry = self
            .entries
            .entry(key.clone())
            .or_insert_with(|| PendingRow::new(RequiredXids::one(xid), false));
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
            PendingRowState::Asked(asked) => asked.chain.push(xid, image.clone()),
            PendingRowState::Here { at, .. } if at.snapshot.sees(xid) => {}
            PendingRowState::Here { row, bytes, .. } => match RowState::of(row.take()).apply(image)
            {
                RowState::Row(new) => *row = Some(new),
                RowState::Absent => *row = None,
                RowState::Unknown => {
                    self.aside_bytes -= *bytes;
                    let is_needed = entry.required || entry.is_pinned();
                    entry.state = PendingRowState::Asked(InFlightLoad::new(RequiredXids::one(xid)));
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
    pub(super) fn mark_for_reload(&mut self, due: &RequiredXids) -> Vec<Key> {
        self.entries.retain(|_, entry| match &mut entry.state {
            PendingRowState::Here { bytes, .. } => {
                self.aside_bytes -= *bytes;
                if entry.required {
                    entry.state = PendingRowState::Asked(InFlightLoad {
                        query: Some(0),
                        ..InFlightLoad::new(due.clone())
                    });
                    entry.tell.send_replace(None);
                }
                entry.required
            }
            PendingRowState::Asked(_) => true,
        });
        self.home_from = None;
        let on_their_way =
            self.entries.iter_mut().filter_map(|(key, entry)| match &mut entry.state {
                PendingRowState::Asked(asked) => asked.query.take().map(|_| key.clone()),
                PendingRowState::Here { .. } => None,
            });
        on_their_way.collect()
    }

    /// A query is about to ask for a key. Tells whether that is still to be done.
    pub(super) fn begin(&mut self, key: &Key, query: u64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let is_wanted = entry.is_wanted();
        let PendingRowState::Asked(asked) = &mut entry.state else { return false };
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
    ) -> (LoadDisposition, Option<LoadOutcome>) {
        let Some(entry) = self.entries.get_mut(key) else { return (LoadDisposition::Done, None) };
        let PendingRowState::Asked(asked) = &mut entry.state else {
            return (LoadDisposition::Done, None);
        };
        if asked.query != Some(query) {
            return (LoadDisposition::Done, None);
        }
        asked.query = None;
        if loaded.row.is_some() && loaded.key != *key {
            entry.tell.send_replace(Some(LoadReply::CanonicalKey(loaded.key)));
            self.forget(key);
            return (LoadDisposition::Done, Some(LoadOutcome::Loaded));
        }
        let standing = if asked.due.is_seen_by(&at.snapshot) {
            asked.chain.resolve(RowState::of(loaded.row), &at.snapshot)
        } else {
            RowState::Unknown
        };
        let row = match standing {
            RowState::Row(row) => Some(row),
            RowState::Absent => None,
            RowState::Unknown => {
                asked.tries += 1;
                if asked.due.is_seen_by(&at.snapshot)
                    && let Some(last) = asked.chain.last()
                {
                    // What is not in this snapshot has to be in the next one.
                    asked.due = RequiredXids::one(last);
                    asked.chain = PendingChanges::default();
                }
                return (LoadDisposition::Again(asked.tries), Some(LoadOutcome::Retried));
            }
        };
        let outcome = if row.is_some() { LoadOutcome::Loaded } else { LoadOutcome::Absent };
        entry.tell.send_replace(Some(LoadReply::Row(row.clone(), applied)));
        self.hold_back(key, row, at.clone());
        (LoadDisposition::Done, Some(outcome))
    }

    fn hold_back(&mut self, key: &Key, row: Option<Row>, at: Arc<ReadPoint>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let bytes = HELD_BACK_OVERHEAD + key.heap_bytes() + row.as_ref().map_or(0, Row::heap_bytes);
        let is_needed = entry.required || entry.is_pinned();
        if !is_needed && self.aside_bytes + bytes > HELD_BACK_BYTES_MAX {
            self.entries.remove(key);
            return;
        }
        self.aside_bytes += bytes;
        let from = self.home_from.unwrap_or(at.visible_up_to);
        self.home_from = Some(from.min(at.visible_up_to));
        entry.state = PendingRowState::Here { row, at, bytes };
    }

    /// A query for a key failed. It is asked for again, after so many tries, if it is required or there
    /// were not more than `patience`.
    pub(super) fn fail(
        &mut self,
        query: u64,
        key: &Key,
        error: &RowsError,
        patience: u32,
    ) -> LoadDisposition {
        let Some(entry) = self.entries.get_mut(key) else { return LoadDisposition::Done };
        let PendingRowState::Asked(asked) = &mut entry.state else { return LoadDisposition::Done };
        if asked.query != Some(query) {
            return LoadDisposition::Done;
        }
        asked.query = None;
        asked.tries += 1;
        let tries = asked.tries;
        if tries <= patience {
            return LoadDisposition::Again(tries);
        }
        entry.tell.send_replace(Some(LoadReply::Failed(error.clone())));
        if entry.required {
            entry.tell = watch::channel(None).0;
            if error.is_of_one_row() {
                self.unwritable = Some((key.clone(), error.clone()));
            }
            return LoadDisposition::Again(tries);
        }
        self.forget(key);
        LoadDisposition::Done
    }

    /// A query for a key was of no use, and another one may be.
    pub(super) fn again(&mut self, query: u64, key: &Key) -> LoadDisposition {
        match self.entries.get_mut(key).map(|entry| &mut entry.state) {
            Some(PendingRowState::Asked(asked)) if asked.query == Some(query) => {
                asked.query = None;
                asked.tries += 1;
                LoadDisposition::Again(asked.tries)
            }
            _ => LoadDisposition::Done,
        }
    }

    fn forget(&mut self, key: &Key) {
        self.release(key);
        self.entries.remove(key);
    }

    /// Sends home what can go, now that everything up to `applied` has been applied. `home` is told
    /// the row and whether the map lacks it.
    pub(super) fn admit_ready(
        &mut self,
        applied: Lsn,
        mut home: impl FnMut(Key, Option<Row>, bool),
    ) {
        if self.home_from.is_none_or(|from| from > applied) {
            return;
        }
        let mut next: Option<Lsn> = None;
        let leaving = self.entries.extract_if(|_, entry| match &entry.state {
            PendingRowState::Asked(_) => false,
            PendingRowState::Here { at, .. } => {
                let goes = at.visible_up_to <= applied && (entry.required || !entry.is_pinned());
                if !goes {
                    next = Some(next.unwrap_or(at.visible_up_to).min(at.visible_up_to));
                }
                goes
            }
        });
        for (key, entry) in leaving {
            self.required -= usize::from(entry.required);
            if let PendingRowState::Here { row, bytes, .. } = entry.state {
                self.aside_bytes -= bytes;
                home(key, row, entry.required);
            }
        }
        self.home_from = next;
    }

    /// Sends one row home, if it can go at once and the map of no preloaded table lacks it.
    pub(super) fn admit_one(&mut self, key: &Key, applied: Lsn) -> RowState {
        let Some(entry) = self.entries.get(key) else { return RowState::Unknown };
        let PendingRowState::Here { row, at, bytes } = &entry.state else {
            return RowState::Unknown;
        };
        if entry.required || at.visible_up_to > applied || entry.is_pinned() {
            return RowState::Unknown;
        }
        let standing = RowState::of(row.clone());
        self.aside_bytes -= bytes;
        self.entries.remove(key);
        standing
    }
}
