//! The rows of one table, held one way or the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::{Mutex, MutexGuard};

use super::cache::{CacheGeneration, RowCache};
use super::load_queue::LoadQueue;
use super::map::RowMap;
use super::pending::{PendingRows, PendingState};
use super::pending_changes::RowState;
use super::preload::{Preload, install};
use super::table_copy::TableCopy;
use super::trace;
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter};
use crate::snapshot::Xid;
use crate::store::directory::Resource;
use crate::store::limits::RowLimits;
use crate::table::{RowCachePlan, RowMode};

/// The rows of one table.
#[derive(Debug)]
pub(in crate::store) struct TableRows {
    pub(super) published: Arc<Resource>,
    pub(super) held: Arc<RowCachePlan>,
    pub(super) storage: RowStorage,
    /// Locked while the lock of the whole state is held, after it; before that of [`LoadQueue`].
    pending_rows: Mutex<PendingRows>,
    /// Keys on the desk, so that readers of rows in memory need not look there.
    pending_count: AtomicUsize,
    /// Rows that are being compared with the database: joined with the changes as those are that
    /// readers wait for, and not seen by them. Locked while the lock of the whole state is held.
    pub(super) checked: Mutex<PendingRows>,
    /// Whatever was committed up to here may have changed any row, for all the log knows.
    pub(super) floor: Lsn,
}

/// Where rows are.
#[derive(Debug)]
pub(super) enum RowStorage {
    /// In the cache, under this generation.
    Lazy(Arc<CacheGeneration>),
    /// In a map of all of them.
    Preload(Preload),
}

/// What surrounds the application of a transaction.
pub(in crate::store) struct ApplyContext<'a> {
    pub(in crate::store) cache: &'a RowCache,
    pub(in crate::store) loads: &'a mut LoadQueue,
    /// Contents of maps, to be dropped where no lock is held.
    pub(in crate::store) dropped: &'a mut Vec<DeferredDrop>,
    pub(in crate::store) xid: Xid,
    pub(in crate::store) end: Lsn,
}

/// Many rows that nobody needs any more.
#[derive(Debug)]
pub(in crate::store) struct DeferredDrop {
    _rows: RowMap,
}

/// What is in memory of a row.
#[derive(Debug)]
pub(super) enum Lookup {
    /// What stands there at the applied position.
    Row(Option<Row>),
    /// A row, of use when everything up to this position has been applied.
    AheadUntil(Lsn),
    /// Nothing.
    Miss,
}

/// Locked access to a desk.
pub(super) struct PendingGuard<'a> {
    desk: MutexGuard<'a, PendingRows>,
    on_desk: &'a AtomicUsize,
}

impl std::ops::Deref for PendingGuard<'_> {
    type Target = PendingRows;

    fn deref(&self) -> &PendingRows {
        &self.desk
    }
}

impl std::ops::DerefMut for PendingGuard<'_> {
    fn deref_mut(&mut self) -> &mut PendingRows {
        &mut self.desk
    }
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        self.on_desk.store(self.desk.len(), SeqCst);
    }
}

impl TableRows {
    /// The rows of a table that holds some; none are here yet.
    pub(in crate::store) fn new(
        published: &Arc<Resource>,
        limits: &RowLimits,
        floor: Lsn,
    ) -> Option<Self> {
        let held = published.table.rows.held()?.clone();
        let place = match held.mode {
            RowMode::Preload => RowStorage::Preload(Preload::new(limits.max_preload_bytes)),
            RowMode::Lazy => {
                let share = CacheGeneration::new(published.row_metrics.evictions.clone());
                published.show_generation(share.generation());
                RowStorage::Lazy(share)
            }
        };
        Some(Self {
            published: published.clone(),
            held,
            storage: place,
            pending_rows: Mutex::default(),
            pending_count: AtomicUsize::new(0),
            checked: Mutex::default(),
            floor,
        })
    }

