//! A copy of a whole table on its way.
//!
//! It is registered first, and its snapshot taken after: from the registration on, every change is
//! kept in the *overlay*, one chain for each key. When all rows have come, the chains are laid over
//! them by the rule of visibility, and when everything the snapshot contains has been applied the
//! writer puts the result in its place. Most of the overlay is laid over without any lock
//! ([`FinishedCopy::apply_overlay`]); only what came last is left to the writer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use super::map::RowMap;
use super::pending_changes::{PendingChanges, RowState};
use super::recent_commits::RequiredXids;
use crate::key::Key;
use crate::load::ReadPoint;
use crate::row::RowAfter;
use crate::snapshot::Xid;

/// What is being done for a preloaded table to have its rows.
#[derive(Debug)]
pub(super) enum TableCopy {
    /// Nothing: they are here.
    Idle,
    /// A copy is needed.
    Wanted(CopyRequest),
    /// A copy is on its way.
    Running(Box<ActiveCopy>),
    /// They can't be held; why, and what mends it.
    Refused(String),
}

/// A copy that is needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct CopyRequest {
    /// Somebody asked for it: readers have to be told when it is there.
    pub(super) reload: bool,
    /// Not before this.
    pub(super) from: Instant,
    /// Copies that failed before.
    pub(super) failures: u32,
}

impl TableCopy {
    pub(super) fn wanted(reload: bool) -> Self {
        Self::Wanted(CopyRequest { reload, from: Instant::now(), failures: 0 })
    }

    /// The copy of this number, if it is on its way.
    pub(super) fn running(&mut self, number: u64) -> Option<&mut ActiveCopy> {
        match self {
            Self::Running(running) if running.number == number => Some(running),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct ActiveCopy {
    pub(super) number: u64,
    pub(super) wanted: CopyRequest,
    /// What its snapshot has to see.
    pub(super) due: RequiredXids,
    /// What it contains, once known.
    pub(super) at: Option<Arc<ReadPoint>>,
    pub(super) overlay: Overlay,
    /// The result.
    pub(super) built: Option<FinishedCopy>,
    pub(super) progress: Arc<Progress>,
}

/// How far a copy is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) rows: AtomicU64,
    pub(super) estimate: AtomicU64,
}

impl Progress {
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    pub(super) fn estimate(&self) -> u64 {
        self.estimate.load(Relaxed)
    }
}

impl ActiveCopy {
    pub(super) fn change(&mut self, key: &Key, xid: Xid, image: &RowAfter) {
        if self.at.as_ref().is_none_or(|at| !at.snapshot.sees(xid)) {
            self.overlay.push(key, xid, image.clone());
        }
    }
}

/// What happened since a copy was registered.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    chains: HashMap<Key, PendingChanges>,
    bytes: usize,
}

impl Overlay {
    fn push(&mut self, key: &Key, xid: Xid, image: RowAfter) {
        let chain = self.chains.entry(key.clone()).or_insert_with(|| {
            self.bytes += size_of::<Key>() + key.heap_bytes();
            PendingChanges::default()
        });
        let before = chain.bytes();
        chain.push(xid, image);
        self.bytes = (self.bytes + chain.bytes()).saturating_sub(before);
    }

    /// Keys that changed.
    pub(super) fn len(&self) -> usize {
        self.chains.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The rows of a copy.
#[derive(Debug, Default)]
pub(super) struct FinishedCopy {
    pub(super) rows: RowMap,
    /// Keys under which it is not known what stands, with the transaction that changed them last.
    pub(super) unknown: HashMap<Key, Xid>,
}

impl FinishedCopy {
    pub(super) fn apply_overlay(&mut self, overlay: Overlay, at: &ReadPoint) {
        for (key, chain) in overlay.chains {
            let Some(last) = chain.last() else { continue };
            let before = match self.unknown.remove(&key) {
                Some(_) => RowState::Unknown,
                None => RowState::of(self.rows.find(&key).cloned()),
            };
            match chain.resolve(before, &at.snapshot) {
                RowState::Row(row) => self.rows.insert(key, row),
                RowState::Absent => self.rows.remove(&key),
                RowState::Unknown => {
                    self.rows.remove(&key);
                    self.unknown.insert(key, last);
                }
            }
        }
    }
}
