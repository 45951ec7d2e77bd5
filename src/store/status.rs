//! How the logs are doing, as `/v1/status` tells.

use std::sync::Arc;

use super::directory::Resource;
use super::meters::ChangeCounts;
use super::resets::Resets;
use super::state::Store;
use crate::change::CommitTime;
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
    pub table: Arc<Resource>,
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
