//! The readers' side: questions about what changed.

use std::sync::Arc;

use super::directory::{Directory, Resource, ResourceSelection};
use super::merge::{Merge, PollChange};
use super::state::{Store, StoreState, StoredTable};
use crate::scope::RowScope;
use crate::version::{Position, Version};

/// Bytes of ids in one answer; at it the answer ends (`more`), however many changes were asked for.
/// Integers don't count. The last id may go beyond it.
const ANSWER_IDS_BYTES_MAX: usize = 1024 * 1024;

/// What changed in some tables after a version.
#[derive(Clone, Copy, Debug)]
pub struct ChangeQuery<'a> {
    /// The tables asked about.
    pub tables: &'a ResourceSelection,
    /// The version of the client's previous answer; `None` to begin.
    pub after: Option<Version>,
    /// Changes the answer may hold; at least one.
    pub limit: usize,
}

/// The answer to a [`ChangeQuery`].
#[derive(Clone, Debug)]
pub struct ChangeSet {
    /// What to ask after next time. Never older than what was asked after, unless that belonged
    /// to another history.
    pub version: Version,
    /// The newest change to any of these tables, or reset of one, when the answer was made: the
    /// version after the commit it belongs to.
    pub newest: Version,
    /// Whether there was more to tell than the limit allowed.
    pub more: bool,
    /// Tables that can't be brought up to date by ids. None of their changes is told.
    pub reset: Vec<Arc<Resource>>,
    /// The last change to each id, in commit order.
    pub changes: Vec<PollChange>,
}

/// What can be seen of some tables without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// How far everything committed has been applied.
    pub applied: Version,
    /// The newest change to any of the tables, or reset of one.
    pub newest: Version,
}

impl Store {
    /// The published tables now.
    pub fn directory(&self) -> Arc<Directory> {
        self.shared.directory.read().clone()
    }

    /// How far everything committed has been applied; `None` before the stream first started.
    pub fn applied(&self) -> Option<Version> {
        self.shared.signals.applied().or_else(|| self.shared.state.read().version())
    }

    /// How far everything is applied, and the newest change to any of these tables, as far as that
    /// can be seen without a lock. While `newest` stays the same there is no other news of them.
    pub fn watermark(&self, tables: &ResourceSelection) -> Option<Watermark> {
        let applied = self.shared.signals.applied()?;
        let newest = Version { epoch: applied.epoch, position: self.newest_mark(tables)? };
        self.shared.signals.is_current(applied).then_some(Watermark { applied, newest })
    }

    /// If it is plain that nothing changed after `after`: the answer that says so.
    ///
    /// Costs one comparison for each table, or one for all of them, and no lock (unless only a part
    /// of a table's rows is asked about). `None` means
    /// perhaps: ask [`Store::changes`], which looks here first.
    pub fn unchanged(&self, tables: &ResourceSelection, after: Version) -> Option<ChangeSet> {
        let Watermark { applied: version, newest } = self.watermark(tables)?;
        let is_plain = version.epoch == after.epoch
            && after.position <= version.position
            && newest.position <= after.position;
        // What is newest of the whole table is not told to who sees a part of it.
        let newest = if tables.is_unlimited() { newest } else { self.newest_change(tables)? };
        is_plain.then(|| ChangeSet { version, newest, more: false, reset: vec![], changes: vec![] })
    }

    /// What changed. `None` before the stream first started.
    ///
    /// A version of another history (but see [`History`](crate::history::History) for those it
    /// continues), or from below a table's floor, and no version at all, put the table into
    /// `reset`. A version beyond the applied one is answered with no changes and
    /// itself; [`Store::wait_applied`] first if that is to be avoided.
    pub fn changes(&self, query: &ChangeQuery) -> Option<ChangeSet> {
        query
            .after
            .and_then(|after| self.unchanged(query.tables, after))
            .or_else(|| self.shared.state.read().answer(query))
    }

    /// Where a version is in the history being followed; `None` when it isn't true there.
    pub fn position_of(&self, version: Version) -> Option<Position> {
        let is_current =
            self.shared.signals.applied().is_some_and(|applied| applied.epoch == version.epoch);
        if is_current {
            return Some(version.position);
        }
        self.shared.state.read().position_of(version)
    }

    /// Whether `after` is true here, and beyond what has been applied: another instance gave it.
    pub fn is_ahead(&self, after: Version) -> bool {
        if let Some(applied) = self.shared.signals.applied()
            && applied.epoch == after.epoch
        {
            return applied.position < after.position;
        }
        let state = self.shared.state.read();
        state.position_of(after).is_some_and(|after| state.applied < after)
    }

