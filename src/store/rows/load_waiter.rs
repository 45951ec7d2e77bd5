//! The place of those who wait for a row on the desk.

use std::sync::Arc;

use tokio::sync::watch;

use super::RowsError;
use crate::key::Key;
use crate::row::Row;
use crate::version::Version;

/// What became of a row that was asked for.
#[derive(Clone, Debug)]
pub(super) enum LoadReply {
    /// What stands under the key, at least as new as this version.
    Row(Option<Row>, Version),
    /// The row is there under this key, which means the same.
    CanonicalKey(Key),
    /// It can't be had.
    Failed(RowsError),
}

/// The place of somebody who waits for a row.
#[derive(Debug)]
pub(super) struct LoadWaiter {
    told: watch::Receiver<Option<LoadReply>>,
    /// While this lives the row is kept.
    _pin: Option<Arc<()>>,
}

impl LoadWaiter {
    pub(super) fn new(told: watch::Receiver<Option<LoadReply>>, pin: Option<Arc<()>>) -> Self {
        Self { told, _pin: pin }
    }

    /// Waits until something is told; `None` when the row has to be asked for anew.
    pub(super) async fn wait(&mut self) -> Option<LoadReply> {
        self.told.wait_for(Option::is_some).await.ok()?.clone()
    }
}
