//! How the logs are doing, as `/v1/status` tells.

use std::sync::Arc;

use super::directory::PublishedTable;
use super::meters::ChangeCounts;
use super::reader::Store;
use crate::change::{CommitTime, ResetReason};
use crate::version::{Epoch, Position};

/// A picture of the logs.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// The history being followed; `None` before the stream first started.
    pub epoch: Option<Epoch>,
    /// Everything up to here has been applied.
    pub applied: Position,
    /// Memory of all logs, in bytes.
    pub bytes: usize,
    /// Every published table, ordered by displayed name.
    pub tables: Vec<TableStatus>,
}

/// A picture of one table's log.
#[derive(Clone, Debug)]
pub struct TableStatus {
    /// The table: its name, key and tracking.
    pub table: Arc<PublishedTable>,
    /// Ids remembered.
    pub entries: usize,
    /// The oldest position from which every change can be told.
    pub floor: Position,
    /// When the floor was committed, or raised if that was between commits.
    pub floor_time: CommitTime,
    /// The newest change, or reset.
    pub newest: Position,
    /// Memory of its logs, in bytes.
    pub bytes: usize,
    /// Changes applied since the process started.
    pub changes: ChangeCounts,
    /// Its resets since the process started.
    pub resets: Resets,
}

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

impl Store {
    /// How the logs are doing.
    pub fn status(&self) -> StoreStatus {
        let state = self.shared.state.read();
        let mut tables: Vec<TableStatus> = state
            .tables
            .values()
            .map(|table| TableStatus {
                table: table.published.clone(),
                entries: table.log.ids(),
                floor: table.log.floor(),
                floor_time: table.log.floor_time(),
                newest: table.newest,
                bytes: table.log_bytes(),
                changes: table.meters.counts(),
                resets: table.resets,
            })
            .collect();
        tables.sort_by(|a, b| a.table.name.cmp(&b.table.name));
        let bytes = state.bytes();
        StoreStatus { epoch: state.epoch(), applied: state.applied, bytes, tables }
    }
}