    /// The version of the newest change to any of these tables, or reset of one.
    pub fn newest_change(&self, tables: &ResourceSelection) -> Option<Version> {
        self.shared.state.read().newest(tables)
    }

    /// Whether there is something to tell after `after`, exactly.
    pub(super) fn has_news(&self, tables: &ResourceSelection, after: Version) -> bool {
        self.unchanged(tables, after).is_none() && self.shared.state.read().has_news(tables, after)
    }

    fn newest_mark(&self, tables: &ResourceSelection) -> Option<Position> {
        match tables {
            ResourceSelection::All => self.shared.signals.newest.position(),
            ResourceSelection::Tables(parts) => parts
                .iter()
                .map(|part| part.table.mark.position())
                .try_fold(Position::START, |newest, mark| Some(newest.max(mark?))),
        }
    }
}

impl StoreState {
    fn newest(&self, tables: &ResourceSelection) -> Option<Version> {
        let position = match tables {
            ResourceSelection::All => self.newest,
            // A table that is gone counts as changed just now.
            ResourceSelection::Tables(parts) => parts
                .iter()
                .map(|part| {
                    let known = self.tables.get(&part.table.oid());
                    known.map_or(self.applied, |known| known.newest_seen(&part.view))
                })
                .max()
                .unwrap_or(Position::START),
        };
        Some(Version { epoch: self.history.as_ref()?.epoch(), position })
    }

    pub(super) fn has_news(&self, tables: &ResourceSelection, after: Version) -> bool {
        let Some(after) = self.position_of(after) else { return true };
        self.selected(tables).any(|(_, view, known)| {
            known.is_none_or(|known| {
                let seen = known.seen(view);
                seen.head() > after || seen.floor() > after
            })
        })
    }

    pub(super) fn answer(&self, query: &ChangeQuery) -> Option<ChangeSet> {
        let history = self.history.as_ref()?;
        let after = query.after.and_then(|after| history.position_of(after));
        let mut reset = Vec::new();
        let mut merge = Merge::default();
        for (table, view, known) in self.selected(query.tables) {
            let seen = known.map(|known| (known, known.seen(view)));
            match (seen, after) {
                (Some((known, seen)), Some(after)) if seen.floor() <= after => {
                    if seen.head() > after {
                        merge.add(known, seen.after(after));
                    }
                }
                _ => reset.push(table.clone()),
            }
        }
        let changes = first(&mut merge, query.limit.max(1));
        let next = merge.next_position();
        let position = match (changes.last(), next) {
            (Some(last), Some(next)) => between(last.position, next),
            _ => self.applied.max(after.unwrap_or(Position::START)),
        };
        let newest = self.newest(query.tables)?;
        let version = Version { epoch: history.epoch(), position };
        Some(ChangeSet { version, newest, more: next.is_some(), reset, changes })
    }

    /// The selected tables by the name the asker knows, each with what is seen of it, and with its
    /// logs if it is still there.
    fn selected<'a>(
        &'a self,
        tables: &'a ResourceSelection,
    ) -> Box<dyn Iterator<Item = (&'a Arc<Resource>, &'a RowScope, Option<&'a StoredTable>)> + 'a>
    {
        match tables {
            ResourceSelection::All => {
                Box::new(self.tables.values().map(|t| (&t.published, &RowScope::AllRows, Some(t))))
            }
            ResourceSelection::Tables(parts) => Box::new(
                parts
                    .iter()
                    .map(|part| (&part.table, &part.view, self.tables.get(&part.table.oid()))),
            ),
        }
    }
}

/// The first changes: at most so many, and no more than fit one answer.
fn first(merge: &mut impl Iterator<Item = PollChange>, limit: usize) -> Vec<PollChange> {
    let mut changes = Vec::new();
    let mut bytes = 0;
    while changes.len() < limit && bytes < ANSWER_IDS_BYTES_MAX {
        let Some(change) = merge.next() else { break };
        bytes += change.key.heap_bytes();
        changes.push(change);
    }
    changes
}

/// What an answer that ends with the change at `last` leads on from, when the next one is at `next`.
fn between(last: Position, next: Position) -> Position {
    // The rest of this commit follows from here.
    if last.lsn == next.lsn { last } else { Position::after_commit(last.lsn) }
}

impl ChangeSet {
    /// Leaves only the first changes, at least one; the others follow from its version.
    pub(super) fn cut(&mut self, count: usize) {
        let count = count.max(1);
        let (Some(last), Some(next)) = (self.changes.get(count - 1), self.changes.get(count))
        else {
            return;
        };
        self.version.position = between(last.position, next.position);
        self.more = true;
        self.changes.truncate(count);
    }
}

#[cfg(test)]
mod tests;
