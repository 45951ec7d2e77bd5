//! The resets of a table, for `/v1/status`.

use crate::change::{CommitTime, ResetReason};
use crate::version::Position;

/// The number of a table's resets since the process started, and the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resets {
    /// Number of resets.
    pub count: u64,
    /// The most recent one.
    pub last: Option<LastReset>,
}

/// The last reset of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReset {
    /// Why changes before it are not known by id.
    pub reason: ResetReason,
    /// When it was committed, by the database server's clock; a reset between commits has the time
    /// at which it was noticed.
    pub at: CommitTime,
    /// Its position in the history being followed.
    pub position: Position,
}

impl Resets {
    pub(super) fn note(&mut self, last: LastReset) {
        self.count += 1;
        self.last = Some(last);
    }
}
