//! Change queries: what changed in some resources after a version.

use std::sync::Arc;

use super::directory::{Directory, Resource, ResourceSelection};
use super::merge::{Merge, PollChange};
use super::state::{Store, StoreState, StoredTable};
use crate::scope::RowScope;
use crate::version::{Position, Version};

/// Bytes of ids in one change set; at it the set ends (`more`), whatever the limit on changes.
/// Integers don't count. The last id may exceed it.
const CHANGE_SET_ID_BYTES_MAX: usize = 1024 * 1024;

/// A request for what changed in some resources after a version.
#[derive(Clone, Copy, Debug)]
pub struct ChangeQuery<'a> {
    /// The resources, and which of their rows.
    pub resources: &'a ResourceSelection,
    /// The version of the client's previous change set; `None` to begin.
    pub after: Option<Version>,
    /// Maximum number of changes; at least one.
    pub limit: usize,
}

/// The result of a [`ChangeQuery`].
#[derive(Clone, Debug)]
pub struct ChangeSet {
    /// The version to query after next time. Never older than that of the query, unless that
    /// belonged to another history.
    pub version: Version,
    /// The newest change to any of these resources, or reset of one, at the time of the query: the
    /// version after the commit it belongs to.
    pub newest: Version,
    /// Whether changes follow that the limits excluded.
    pub more: bool,
    /// Resources that can't be brought up to date by ids. None of their changes is included.
    pub reset: Vec<Arc<Resource>>,
    /// The last change to each id, in commit order.
    pub changes: Vec<PollChange>,
}

/// The positions of some resources that are visible without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Everything committed up to here has been applied.
    pub applied: Version,
    /// The newest change to any of the resources, or reset of one.
    pub newest: Version,
}

impl Store {
    /// The resources that are published now.
    pub fn directory(&self) -> Arc<Directory> {
        self.shared.directory.read().clone()
    }

    /// The version up to which everything committed has been applied; `None` before the stream first
    /// started.
    pub fn applied(&self) -> Option<Version> {
        self.shared.notifications.applied().or_else(|| self.shared.state.read().version())
    }

    /// The applied version and the newest change to any of these resources; `None` if they are not
    /// visible without a lock. While `newest` stays the same nothing happens to the resources.
    pub fn watermark(&self, resources: &ResourceSelection) -> Option<Watermark> {
        let applied = self.shared.notifications.applied()?;
        let newest = Version { epoch: applied.epoch, position: self.newest_position(resources)? };
        self.shared.notifications.is_current(applied).then_some(Watermark { applied, newest })
    }

    /// An empty change set, if the positions show that nothing changed after `after`. `None` means that
    /// something may have changed: query [`Store::changes`], which checks this first.
    ///
    /// Costs one comparison for each resource, or one for all of them, and no lock unless the
    /// selection is scoped.
    pub fn unchanged(&self, resources: &ResourceSelection, after: Version) -> Option<ChangeSet> {
        let Watermark { applied: version, newest } = self.watermark(resources)?;
        let is_unchanged = version.epoch == after.epoch
            && after.position <= version.position
            && newest.position <= after.position;
        // A caller with a scope must not learn of changes to other rows.
        let newest = if resources.is_unscoped() { newest } else { self.newest_change(resources)? };
        is_unchanged.then(|| ChangeSet {
            version,
            newest,
            more: false,
            reset: vec![],
            changes: vec![],
        })
    }

    /// What changed. `None` before the stream first started.
    ///
    /// A resource is in `reset` if the query has no version, one of another history (but see
    /// [`TimelineHistory`](crate::history::TimelineHistory) for those it continues), or one below
    /// the resource's floor. A version beyond the applied one is returned unchanged with no changes;
    /// [`Store::wait_applied`] first if that is to be avoided.
    pub fn changes(&self, query: &ChangeQuery) -> Option<ChangeSet> {
        query
            .after
            .and_then(|after| self.unchanged(query.resources, after))
            .or_else(|| self.shared.state.read().changes(query))
    }

    /// The position of a version in the history being followed; `None` if it does not belong there.
    pub fn position_of(&self, version: Version) -> Option<Position> {
        let is_current = self
            .shared
            .notifications
            .applied()
            .is_some_and(|applied| applied.epoch == version.epoch);
        if is_current {
            return Some(version.position);
        }
        self.shared.state.read().position_of(version)
    }

    /// Whether `after` belongs to the history being followed and is beyond what has been applied:
    /// another instance issued it.
    pub fn is_ahead(&self, after: Version) -> bool {
        if let Some(applied) = self.shared.notifications.applied()
            && applied.epoch == after.epoch
        {
            return applied.position < after.position;
        }
        let state = self.shared.state.read();
        state.position_of(after).is_some_and(|after| state.applied < after)
    }

