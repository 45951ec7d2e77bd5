//! Reading several rows at one version.
//!
//! They are gathered under one hold of the lock. If some are missing, or newer than what has been
//! applied, they are waited for and all are gathered again. Those that came are pinned meanwhile,
//! so that each has to be asked for once, however little room the cache has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::load_state::{not_started, too_late};
use super::pending::{LoadReply, LoadWaiter, Retention};
use super::table::Lookup;
use super::{ReadRows, RowOrigin, RowsError, trace};
use crate::change::Op;
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::Row;
use crate::store::directory::Resource;
use crate::store::merge::PollChange;
use crate::store::reader::{ChangeQuery, ChangeSet};
use crate::store::state::Store;
use crate::store::state::StoreState;
use crate::table::TableOid;
use crate::version::Position;

/// Bytes of rows in one answer with changes; at it the answer ends (`more`), however many changes were
/// asked for. The last row may go beyond it.
const ANSWER_ROWS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Rows that one reader asks for at once; how large they are is seen when they come.
const ROWS_ASKED_MAX: usize = 250;

/// The rows that a reader waits for, or has got and needs until it has all.
#[derive(Default)]
struct PinnedRows {
    tickets: HashMap<(TableOid, Key), LoadWaiter>,
    /// Of so many rows it was told already whether they were in memory.
    traced: usize,
    /// Rows that the database can't write as JSON, where the others are told without them; where they
    /// are not, nothing is.
    left_out: Option<HashSet<(TableOid, Key)>>,
}

/// An answer, and the row of each of its changes.
type WithRows = (ChangeSet, Vec<Option<Row>>);

/// Rows gathered at one version, or what has to be waited for.
enum GatheredRows<T> {
    All(T),
    /// Until everything up to here has been applied.
    Fresh(Lsn),
    /// Until those come that were asked for.
    Missing,
}

