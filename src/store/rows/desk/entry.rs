//! One key on the desk.

use std::sync::Arc;

use tokio::sync::watch;

use super::Told;
use crate::load::ReadPoint;
use crate::row::Row;
use crate::store::rows::chain::Chain;
use crate::store::rows::recent::Due;

/// What stands under one key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) tell: watch::Sender<Option<Told>>,
    pub(super) pin: Arc<()>,
    /// Whether the map of a preloaded table lacks this row.
    pub(super) required: bool,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    Asked(Asked),
    Here { row: Option<Row>, at: Arc<ReadPoint>, bytes: usize },
}

/// A row on its way.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) due: Due,
    /// What happened to it since.
    pub(super) chain: Chain,
    /// The query that asks for it.
    pub(super) query: Option<u64>,
    /// Queries that were of no use.
    pub(super) tries: u32,
}

impl Asked {
    pub(super) fn new(due: Due) -> Self {
        Self { due, chain: Chain::default(), query: None, tries: 0 }
    }
}

impl Entry {
    pub(super) fn new(due: Due, required: bool) -> Self {
        let (tell, _) = watch::channel(None);
        Self { state: State::Asked(Asked::new(due)), tell, pin: Arc::default(), required }
    }

    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.required || self.tell.receiver_count() > 0
    }
}
