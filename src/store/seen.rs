//! What one caller sees of a table's log: all of it, one scope, or nothing.

use super::log::{Log, ScopedLog, Told};
use super::state::TableState;
use crate::scope::{RowScope, ScopeMatch};
use crate::version::Position;

/// A part of a table's changes, which to who asks is the whole.
#[derive(Clone, Copy)]
pub(super) enum SeenLog<'a> {
    All(&'a Log),
    Scope(&'a ScopedLog, &'a ScopeMatch),
    /// Only that the table is reset.
    Nothing(&'a Log),
}

impl TableState {
    /// What is seen of its changes.
    pub(super) fn seen<'a>(&'a self, view: &'a RowScope) -> SeenLog<'a> {
        match view {
            RowScope::AllRows => SeenLog::All(&self.log),
            RowScope::Nothing => SeenLog::Nothing(&self.log),
            RowScope::Scope(seen) => {
                let log = self.scoped.iter().find(|log| log.columns() == seen.columns);
                log.map_or(SeenLog::Nothing(&self.log), |log| SeenLog::Scope(log, seen))
            }
        }
    }

    /// Version of the newest change that is seen, or reset: that of the whole commit.
    pub(super) fn newest_seen(&self, view: &RowScope) -> Position {
        match self.seen(view) {
            SeenLog::All(_) => self.newest,
            SeenLog::Nothing(log) => log.began(),
            SeenLog::Scope(log, seen) => match log.head(&seen.values) {
                head if head == log.began() => head,
                change => Position::after_commit(change.lsn),
            },
        }
    }
}

impl<'a> SeenLog<'a> {
    /// The oldest position from which every change that is seen can be told.
    pub(super) fn floor(self) -> Position {
        match self {
            Self::All(log) => log.floor(),
            Self::Scope(log, _) => log.floor(),
            Self::Nothing(log) => log.began(),
        }
    }

    /// The newest change that is seen, or reset.
    pub(super) fn head(self) -> Position {
        match self {
            Self::All(log) => log.head(),
            Self::Scope(log, seen) => log.head(&seen.values),
            Self::Nothing(log) => log.began(),
        }
    }

    /// The last change of each id changed after `position`, in commit order.
    pub(super) fn after(self, position: Position) -> Box<dyn Iterator<Item = Told<'a>> + 'a> {
        match self {
            Self::All(log) => Box::new(log.after(position)),
            Self::Scope(log, seen) => Box::new(log.after(&seen.values, position)),
            Self::Nothing(_) => Box::new(std::iter::empty()),
        }
    }
}
