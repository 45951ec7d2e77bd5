//! How often a table was reset.

use crate::change::{CommitTime, ResetReason};
use crate::version::Position;

/// How often a table was reset, and why the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    /// All of them.
    pub count: u64,
    /// The last one.
    pub last: Option<LastReset>,
}

/// The last reset of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReset {
    /// Why.
    pub reason: ResetReason,
    /// When it was committed, or noticed if that was between commits.
    pub at: CommitTime,
    /// Where in the history.
    pub position: Position,
}

impl Resets {
    /// One more.
    pub(super) fn note(&mut self, last: LastReset) {
        self.count += 1;
        self.last = Some(last);
    }
}
