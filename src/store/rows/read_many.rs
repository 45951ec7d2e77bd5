//! Reading several rows at one version.
//!
//! They are gathered under one hold of the lock. If some are missing, or newer than what has been
//! applied, the reader waits and gathers all again. Those that came are pinned meanwhile, so that
//! each has to be loaded once, however small the cache is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::access::{load_timed_out, not_started};
use super::{ReadRows, RowOrigin, RowWaiter, RowsError, trace};
use crate::change::Op;
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::Row;
use crate::store::cache::{LoadFailure, LoadReply, Lookup, Retention};
use crate::store::directory::Resource;
use crate::store::merge::PollChange;
use crate::store::reader::{ChangeQuery, ChangeSet};
use crate::store::state::{Store, StoreState};
use crate::table::TableOid;
use crate::version::Position;

/// Bytes of rows in one change set; at it the set ends (`more`), whatever the limit on changes. The
/// last row may exceed it.
const CHANGE_SET_ROW_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Rows that one reader requests at a time: their size is unknown until they come.
const REQUESTED_ROWS_MAX: usize = 250;

/// A row of any table.
type RowKey = (TableOid, Key);

/// The rows that a reader waits for, or has got and needs until it has all.
#[derive(Default)]
struct PinnedRows {
    waiters: HashMap<RowKey, RowWaiter>,
    /// Number of rows, in the order requested, whose hit or miss was traced already.
    traced: usize,
    /// Rows to leave out because the database can't write them as JSON; `None` where such a row is
    /// an error for the whole request.
    left_out: Option<HashSet<RowKey>>,
}

/// A change set, and the row of each of its changes.
type ChangesWithRows = (ChangeSet, Vec<Option<Row>>);

/// Rows gathered at one version, or what to wait for.
enum GatheredRows<T> {
    All(T),
    /// Everything up to this position has to be applied.
    AheadUntil(Lsn),
    /// The requested rows have to come.
    Missing,
}

impl Store {
    /// Several rows at one version: a commit shows in all of them or in none.
    pub async fn rows(
        &self,
        table: &Arc<Resource>,
        keys: &[Key],
        deadline: Instant,
    ) -> Result<ReadRows, RowsError> {
        let mut keys = keys.to_vec();
        let mut pinned = PinnedRows::default();
        let mut origin = RowOrigin::Memory;
        loop {
            let position = match self.gather_rows(table, &keys, &mut pinned)? {
                GatheredRows::All(rows) => return Ok(ReadRows { origin, ..rows }),
                GatheredRows::AheadUntil(position) => Some(position),
                GatheredRows::Missing => None,
            };
            origin = RowOrigin::Database;
            for ((_, requested), canonical) in self.wait(position, &mut pinned, deadline).await? {
                let same = keys.iter_mut().filter(|key| **key == requested);
                same.for_each(|key| *key = canonical.clone());
            }
        }
    }

    fn gather_rows(
        &self,
        table: &Resource,
        keys: &[Key],
        pinned: &mut PinnedRows,
    ) -> Result<GatheredRows<ReadRows>, RowsError> {
        let state = self.shared.state.read();
        state.rows_of(table)?;
        let version = state.version().ok_or_else(not_started)?;
        let requested = keys.iter().map(|key| (table, key));
        let gathered = self.gather(&state, requested, usize::MAX, pinned)?;
        Ok(gathered.map(|rows| ReadRows { version, rows, origin: RowOrigin::Memory }))
    }

    /// What changed, with the row of every `insert` and `update` of a table whose rows are cached (in
    /// the order of the changes; `None` for other changes, and for a row that can't be written as
    /// JSON). All of it at one version. `None` before the stream first started.
    pub async fn changes_with_rows(
        &self,
        query: &ChangeQuery<'_>,
        deadline: Instant,
    ) -> Result<Option<(ChangeSet, Vec<Option<Row>>)>, RowsError> {
        if let Some(set) = query.after.and_then(|after| self.unchanged(query.resources, after)) {
            return Ok(Some((set, Vec::new())));
        }
        let mut pinned = PinnedRows { left_out: Some(HashSet::new()), ..PinnedRows::default() };
        loop {
            let position = match self.gather_changes(query, &mut pinned)? {
                GatheredRows::All(changes) => return Ok(changes),
                GatheredRows::AheadUntil(position) => Some(position),
                GatheredRows::Missing => None,
            };
            self.wait(position, &mut pinned, deadline).await?;
        }
    }

    fn gather_changes(
        &self,
        query: &ChangeQuery<'_>,
        pinned: &mut PinnedRows,
    ) -> Result<GatheredRows<Option<ChangesWithRows>>, RowsError> {
        let state = self.shared.state.read();
        let Some(mut set) = state.changes(query) else { return Ok(GatheredRows::All(None)) };
        let has_row = |c: &PollChange| c.op != Op::Delete && state.rows_of(&c.resource).is_ok();
        let requested = set.changes.iter().filter(|change| has_row(change));
        let requested = requested.map(|c| (&*c.resource, &c.key));
        let gathered = self.gather(&state, requested, CHANGE_SET_ROW_BYTES_MAX, pinned)?;
        Ok(gathered.map(|rows| {
            let mut rows = rows.into_iter();
            let each =
                set.changes.iter().map_while(|c| if has_row(c) { rows.next() } else { Some(None) });
            // Change and row are of one version, so a change in scope has a row in scope. The filter
            // guards against showing another caller's row whatever the reason.
            let scopes = set.changes.iter().map(|c| query.resources.scope_of(&c.resource));
            let each = each.zip(scopes).map(|(row, scope)| row.filter(|row| scope.matches(row)));
            let each: Vec<Option<Row>> = each.collect();
            set.truncate(each.len());
            Some((set, each))
        }))
    }

