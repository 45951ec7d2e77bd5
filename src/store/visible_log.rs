//! What one caller sees of a table's log: all of it, one scope, or nothing.

use super::log::{LatestChange, ScopedLog, VersionLog};
use super::state::StoredTable;
use crate::scope::{RowScope, ScopeMatch};
use crate::version::Position;

/// A part of a table's changes, which to who asks is the whole.
#[derive(Clone, Copy)]
pub(super) enum VisibleLog<'a> {
    All(&'a VersionLog),
    Scope(&'a ScopedLog, &'a ScopeMatch),
    /// Only that the table is reset.
    Nothing(&'a VersionLog),
}

impl StoredTable {
    /// What is seen of its changes.
    pub(super) fn seen<'a>(&'a self, view: &'a RowScope) -> VisibleLog<'a> {
        match view {
            RowScope::AllRows => VisibleLog::All(&self.log),
            RowScope::Nothing => VisibleLog::Nothing(&self.log),
            RowScope::Scope(seen) => {
                let log = self.scoped.iter().find(|log| log.columns() == seen.columns);
                log.map_or(VisibleLog::Nothing(&self.log), |log| VisibleLog::Scope(log, seen))
            }
        }
    }

    /// Version of the newest change that is seen, or reset: that of the whole commit.
    pub(super) fn newest_seen(&self, view: &RowScope) -> Position {
        match self.seen(view) {
            VisibleLog::All(_) => self.newest,
            VisibleLog::Nothing(log) => log.reset_position(),
            VisibleLog::Scope(log, seen) => match log.head(&seen.values) {
                head if head == log.reset_position() => head,
                change => Position::after_commit(change.lsn),
            },
        }
    }
}

impl<'a> VisibleLog<'a> {
    /// The oldest position from which every change that is seen can be told.
    pub(super) fn floor(self) -> Position {
        match self {
            Self::All(log) => log.floor(),
            Self::Scope(log, _) => log.floor(),
            Self::Nothing(log) => log.reset_position(),
        }
    }

    /// The newest change that is seen, or reset.
    pub(super) fn head(self) -> Position {
        match self {
            Self::All(log) => log.head(),
            Self::Scope(log, seen) => log.head(&seen.values),
            Self::Nothing(log) => log.reset_position(),
        }
    }

    /// The last change of each id changed after `position`, in commit order.
    pub(super) fn after(
        self,
        position: Position,
    ) -> Box<dyn Iterator<Item = LatestChange<'a>> + 'a> {
        match self {
            Self::All(log) => Box::new(log.after(position)),
            Self::Scope(log, seen) => Box::new(log.after(&seen.values, position)),
            Self::Nothing(_) => Box::new(std::iter::empty()),
        }
    }
}
