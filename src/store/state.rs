//! Everything that readers see, under one lock.
//!
//! One `RwLock` over all tables, not one for each: a change set of several tables must show a
//! commit that touched two of them in both or in none (P2), so a reader would have to hold all of
//! their locks anyway, and the writer all of those a commit touches. Readers share the lock, copy
//! what they return and release it; the writer holds it for some thousand changes at a time
//! (one commit is never divided). Readers without news never take it: see
//! [`notifications`](super::notifications).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::consistency::Verifications;
use super::directory::{Directory, Resource};
use super::limits::RowLimits;
use super::log::{Evict, ScopedLog, VersionLog};
use super::metrics::TableMetrics;
use super::notifications::Notifications;
use super::resets::Resets;
use super::rows::{RowCache, RowQueue, TableRows};
use crate::history::TimelineHistory;
use crate::source_status::{PostmasterId, StreamRequests};
use crate::table::TableOid;
use crate::version::{Epoch, Position, Version};

/// The readers' handle. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) shared: Arc<StoreInner>,
    pub(super) requests: StreamRequests,
}

/// The part of the store that the writer and the readers share.
#[derive(Debug)]
pub(super) struct StoreInner {
    pub(super) state: RwLock<StoreState>,
    /// Replaced under the lock of `state`; read without it.
    pub(super) directory: RwLock<Arc<Directory>>,
    pub(super) notifications: Notifications,
    /// The rows of lazy tables.
    pub(super) cache: RowCache,
    pub(super) limits: RowLimits,
    /// Tables to be loaded and reset by the writer (`POST /admin/reload`).
    pub(super) reloads: Mutex<BTreeSet<TableOid>>,
    /// Requests to compare all cached rows with the database.
    pub(super) verifications: Verifications,
}

/// The logs and rows of all tables, at one position of one history.
#[derive(Debug)]
pub(super) struct StoreState {
    /// The history being followed; `None` before the first start.
    pub(super) history: Option<TimelineHistory>,
    /// The server that sends the stream, or sent it last; `None` before the first start.
    pub(super) server: Option<PostmasterId>,
    /// Everything up to here has been applied.
    pub(super) applied: Position,
    /// The newest change to any table, or reset. Never goes back within a history.
    pub(super) newest: Position,
    pub(super) tables: BTreeMap<TableOid, StoredTable>,
    /// The rows that wait to be loaded. Locked by holders of the shared state lock.
    pub(super) loads: Mutex<RowQueue>,
}

/// One published table.
#[derive(Debug)]
pub(super) struct StoredTable {
    pub(super) resource: Arc<Resource>,
    pub(super) log: VersionLog,
    /// The same by scope, one for every combination of scope columns.
    pub(super) scoped: Vec<ScopedLog>,
    /// Its rows, if they are cached.
    pub(super) rows: Option<TableRows>,
    /// Position of the newest change or reset: that of the whole commit.
    pub(super) newest: Position,
    pub(super) metrics: TableMetrics,
    /// Its resets, those under an earlier definition included.
    pub(super) resets: Resets,
    /// Whether its waiters are to be woken when this lock hold ends.
    pub(super) touched: bool,
}

impl StoreInner {
    pub(super) fn new(limits: RowLimits) -> Self {
        let state = StoreState {
            history: None,
            server: None,
            applied: Position::START,
            newest: Position::START,
            tables: BTreeMap::new(),
            loads: Mutex::new(RowQueue::new(limits.max_pending_loads)),
        };
        Self {
            state: RwLock::new(state),
            directory: RwLock::default(),
            notifications: Notifications::new(),
            cache: RowCache::new(&limits),
            limits,
            reloads: Mutex::default(),
            verifications: Verifications::default(),
        }
    }
}

impl StoredTable {
    /// Its logs, the scoped ones included.
    pub(super) fn logs(&mut self) -> impl Iterator<Item = &mut dyn Evict> {
        let scoped = self.scoped.iter_mut().map(ScopedLog::as_evict);
        std::iter::once(&mut self.log as &mut dyn Evict).chain(scoped)
    }

    /// Memory of its logs, in bytes.
    pub(super) fn log_bytes(&self) -> usize {
        self.log.bytes() + self.scoped.iter().map(ScopedLog::bytes).sum::<usize>()
    }

    /// Notes a change or reset, and, once, that the table's waiters are to be woken.
    pub(super) fn touch(&mut self, newest: Position, touched: &mut Vec<Arc<Resource>>) {
        self.newest = newest;
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(self.resource.clone());
        }
    }
}

impl StoreState {
    /// The epoch being followed; `None` before the first start.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.history.as_ref().map(TimelineHistory::epoch)
    }

    /// The applied position as a version; `None` before the first start.
    pub(super) fn version(&self) -> Option<Version> {
        Some(Version { epoch: self.epoch()?, position: self.applied })
    }

    /// The position of a version in the history being followed; `None` if it does not belong there.
    pub(super) fn position_of(&self, version: Version) -> Option<Position> {
        self.history.as_ref()?.position_of(version)
    }

    /// Memory of all logs, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.tables.values().map(StoredTable::log_bytes).sum()
    }
}