impl Store {
    /// Several rows at one version: a commit shows in all of them or in none.
    pub async fn rows(
        &self,
        table: &Arc<Resource>,
        keys: &[Key],
        until: Instant,
    ) -> Result<ReadRows, RowsError> {
        let mut keys = keys.to_vec();
        let mut pinned = PinnedRows::default();
        let mut origin = RowOrigin::Memory;
        loop {
            let wait_for = match self.gather_rows(table, &keys, &mut pinned)? {
                GatheredRows::All(rows) => return Ok(ReadRows { origin, ..rows }),
                GatheredRows::Fresh(horizon) => Some(horizon),
                GatheredRows::Missing => None,
            };
            origin = RowOrigin::Database;
            for ((_, asked), spelled) in self.wait(wait_for, &mut pinned, until).await? {
                keys.iter_mut().filter(|key| **key == asked).for_each(|key| *key = spelled.clone());
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
        let wanted = keys.iter().map(|key| (table, key));
        let gathered = self.gather(&state, wanted, usize::MAX, pinned)?;
        Ok(gathered.map(|rows| ReadRows { version, rows, origin: RowOrigin::Memory }))
    }

    /// What changed, with the row of every `insert` and `update` of a table that holds rows (in the
    /// order of the changes; `None` for other changes, and for a row that can't be told). All of it at
    /// one version. `None` before the stream first started.
    pub async fn changes_with_rows(
        &self,
        query: &ChangeQuery<'_>,
        until: Instant,
    ) -> Result<Option<(ChangeSet, Vec<Option<Row>>)>, RowsError> {
        if let Some(answer) = query.after.and_then(|after| self.unchanged(query.tables, after)) {
            return Ok(Some((answer, Vec::new())));
        }
        let mut pinned = PinnedRows { left_out: Some(HashSet::new()), ..PinnedRows::default() };
        loop {
            let wait_for = match self.gather_changes(query, &mut pinned)? {
                GatheredRows::All(found) => return Ok(found),
                GatheredRows::Fresh(horizon) => Some(horizon),
                GatheredRows::Missing => None,
            };
            self.wait(wait_for, &mut pinned, until).await?;
        }
    }

    fn gather_changes(
        &self,
        query: &ChangeQuery<'_>,
        pinned: &mut PinnedRows,
    ) -> Result<GatheredRows<Option<WithRows>>, RowsError> {
        let state = self.shared.state.read();
        let Some(mut answer) = state.answer(query) else { return Ok(GatheredRows::All(None)) };
        let has_row = |c: &PollChange| c.op != Op::Delete && state.rows_of(&c.table).is_ok();
        let wanted = answer.changes.iter().filter(|change| has_row(change));
        let wanted = wanted.map(|c| (&*c.table, &c.key));
        let gathered = self.gather(&state, wanted, ANSWER_ROWS_BYTES_MAX, pinned)?;
        Ok(gathered.map(|rows| {
            let mut rows = rows.into_iter();
            let each = answer
                .changes
                .iter()
                .map_while(|c| if has_row(c) { rows.next() } else { Some(None) });
            // As a row is told, so it is: both are of one version. Nobody is shown another's anyway.
            let views = answer.changes.iter().map(|c| query.tables.view_of(&c.table));
            let each = each.zip(views).map(|(row, view)| row.filter(|row| view.matches(row)));
            let each: Vec<Option<Row>> = each.collect();
            answer.cut(each.len());
            Some((answer, each))
        }))
    }

    /// These rows at the applied position: all of them, or the first that take so many bytes.
    fn gather<'a>(
        &self,
        state: &StoreState,
        wanted: impl Iterator<Item = (&'a Resource, &'a Key)>,
        bytes_max: usize,
        pinned: &mut PinnedRows,
    ) -> Result<GatheredRows<Vec<Option<Row>>>, RowsError> {
        let mut found: Vec<Option<Row>> = Vec::new();
        let (mut bytes, mut asked) = (0, 0);
        let mut fresh: Option<Lsn> = None;
        let mut is_missing = false;
        for (number, (table, key)) in wanted.enumerate() {
            // The others come with the next answer, or are asked for when these have come.
            if bytes >= bytes_max || asked >= ROWS_ASKED_MAX {
                break;
            }
            let is_news = number >= pinned.traced;
            pinned.traced = pinned.traced.max(number + 1);
            let (known, rows) = state.rows_of(table)?;
            let ticket = match rows.find(key, state.applied.lsn, &self.shared.cache) {
                Lookup::Row(row) => {
                    if is_news {
                        trace::hit(table, key);
                    }
                    bytes += row.as_ref().map_or(0, |row| row.json().len());
                    found.push(row);
                    continue;
                }
                Lookup::AheadUntil(horizon) => {
                    fresh = fresh.max(Some(horizon));
                    self.ask(state, known, rows, key, Retention::Pinned)?
                }
                Lookup::Miss if pinned.leaves_out(table, key) => {
                    found.push(None);
                    continue;
                }
                Lookup::Miss => {
                    is_missing = true;
                    self.ask(state, known, rows, key, Retention::Pinned)?
                }
            };
            if is_news {
                trace::miss(table, key);
            }
            asked += 1;
            // A row that came home just now is found the next time.
            if let Err(ticket) = ticket {
                pinned.tickets.insert((table.oid(), key.clone()), ticket);
            }
        }
        Ok(match (is_missing, fresh) {
            (true, _) => GatheredRows::Missing,
            (false, Some(horizon)) => GatheredRows::Fresh(horizon),
            (false, None) => GatheredRows::All(found),
        })
    }

    /// Waits for a position, or for what was asked for; tells which keys are spelled otherwise.
    async fn wait(
        &self,
        horizon: Option<Lsn>,
        pinned: &mut PinnedRows,
        until: Instant,
    ) -> Result<Vec<((TableOid, Key), Key)>, RowsError> {
        let Some(horizon) = horizon else {
            return self.in_time(until, pinned.told()).await.ok_or_else(too_late)?;
        };
        let position = Position::after_commit(horizon);
        self.in_time(until, self.hurry_applied(position)).await.ok_or_else(|| {
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

    /// Waits until everything asked for has come, or has to be asked for anew.
    async fn told(&mut self) -> Result<Vec<((TableOid, Key), Key)>, RowsError> {
        let mut spelled = Vec::new();
        let mut over = Vec::new();
        for (place, ticket) in &mut self.tickets {
            match ticket.wait().await {
                Some(LoadReply::Row(..)) => {}
                Some(LoadReply::Failed(error)) => {
                    let left_out = self.left_out.as_mut();
                    let Some(left_out) = left_out.filter(|_| error.is_of_one_row()) else {
                        return Err(error);
                    };
                    left_out.insert(place.clone());
                    over.push(place.clone());
                }
                Some(LoadReply::CanonicalKey(other)) => {
                    spelled.push((place.clone(), other));
                    over.push(place.clone());
                }
                None => over.push(place.clone()),
            }
        }
        self.tickets.retain(|place, _| !over.contains(place));
        Ok(spelled)
    }
}

impl<T> GatheredRows<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> GatheredRows<U> {
        match self {
            Self::All(all) => GatheredRows::All(change(all)),
            Self::Fresh(horizon) => GatheredRows::Fresh(horizon),
            Self::Missing => GatheredRows::Missing,
        }
    }
}