    /// The version of the newest change to any of these resources, or reset of one.
    pub fn newest_change(&self, resources: &ResourceSelection) -> Option<Version> {
        self.shared.state.read().newest(resources)
    }

    /// Whether a change set after `after` would not be empty, exactly.
    pub(super) fn has_news(&self, resources: &ResourceSelection, after: Version) -> bool {
        self.unchanged(resources, after).is_none()
            && self.shared.state.read().has_news(resources, after)
    }

    fn newest_position(&self, resources: &ResourceSelection) -> Option<Position> {
        match resources {
            ResourceSelection::All => self.shared.notifications.newest.position(),
            ResourceSelection::Listed(listed) => listed
                .iter()
                .map(|scoped| scoped.resource.newest.position())
                .try_fold(Position::START, |newest, next| Some(newest.max(next?))),
        }
    }
}

impl StoreState {
    fn newest(&self, resources: &ResourceSelection) -> Option<Version> {
        let position = match resources {
            ResourceSelection::All => self.newest,
            // A table that is gone counts as changed just now.
            ResourceSelection::Listed(listed) => listed
                .iter()
                .map(|scoped| {
                    let stored = self.tables.get(&scoped.resource.oid());
                    stored.map_or(self.applied, |stored| stored.newest_visible(&scoped.scope))
                })
                .max()
                .unwrap_or(Position::START),
        };
        Some(Version { epoch: self.history.as_ref()?.epoch(), position })
    }

    pub(super) fn has_news(&self, resources: &ResourceSelection, after: Version) -> bool {
        let Some(after) = self.position_of(after) else { return true };
        self.selected(resources).any(|(_, scope, stored)| {
            stored.is_none_or(|stored| {
                let visible = stored.visible(scope);
                visible.head() > after || visible.floor() > after
            })
        })
    }

    pub(super) fn changes(&self, query: &ChangeQuery) -> Option<ChangeSet> {
        let history = self.history.as_ref()?;
        let after = query.after.and_then(|after| history.position_of(after));
        let mut reset = Vec::new();
        let mut merge = Merge::default();
        for (resource, scope, stored) in self.selected(query.resources) {
            let visible = stored.map(|stored| (stored, stored.visible(scope)));
            match (visible, after) {
                (Some((stored, visible)), Some(after)) if visible.floor() <= after => {
                    if visible.head() > after {
                        merge.add(stored, visible.after(after));
                    }
                }
                _ => reset.push(resource.clone()),
            }
        }
        let changes = take_first(&mut merge, query.limit.max(1));
        let next = merge.next_position();
        let position = match (changes.last(), next) {
            (Some(last), Some(next)) => resume_position(last.position, next),
            _ => self.applied.max(after.unwrap_or(Position::START)),
        };
        let newest = self.newest(query.resources)?;
        let version = Version { epoch: history.epoch(), position };
        Some(ChangeSet { version, newest, more: next.is_some(), reset, changes })
    }

    /// The selected resources as the caller knows them, each with its scope, and with its table if that
    /// is still published.
    fn selected<'a>(
        &'a self,
        resources: &'a ResourceSelection,
    ) -> Box<dyn Iterator<Item = (&'a Arc<Resource>, &'a RowScope, Option<&'a StoredTable>)> + 'a>
    {
        match resources {
            ResourceSelection::All => {
                Box::new(self.tables.values().map(|t| (&t.resource, &RowScope::AllRows, Some(t))))
            }
            ResourceSelection::Listed(listed) => Box::new(
                listed.iter().map(|s| (&s.resource, &s.scope, self.tables.get(&s.resource.oid()))),
            ),
        }
    }
}

/// The first changes: at most `limit`, and no more than fit one change set.
fn take_first(merge: &mut impl Iterator<Item = PollChange>, limit: usize) -> Vec<PollChange> {
    let mut changes = Vec::new();
    let mut bytes = 0;
    while changes.len() < limit && bytes < CHANGE_SET_ID_BYTES_MAX {
        let Some(change) = merge.next() else { break };
        bytes += change.key.heap_bytes();
        changes.push(change);
    }
    changes
}

/// The position after which the next query continues, when a change set ends with the change at
/// `last` and the next one is at `next`.
fn resume_position(last: Position, next: Position) -> Position {
    // Inside the commit, the rest of it still follows.
    if last.lsn == next.lsn { last } else { Position::after_commit(last.lsn) }
}

impl ChangeSet {
    /// Leaves only the first changes, at least one; the others follow after its version.
    pub(super) fn truncate(&mut self, count: usize) {
        let count = count.max(1);
        let (Some(last), Some(next)) = (self.changes.get(count - 1), self.changes.get(count))
        else {
            return;
        };
        self.version.position = resume_position(last.position, next.position);
        self.more = true;
        self.changes.truncate(count);
    }
}

#[cfg(test)]
mod tests;