    pub(super) fn pending(&self) -> PendingGuard<'_> {
        PendingGuard { desk: self.pending_rows.lock(), on_desk: &self.pending_count }
    }

    /// One row's change.
    pub(in crate::store) fn change(
        &mut self,
        key: Key,
        image: RowAfter,
        applying: &mut ApplyContext,
    ) {
        let image = self.with_values_of_other_key(image, applying.cache);
        let xid = applying.xid;
        self.checked.get_mut().change(&key, xid, &image);
        let desk = self.pending_rows.get_mut();
        let mut asks = desk.change(&key, xid, &image);
        let asked = key.clone();
        match &mut self.storage {
            RowStorage::Lazy(share) => {
                if applying.cache.change(share, key, &image, self.held.keys_are_exact) {
                    trace::invalidate(&self.published, &asked);
                }
            }
            RowStorage::Preload(preload) => {
                if preload.change(key, xid, &image, desk) {
                    trace::invalidate(&self.published, &asked);
                    asks = true;
                }
                let dropped = preload.keep_to_max_bytes(&self.published.name);
                applying.dropped.extend(dropped.map(|rows| DeferredDrop { _rows: rows }));
            }
        }
        if asks {
            applying.loads.push(self.published.oid(), asked);
        }
        self.count_desk();
    }

    /// A partial row that was under another key takes its missing values from there, now or never.
    fn with_values_of_other_key(&mut self, image: RowAfter, cache: &RowCache) -> RowAfter {
        match image {
            RowAfter::Partial { row, before: Some(before) } => {
                match self.standing(&before, cache) {
                    RowState::Row(before) => {
                        row.fill(&before).map_or(RowAfter::Unresolved, RowAfter::Full)
                    }
                    RowState::Absent | RowState::Unknown => RowAfter::Unresolved,
                }
            }
            image => image,
        }
    }

    fn standing(&mut self, key: &Key, cache: &RowCache) -> RowState {
        let desk = self.pending_rows.get_mut();
        let in_place = match &self.storage {
            RowStorage::Lazy(share) => cache.find(share.generation(), key),
            RowStorage::Preload(preload) => preload.standing(key, desk),
        };
        in_place.or_else(|| match desk.find(key) {
            PendingState::Here(row, _) => RowState::of(row),
            PendingState::Nothing | PendingState::Asked => RowState::Unknown,
        })
    }

    /// The table was emptied.
    pub(in crate::store) fn clear(&mut self, applying: &mut ApplyContext) {
        self.floor = applying.end;
        self.pending_rows.get_mut().clear(applying.xid);
        self.checked.get_mut().clear(applying.xid);
        let dropped = match &mut self.storage {
            RowStorage::Lazy(_) => None,
            RowStorage::Preload(preload) => preload.clear(),
        };
        applying.dropped.extend(dropped.map(|rows| DeferredDrop { _rows: rows }));
        self.begin_generation();
    }

    /// The rows are not to be trusted any more, because of something that happened up to `floor`.
    /// Those who wait ask anew.
    pub(in crate::store) fn invalidate_all(&mut self, floor: Lsn) -> Option<DeferredDrop> {
        trace::invalidate_all(&self.published, self.size().0);
        self.floor = floor;
        *self.pending_rows.get_mut() = PendingRows::default();
        *self.checked.get_mut() = PendingRows::default();
        let dropped = match &mut self.storage {
            RowStorage::Lazy(_) => None,
            RowStorage::Preload(preload) => preload.invalidate_all(),
        };
        self.begin_generation();
        dropped.map(|rows| DeferredDrop { _rows: rows })
    }

    /// The connection to the server was lost, perhaps with the server. What is ahead of the stream was
    /// perhaps never durable (`synchronous_commit = off`): it is asked for again.
    pub(in crate::store) fn mark_for_reload(&mut self, applied: Lsn, loads: &mut LoadQueue) {
        *self.checked.get_mut() = PendingRows::default();
        for key in self.pending_rows.get_mut().mark_for_reload(&loads.recent.all()) {
            loads.push(self.published.oid(), key);
        }
        if let RowStorage::Preload(preload) = &mut self.storage {
            preload.distrust(applied);
        }
        self.count_desk();
    }

    /// Rows that are read through are found no more.
    fn begin_generation(&mut self) {
        if let RowStorage::Lazy(share) = &mut self.storage {
            *share = share.next();
            self.published.show_generation(share.generation());
        }
        self.count_desk();
    }

    fn count_desk(&mut self) {
        *self.pending_count.get_mut() = self.pending_rows.get_mut().len();
    }

    /// Asks for a new copy of a preloaded table, of which readers will be told; the present rows
    /// are served until then. Tells whether there is nothing to wait for.
    pub(in crate::store) fn reload(&mut self) -> bool {
        match &mut self.storage {
            RowStorage::Lazy(_) => true,
            RowStorage::Preload(preload) => {
                let serves = preload.rows.is_some();
                *preload.copy.get_mut() = TableCopy::wanted(serves);
                !serves
            }
        }
    }

    /// Whether a copy is needed and not on its way.
    pub(in crate::store) fn wants_copy(&mut self) -> bool {
        match &mut self.storage {
            RowStorage::Lazy(_) => false,
            RowStorage::Preload(preload) => matches!(preload.copy.get_mut(), TableCopy::Wanted(_)),
        }
    }

    /// Brings home what has come meanwhile, now that everything up to `applied` has been applied.
    /// Tells whether readers have to be told to read the table again.
    pub(in crate::store) fn admit_ready(
        &mut self,
        applied: Lsn,
        cache: &RowCache,
        loads: &mut LoadQueue,
        dropped: &mut Vec<DeferredDrop>,
    ) -> bool {
        let desk = self.pending_rows.get_mut();
        let mut reloaded = false;
        if let RowStorage::Preload(preload) = &mut self.storage
            && let Some(running) = preload.finished(applied)
        {
            reloaded = running.wanted.reload;
            if let Some((rows, asked)) = install(running, desk) {
                let table = &self.published;
                tracing::info!(
                    table = table.name,
                    rows = rows.len(),
                    bytes = rows.bytes(),
                    "rows are in memory"
                );
                trace::populate_all(table, rows.len());
                for key in asked {
                    loads.push(self.published.oid(), key);
                }
                dropped.extend(preload.rows.replace(rows).map(|rows| DeferredDrop { _rows: rows }));
            }
        }
        let (exact, table) = (self.held.keys_are_exact, &self.published);
        desk.admit_ready(applied, |key, row, required| match (&mut self.storage, row) {
            (RowStorage::Lazy(share), row) => {
                if row.is_some() || exact {
                    trace::populate(table, &key);
                    cache.insert(share, key, row);
                }
            }
            (RowStorage::Preload(Preload { rows: Some(rows), .. }), row) if required => {
                trace::populate(table, &key);
                if let Some(row) = row {
                    rows.insert(key, row);
                }
            }
            (RowStorage::Preload(_), _) => {}
        });
        self.count_desk();
        reloaded
    }

    /// Sends one row into the cache that has just arrived, if it can go there at once.
    pub(super) fn admit_one(
        &self,
        desk: &mut PendingRows,
        key: &Key,
        applied: Lsn,
        cache: &RowCache,
    ) {
        let RowStorage::Lazy(share) = &self.storage else { return };
        let row = match desk.admit_one(key, applied) {
            RowState::Row(row) => Some(row),
            RowState::Absent if self.held.keys_are_exact => None,
            RowState::Absent | RowState::Unknown => return,
        };
        trace::populate(&self.published, key);
        cache.insert(share, key.clone(), row);
    }

    /// What is in memory of a row, as it is at the applied position if possible.
    pub(super) fn find(&self, key: &Key, applied: Lsn, cache: &RowCache) -> Lookup {
        match self.find_in_place(key, cache) {
            RowState::Row(row) => return Lookup::Row(Some(row)),
            RowState::Absent => return Lookup::Row(None),
            RowState::Unknown => {}
        }
        match self.find_on_desk(key) {
            PendingState::Here(row, horizon) if horizon <= applied => Lookup::Row(row),
            PendingState::Here(_, horizon) => Lookup::AheadUntil(horizon),
            PendingState::Nothing | PendingState::Asked => Lookup::Miss,
        }
    }

    /// What is in memory of a row, as new as possible: who was told something newer than the
    /// applied position is never told something older.
    pub(super) fn find_newest(&self, key: &Key, cache: &RowCache) -> RowState {
        match self.find_on_desk(key) {
            PendingState::Here(row, _) => RowState::of(row),
            PendingState::Nothing | PendingState::Asked => self.find_in_place(key, cache),
        }
    }

    /// A row of a table that is read through, if it is in the cache.
    pub(super) fn find_cached(&self, key: &Key, cache: &RowCache) -> RowState {
        match &self.storage {
            RowStorage::Lazy(share) => cache.find(share.generation(), key),
            RowStorage::Preload(_) => RowState::Unknown,
        }
    }

    /// Why the rows are not held, if that has been given up.
    pub(super) fn refusal(&self) -> Option<String> {
        match &self.storage {
            RowStorage::Preload(preload) if preload.rows.is_none() => preload.refusal(),
            RowStorage::Lazy(_) | RowStorage::Preload(_) => None,
        }
    }

    fn find_on_desk(&self, key: &Key) -> PendingState {
        match self.pending_count.load(SeqCst) {
            0 => PendingState::Nothing,
            _ => self.pending_rows.lock().find(key),
        }
    }

    fn find_in_place(&self, key: &Key, cache: &RowCache) -> RowState {
        let RowStorage::Preload(preload) = &self.storage else {
            return self.find_cached(key, cache);
        };
        let Some(rows) = &preload.rows else { return RowState::Unknown };
        let is_on_desk = self.pending_count.load(SeqCst) > 0;
        if is_on_desk && self.pending_rows.lock().is_required(key) {
            return RowState::Unknown;
        }
        RowState::of(rows.find(key).cloned())
    }

    /// All rows, if they are here and none is missing.
    pub(super) fn complete(&self) -> Option<&RowMap> {
        let RowStorage::Preload(preload) = &self.storage else { return None };
        let rows = preload.rows.as_ref()?;
        let is_complete =
            self.pending_count.load(SeqCst) == 0 || self.pending_rows.lock().required() == 0;
        is_complete.then_some(rows)
    }
}