    /// These rows at the applied position: all of them, or the first that take `bytes_max`.
    fn gather<'a>(
        &self,
        state: &StoreState,
        requested: impl Iterator<Item = (&'a Resource, &'a Key)>,
        bytes_max: usize,
        pinned: &mut PinnedRows,
    ) -> Result<GatheredRows<Vec<Option<Row>>>, RowsError> {
        let mut gathered: Vec<Option<Row>> = Vec::new();
        let (mut bytes, mut waiting) = (0, 0);
        let mut ahead_until: Option<Lsn> = None;
        let mut is_missing = false;
        for (number, (table, key)) in requested.enumerate() {
            // The others come with the next change set, or are requested when these have come.
            if bytes >= bytes_max || waiting >= REQUESTED_ROWS_MAX {
                break;
            }
            let is_first_time = number >= pinned.traced;
            pinned.traced = pinned.traced.max(number + 1);
            let (stored, rows) = state.rows_of(table)?;
            match rows.find(key, state.applied.lsn) {
                Lookup::Value(row) => {
                    if is_first_time {
                        trace::hit(table, key);
                    }
                    bytes += row.as_ref().map_or(0, |row| row.json().len());
                    gathered.push(row);
                    continue;
                }
                Lookup::AheadUntil(position) => ahead_until = ahead_until.max(Some(position)),
                Lookup::Miss if pinned.leaves_out(table, key) => {
                    gathered.push(None);
                    continue;
                }
                Lookup::Miss => is_missing = true,
            }
            let request = self.request_row(state, stored, rows, key, Retention::Pinned)?;
            if is_first_time {
                trace::miss(table, key);
            }
            waiting += 1;
            // A row that was admitted just now is found the next time.
            if let Err(waiter) = request {
                pinned.waiters.insert((table.oid(), key.clone()), waiter);
            }
        }
        Ok(match (is_missing, ahead_until) {
            (true, _) => GatheredRows::Missing,
            (false, Some(position)) => GatheredRows::AheadUntil(position),
            (false, None) => GatheredRows::All(gathered),
        })
    }

    /// Waits for a position, or for the requested rows. Returns the canonical keys of rows that were
    /// requested in another spelling.
    async fn wait(
        &self,
        position: Option<Lsn>,
        pinned: &mut PinnedRows,
        deadline: Instant,
    ) -> Result<Vec<(RowKey, Key)>, RowsError> {
        let Some(position) = position else {
            let replies = self.before_deadline(deadline, pinned.wait()).await;
            return replies.ok_or_else(load_timed_out)?;
        };
        let applied = self.expedite_applied(Position::after_commit(position));
        self.before_deadline(deadline, applied).await.ok_or_else(|| {
            RowsError::TemporarilyUnavailable(
                "the rows are newer than what has arrived of the change stream so far, and so \
                 can't be read at one version; try again later"
                    .into(),
            )
        })?;
        Ok(Vec::new())
    }
}

impl PinnedRows {
    fn leaves_out(&self, table: &Resource, key: &Key) -> bool {
        let left_out = self.left_out.as_ref().filter(|left_out| !left_out.is_empty());
        left_out.is_some_and(|left_out| left_out.contains(&(table.oid(), key.clone())))
    }

    /// Waits until every requested row has come, or has to be requested anew.
    async fn wait(&mut self) -> Result<Vec<(RowKey, Key)>, RowsError> {
        let mut canonical_keys = Vec::new();
        let mut ended = Vec::new();
        for (row_key, waiter) in &mut self.waiters {
            match waiter.wait().await {
                Some(LoadReply::Value(..)) => {}
                Some(LoadReply::Failed(error)) => {
                    let left_out = self.left_out.as_mut();
                    let Some(left_out) = left_out.filter(|_| error.is_of_one_key()) else {
                        return Err(error);
                    };
                    left_out.insert(row_key.clone());
                    ended.push(row_key.clone());
                }
                Some(LoadReply::CanonicalKey(canonical)) => {
                    canonical_keys.push((row_key.clone(), canonical));
                    ended.push(row_key.clone());
                }
                None => ended.push(row_key.clone()),
            }
        }
        self.waiters.retain(|row_key, _| !ended.contains(row_key));
        Ok(canonical_keys)
    }
}

impl<T> GatheredRows<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> GatheredRows<U> {
        match self {
            Self::All(all) => GatheredRows::All(change(all)),
            Self::AheadUntil(position) => GatheredRows::AheadUntil(position),
            Self::Missing => GatheredRows::Missing,
        }
    }
}
