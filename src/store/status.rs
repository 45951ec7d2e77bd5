//! The state of the version logs, for `/v1/status`.

use std::sync::Arc;

use super::directory::Resource;
use super::metrics::ChangeCounts;
use super::resets::Resets;
use super::state::Store;
use crate::change::CommitTime;
use crate::version::{Epoch, Position};

/// A snapshot of all version logs.
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

/// A snapshot of one table's log.
#[derive(Clone, Debug)]
pub struct TableStatus {
    /// The table that the counts belong to.
    pub resource: Arc<Resource>,
    /// Distinct ids in the log.
    pub entries: usize,
    /// The oldest position from which every change is known.
    pub floor: Position,
    /// When the floor was committed, or raised if that was between commits.
    pub floor_time: CommitTime,
    /// The position of the newest change or reset.
    pub newest: Position,
    /// Memory of its logs, in bytes.
    pub bytes: usize,
    /// Changes applied since the process started.
    pub changes: ChangeCounts,
    /// Its resets since the process started.
    pub resets: Resets,
}

impl Store {
    /// The state of the version logs.
    pub fn status(&self) -> StoreStatus {
        let state = self.shared.state.read();
        let mut tables: Vec<TableStatus> = state
            .tables
            .values()
            .map(|table| TableStatus {
                resource: table.resource.clone(),
                entries: table.log.ids(),
                floor: table.log.floor(),
                floor_time: table.log.floor_time(),
                newest: table.newest,
                bytes: table.log_bytes(),
                changes: table.metrics.counts(),
                resets: table.resets,
            })
            .collect();
        tables.sort_by(|a, b| a.resource.name.cmp(&b.resource.name));
        let bytes = state.bytes();
        StoreStatus { epoch: state.epoch(), applied: state.applied, bytes, tables }
    }
}
