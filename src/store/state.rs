//! Everything that readers see, under one lock.
//!
//! One `RwLock` over all tables, not one for each: an answer about several tables must show a
//! commit that touched two of them in both or in none (P2), so a reader would have to hold all of
//! their locks anyway, and the writer all of those a commit touches. Readers share the lock, copy
//! what they tell and leave; the writer holds it for some thousand changes at a time
//! (one commit is never divided). Readers to whom nothing is new never come here, see
//! [`signals`](super::signals).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::directory::{Directory, Resource};
use super::limits::RowLimits;
use super::log::{Evict, ScopedLog, VersionLog};
use super::meters::TableMetrics;
use super::resets::Resets;
use super::rows::{LoadQueue, RowCache, TableRows, Verifications};
use super::signals::Notifications;
use crate::history::TimelineHistory;
use crate::source::{PostmasterId, StreamRequests};
use crate::table::TableOid;
use crate::version::{Epoch, Position, Version};

/// The readers' handle. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) shared: Arc<StoreInner>,
    pub(super) requests: StreamRequests,
}

/// What the writer and the readers share.
#[derive(Debug)]
pub(super) struct StoreInner {
    pub(super) state: RwLock<StoreState>,
    /// Replaced under the lock of `state`; read without it.
    pub(super) directory: RwLock<Arc<Directory>>,
    pub(super) signals: Notifications,
    /// The rows that are read through.
    pub(super) cache: RowCache,
    pub(super) limits: RowLimits,
    /// Tables that somebody wants to begin anew.
    pub(super) reloads: Mutex<BTreeSet<TableOid>>,
    /// Somebody wants all rows to be compared with the database.
    pub(super) verifications: Verifications,
}

/// The logs, and how far they are.
#[derive(Debug)]
pub(super) struct StoreState {
    /// The history being followed; `None` before the first start.
    pub(super) history: Option<TimelineHistory>,
    /// The server that sends the stream, or did last; `None` before the first start.
    pub(super) server: Option<PostmasterId>,
    /// Everything up to here is in the logs.
    pub(super) applied: Position,
    /// The newest change to any table, or reset. Never goes back within a history.
    pub(super) newest: Position,
    pub(super) tables: BTreeMap<TableOid, StoredTable>,
    /// The rows that wait to be read from the database. Locked by those who share the state.
    pub(super) loads: Mutex<LoadQueue>,
}

/// One published table.
#[derive(Debug)]
pub(super) struct StoredTable {
    pub(super) published: Arc<Resource>,
    pub(super) log: VersionLog,
    /// The same for who sees one scope, for every combination of scope columns.
    pub(super) scoped: Vec<ScopedLog>,
    /// Its rows, if they are held.
    pub(super) rows: Option<TableRows>,
    /// Version of the newest change, or reset: that of the whole commit.
    pub(super) newest: Position,
    pub(super) meters: TableMetrics,
    /// Its resets, also those under an earlier definition.
    pub(super) resets: Resets,
    /// Whether those who wait for it are to be woken when this lock hold ends.
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
            loads: Mutex::default(),
        };
        Self {
            state: RwLock::new(state),
            directory: RwLock::default(),
            signals: Notifications::new(),
            cache: RowCache::new(&limits),
            limits,
            reloads: Mutex::default(),
            verifications: Verifications::default(),
        }
    }
}

impl StoredTable {
    /// All its logs.
    pub(super) fn logs(&mut self) -> impl Iterator<Item = &mut dyn Evict> {
        let scoped = self.scoped.iter_mut().map(ScopedLog::as_evict);
        std::iter::once(&mut self.log as &mut dyn Evict).chain(scoped)
    }

    /// Memory of all its logs.
    pub(super) fn log_bytes(&self) -> usize {
        self.log.bytes() + self.scoped.iter().map(ScopedLog::bytes).sum::<usize>()
    }

    /// Notes a change or reset, and, once, that those who wait for the table are to be woken.
    pub(super) fn touch(&mut self, newest: Position, touched: &mut Vec<Arc<Resource>>) {
        self.newest = newest;
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(self.published.clone());
        }
    }
}

impl StoreState {
    /// The epoch being followed; `None` before the first start.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.history.as_ref().map(TimelineHistory::epoch)
    }

    /// Everything up to here is in the logs; `None` before the first start.
    pub(super) fn version(&self) -> Option<Version> {
        Some(Version { epoch: self.epoch()?, position: self.applied })
    }

    /// Where a version is in the history being followed, if it is true there.
    pub(super) fn position_of(&self, version: Version) -> Option<Position> {
        self.history.as_ref()?.position_of(version)
    }

    /// Memory of all logs.
    pub(super) fn bytes(&self) -> usize {
        self.tables.values().map(StoredTable::log_bytes).sum()
    }
}
