//! The changes of a table that are visible to one caller: all of them, those of one scope, or none.

use super::log::{LatestChange, ScopedLog, VersionLog};
use super::state::StoredTable;
use crate::scope::{RowScope, ScopeMatch};
use crate::version::Position;

/// The changes of a table that are visible to one caller.
#[derive(Clone, Copy)]
pub(super) enum VisibleLog<'a> {
    All(&'a VersionLog),
    Scope(&'a ScopedLog, &'a ScopeMatch),
    /// Resets only.
    Nothing(&'a VersionLog),
}

impl StoredTable {
    /// The changes visible in a scope.
    pub(super) fn visible<'a>(&'a self, scope: &'a RowScope) -> VisibleLog<'a> {
        match scope {
            RowScope::AllRows => VisibleLog::All(&self.log),
            RowScope::Nothing => VisibleLog::Nothing(&self.log),
            RowScope::Scope(matched) => {
                let log = self.scoped.iter().find(|log| log.columns() == matched.columns);
                log.map_or(VisibleLog::Nothing(&self.log), |log| VisibleLog::Scope(log, matched))
            }
        }
    }

    /// Position of the newest visible change or reset: that of the whole commit.
    pub(super) fn newest_visible(&self, scope: &RowScope) -> Position {
        match self.visible(scope) {
            VisibleLog::All(_) => self.newest,
            VisibleLog::Nothing(log) => log.reset_position(),
            VisibleLog::Scope(log, matched) => match log.head(&matched.values) {
                head if head == log.reset_position() => head,
                change => Position::after_commit(change.lsn),
            },
        }
    }
}

impl<'a> VisibleLog<'a> {
    /// The oldest position from which every visible change is known.
    pub(super) fn floor(self) -> Position {
        match self {
            Self::All(log) => log.floor(),
            Self::Scope(log, _) => log.floor(),
            Self::Nothing(log) => log.reset_position(),
        }
    }

    /// The position of the newest visible change or reset.
    pub(super) fn head(self) -> Position {
        match self {
            Self::All(log) => log.head(),
            Self::Scope(log, matched) => log.head(&matched.values),
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
            Self::Scope(log, matched) => Box::new(log.after(&matched.values, position)),
            Self::Nothing(_) => Box::new(std::iter::empty()),
        }
    }
}
