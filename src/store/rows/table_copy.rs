//! A copy of a whole table while it is being made.
//!
//! It is registered first, and its snapshot taken after: from the registration on, every change is
//! kept in the *overlay*, one list for each key. When all rows have come, the lists are applied to
//! them by the rule of visibility, and when everything the snapshot contains has been applied the
//! writer puts the result in its place. Most of the overlay is applied without any lock
//! ([`FinishedCopy::apply_overlay`]); only what came last is left to the writer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use super::row_map::RowMap;
use crate::key::Key;
use crate::load::ReadPoint;
use crate::row::{Row, RowAfter};
use crate::snapshot::Xid;
use crate::store::cache::{PendingChanges, Presence, RequiredXids};

/// The state of the copy that gives a preloaded table its rows.
#[derive(Debug)]
pub(in crate::store) enum TableCopy {
    /// The rows are in memory.
    Idle,
    Requested(CopyRequest),
    Active(Box<ActiveCopy>),
    /// The rows can't be cached; the reason and remedy.
    Refused(String),
}

/// A request for a copy.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct CopyRequest {
    /// Whether a client requested it: then the table's readers get a reset when it is finished.
    pub(in crate::store) reload: bool,
    /// The earliest time to start.
    pub(in crate::store) not_before: Instant,
    /// Copies that failed before.
    pub(in crate::store) failures: u32,
}

impl TableCopy {
    pub(in crate::store) fn requested(reload: bool) -> Self {
        Self::Requested(CopyRequest { reload, not_before: Instant::now(), failures: 0 })
    }

    /// The copy of this number, if it is running.
    pub(in crate::store) fn active(&mut self, number: u64) -> Option<&mut ActiveCopy> {
        match self {
            Self::Active(active) if active.number == number => Some(active),
            _ => None,
        }
    }
}

/// A copy that is running, or finished and waiting for the writer.
#[derive(Debug)]
pub(in crate::store) struct ActiveCopy {
    pub(in crate::store) number: u64,
    pub(in crate::store) request: CopyRequest,
    /// The commits that its snapshot has to contain.
    pub(in crate::store) required_xids: RequiredXids,
    /// Its read point, once the snapshot is taken.
    pub(in crate::store) at: Option<Arc<ReadPoint>>,
    pub(in crate::store) overlay: Overlay,
    /// Its rows, once all have come and most of the overlay is applied.
    pub(in crate::store) finished: Option<FinishedCopy>,
    pub(in crate::store) progress: Arc<Progress>,
}

/// Rows copied so far, and the server's estimate of all.
#[derive(Debug, Default)]
pub(in crate::store) struct Progress {
    pub(in crate::store) rows: AtomicU64,
    pub(in crate::store) estimate: AtomicU64,
}

impl Progress {
    pub(in crate::store) fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    pub(in crate::store) fn estimate(&self) -> u64 {
        self.estimate.load(Relaxed)
    }
}

impl ActiveCopy {
    pub(in crate::store) fn new(
        number: u64,
        request: CopyRequest,
        required_xids: RequiredXids,
    ) -> Self {
        Self {
            number,
            request,
            required_xids,
            at: None,
            overlay: Overlay::default(),
            finished: None,
            progress: Arc::default(),
        }
    }

    /// Keeps a change for the overlay unless the snapshot contains it.
    pub(in crate::store) fn change(&mut self, key: &Key, xid: Xid, after: &RowAfter) {
        if self.at.as_ref().is_none_or(|at| !at.snapshot.sees(xid)) {
            self.overlay.push(key, xid, after.clone());
        }
    }
}

/// The changes since a copy was registered.
#[derive(Debug, Default)]
pub(in crate::store) struct Overlay {
    changes: HashMap<Key, PendingChanges<Row>>,
    bytes: usize,
}

impl Overlay {
    fn push(&mut self, key: &Key, xid: Xid, after: RowAfter) {
        let changes = self.changes.entry(key.clone()).or_insert_with(|| {
            self.bytes += size_of::<Key>() + key.heap_bytes();
            PendingChanges::default()
        });
        let before = changes.bytes();
        changes.push(xid, after);
        self.bytes = (self.bytes + changes.bytes()).saturating_sub(before);
    }

    /// Number of keys that changed.
    pub(in crate::store) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Memory in bytes.
    pub(in crate::store) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The rows of a copy.
#[derive(Debug, Default)]
pub(in crate::store) struct FinishedCopy {
    pub(in crate::store) rows: RowMap,
    /// Keys whose rows could not be resolved, each with the transaction that changed it last.
    pub(in crate::store) unresolved: HashMap<Key, Xid>,
}

impl FinishedCopy {
    pub(in crate::store) fn apply_overlay(&mut self, overlay: Overlay, at: &ReadPoint) {
        for (key, changes) in overlay.changes {
            let Some(last) = changes.last() else { continue };
            let before = match self.unresolved.remove(&key) {
                Some(_) => Presence::Unknown,
                None => Presence::of(self.rows.find(&key).cloned()),
            };
            match changes.resolve(before, &at.snapshot) {
                Presence::Present(row) => self.rows.insert(key, row),
                Presence::Absent => self.rows.remove(&key),
                Presence::Unknown => {
                    self.rows.remove(&key);
                    self.unresolved.insert(key, last);
                }
            }
        }
    }
}
