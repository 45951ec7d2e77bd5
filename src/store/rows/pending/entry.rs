//! One key on the desk.

use std::sync::Arc;

use tokio::sync::watch;

use super::LoadReply;
use crate::load::ReadPoint;
use crate::row::Row;
use crate::store::rows::pending_changes::PendingChanges;
use crate::store::rows::recent_commits::RequiredXids;

/// What stands under one key.
#[derive(Debug)]
pub(super) struct PendingRow {
    pub(super) state: PendingRowState,
    pub(super) tell: watch::Sender<Option<LoadReply>>,
    pub(super) pin: Arc<()>,
    /// Whether the map of a preloaded table lacks this row.
    pub(super) required: bool,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum PendingRowState {
    Asked(InFlightLoad),
    Here { row: Option<Row>, at: Arc<ReadPoint>, bytes: usize },
}

/// A row on its way.
#[derive(Debug)]
pub(super) struct InFlightLoad {
    pub(super) due: RequiredXids,
    /// What happened to it since.
    pub(super) chain: PendingChanges,
    /// The query that asks for it.
    pub(super) query: Option<u64>,
    /// Queries that were of no use.
    pub(super) tries: u32,
}

impl InFlightLoad {
    pub(super) fn new(due: RequiredXids) -> Self {
        Self { due, chain: PendingChanges::default(), query: None, tries: 0 }
    }
}

impl PendingRow {
    pub(super) fn new(due: RequiredXids, required: bool) -> Self {
        let (tell, _) = watch::channel(None);
        Self {
            state: PendingRowState::Asked(InFlightLoad::new(due)),
            tell,
            pin: Arc::default(),
            required,
        }
    }

    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.required || self.tell.receiver_count() > 0
    }
}
