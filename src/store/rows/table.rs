//! The rows of one table, held one way or the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::{Mutex, MutexGuard};

use super::cache::{Cache, Share};
use super::chain::Standing;
use super::copy::Copy;
use super::desk::{Desk, OnDesk};
use super::loads::Loads;
use super::map::RowMap;
use super::preload::{Preload, install};
use super::trace;
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter};
use crate::snapshot::Xid;
use crate::store::directory::PublishedTable;
use crate::store::limits::RowLimits;
use crate::table::{RowCachePlan, RowMode};

/// The rows of one table.
#[derive(Debug)]
pub(in crate::store) struct TableRows {
    pub(super) published: Arc<PublishedTable>,
    pub(super) held: Arc<RowCachePlan>,
    pub(super) place: Place,
    /// Locked while the lock of the whole state is held, after it; before that of [`Loads`].
    desk: Mutex<Desk>,
    /// Keys on the desk, so that readers of rows in memory need not look there.
    on_desk: AtomicUsize,
    /// Rows that are being compared with the database: joined with the changes as those are that
    /// readers wait for, and not seen by them. Locked while the lock of the whole state is held.
    pub(super) checked: Mutex<Desk>,
    /// Whatever was committed up to here may have changed any row, for all the log knows.
    pub(super) floor: Lsn,
}

/// Where rows are.
#[derive(Debug)]
pub(super) enum Place {
    /// In the cache, under this generation.
    Lazy(Arc<Share>),
    /// In a map of all of them.
    Preload(Preload),
}

/// What surrounds the application of a transaction.
pub(in crate::store) struct Applying<'a> {
    pub(in crate::store) cache: &'a Cache,
    pub(in crate::store) loads: &'a mut Loads,
    /// Contents of maps, to be dropped where no lock is held.
    pub(in crate::store) dropped: &'a mut Vec<Dropped>,
    pub(in crate::store) xid: Xid,
    pub(in crate::store) end: Lsn,
}

/// Many rows that nobody needs any more.
#[derive(Debug)]
pub(in crate::store) struct Dropped {
    _rows: RowMap,
}

/// What is in memory of a row.
#[derive(Debug)]
pub(super) enum Found {
    /// What stands there at the applied position.
    Row(Option<Row>),
    /// A row, of use when everything up to this position has been applied.
    Fresh(Lsn),
    /// Nothing.
    Missing,
}

/// Locked access to a desk.
pub(super) struct DeskGuard<'a> {
    desk: MutexGuard<'a, Desk>,
    on_desk: &'a AtomicUsize,
}

impl std::ops::Deref for DeskGuard<'_> {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl std::ops::DerefMut for DeskGuard<'_> {
    fn deref_mut(&mut self) -> &mut Desk {
        &mut self.desk
    }
}

impl Drop for DeskGuard<'_> {
    fn drop(&mut self) {
        self.on_desk.store(self.desk.len(), SeqCst);
    }
}

impl TableRows {
    /// The rows of a table that holds some; none are here yet.
    pub(in crate::store) fn new(
        published: &Arc<PublishedTable>,
        limits: &RowLimits,
        floor: Lsn,
    ) -> Option<Self> {
        let held = published.table.rows.held()?.clone();
        let place = match held.mode {
            RowMode::Preload => Place::Preload(Preload::new(limits.preload_max_bytes)),
            RowMode::Lazy => {
                let share = Share::new(published.row_meters.evictions.clone());
                published.show_generation(share.generation());
                Place::Lazy(share)
            }
        };
        Some(Self {
            published: published.clone(),
            held,
            place,
            desk: Mutex::default(),
            on_desk: AtomicUsize::new(0),
            checked: Mutex::default(),
            floor,
        })
    }

    pub(super) fn desk(&self) -> DeskGuard<'_> {
        DeskGuard { desk: self.desk.lock(), on_desk: &self.on_desk }
    }

    /// One row's change.
    pub(in crate::store) fn change(&mut self, key: Key, image: RowAfter, applying: &mut Applying) {
        let image = self.with_values_of_other_key(image, applying.cache);
        let xid = applying.xid;
        self.checked.get_mut().change(&key, xid, &image);
        let desk = self.desk.get_mut();
        let mut asks = desk.change(&key, xid, &image);
        let asked = key.clone();
        match &mut self.place {
            Place::Lazy(share) => {
                if applying.cache.change(share, key, &image, self.held.keys_are_exact) {
                    trace::invalidate(&self.published, &asked);
                }
            }
            Place::Preload(preload) => {
                if preload.change(key, xid, &image, desk) {
                    trace::invalidate(&self.published, &asked);
                    asks = true;
                }
                let dropped = preload.keep_to_max_bytes(&self.published.name);
                applying.dropped.extend(dropped.map(|rows| Dropped { _rows: rows }));
            }
        }
        if asks {
            applying.loads.push(self.published.oid(), asked);
        }
        self.count_desk();
    }

    /// A partial row that was under another key takes its missing values from there, now or never.
    fn with_values_of_other_key(&mut self, image: RowAfter, cache: &Cache) -> RowAfter {
        match image {
            RowAfter::Partial { row, before: Some(before) } => {
                match self.standing(&before, cache) {
                    Standing::Row(before) => {
                        row.fill(&before).map_or(RowAfter::Unresolved, RowAfter::Full)
                    }
                    Standing::Absent | Standing::Unknown => RowAfter::Unresolved,
                }
            }
            image => image,
        }
    }

    fn standing(&mut self, key: &Key, cache: &Cache) -> Standing {
        let desk = self.desk.get_mut();
        let in_place = match &self.place {
            Place::Lazy(share) => cache.find(share.generation(), key),
            Place::Preload(preload) => preload.standing(key, desk),
        };
        in_place.or_else(|| match desk.find(key) {
            OnDesk::Here(row, _) => Standing::of(row),
            OnDesk::Nothing | OnDesk::Asked => Standing::Unknown,
        })
    }

    /// The table was emptied.
    pub(in crate::store) fn clear(&mut self, applying: &mut Applying) {
        self.floor = applying.end;
        self.desk.get_mut().clear(applying.xid);
        self.checked.get_mut().clear(applying.xid);
        let dropped = match &mut self.place {
            Place::Lazy(_) => None,
            Place::Preload(preload) => preload.clear(),
        };
        applying.dropped.extend(dropped.map(|rows| Dropped { _rows: rows }));
        self.begin_generation();
    }

    /// The rows are not to be trusted any more, because of something that happened up to `floor`.
    /// Those who wait ask anew.
    pub(in crate::store) fn lose(&mut self, floor: Lsn) -> Option<Dropped> {
        trace::invalidate_all(&self.published, self.size().0);
        self.floor = floor;
        *self.desk.get_mut() = Desk::default();
        *self.checked.get_mut() = Desk::default();
        let dropped = match &mut self.place {
            Place::Lazy(_) => None,
            Place::Preload(preload) => preload.lose(),
        };
        self.begin_generation();
        dropped.map(|rows| Dropped { _rows: rows })
    }

    /// The connection to the server was lost, perhaps with the server. What is ahead of the stream was
    /// perhaps never durable (`synchronous_commit = off`): it is asked for again.
    pub(in crate::store) fn distrust(&mut self, applied: Lsn, loads: &mut Loads) {
        *self.checked.get_mut() = Desk::default();
        for key in self.desk.get_mut().distrust(&loads.recent.all()) {
            loads.push(self.published.oid(), key);
        }
        if let Place::Preload(preload) = &mut self.place {
            preload.distrust(applied);
        }
        self.count_desk();
    }

    /// Rows that are read through are found no more.
    fn begin_generation(&mut self) {
        if let Place::Lazy(share) = &mut self.place {
            *share = share.next();
            self.published.show_generation(share.generation());
        }
        self.count_desk();
    }

    fn count_desk(&mut self) {
        *self.on_desk.get_mut() = self.desk.get_mut().len();
    }

    /// Asks for a new copy of a preloaded table, of which readers will be told; the present rows
    /// are served until then. Tells whether there is nothing to wait for.
    pub(in crate::store) fn reload(&mut self) -> bool {
        match &mut self.place {
            Place::Lazy(_) => true,
            Place::Preload(preload) => {
                let serves = preload.rows.is_some();
                *preload.copy.get_mut() = Copy::wanted(serves);
                !serves
            }
        }
    }

    /// Whether a copy is needed and not on its way.
    pub(in crate::store) fn wants_copy(&mut self) -> bool {
        match &mut self.place {
            Place::Lazy(_) => false,
            Place::Preload(preload) => matches!(preload.copy.get_mut(), Copy::Wanted(_)),
        }
    }

    /// Brings home what has come meanwhile, now that everything up to `applied` has been applied.
    /// Tells whether readers have to be told to read the table again.
    pub(in crate::store) fn settle(
        &mut self,
        applied: Lsn,
        cache: &Cache,
        loads: &mut Loads,
        dropped: &mut Vec<Dropped>,
    ) -> bool {
        let desk = self.desk.get_mut();
        let mut reloaded = false;
        if let Place::Preload(preload) = &mut self.place
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
                dropped.extend(preload.rows.replace(rows).map(|rows| Dropped { _rows: rows }));
            }
        }
        let (exact, table) = (self.held.keys_are_exact, &self.published);
        desk.settle(applied, |key, row, required| match (&mut self.place, row) {
            (Place::Lazy(share), row) => {
                if row.is_some() || exact {
                    trace::populate(table, &key);
                    cache.insert(share, key, row);
                }
            }
            (Place::Preload(Preload { rows: Some(rows), .. }), row) if required => {
                trace::populate(table, &key);
                if let Some(row) = row {
                    rows.insert(key, row);
                }
            }
            (Place::Preload(_), _) => {}
        });
        self.count_desk();
        reloaded
    }

    /// Sends one row into the cache that has just arrived, if it can go there at once.
    pub(super) fn bring_home(&self, desk: &mut Desk, key: &Key, applied: Lsn, cache: &Cache) {
        let Place::Lazy(share) = &self.place else { return };
        let row = match desk.settle_one(key, applied) {
            Standing::Row(row) => Some(row),
            Standing::Absent if self.held.keys_are_exact => None,
            Standing::Absent | Standing::Unknown => return,
        };
        trace::populate(&self.published, key);
        cache.insert(share, key.clone(), row);
    }

    /// What is in memory of a row, as it is at the applied position if possible.
    pub(super) fn find(&self, key: &Key, applied: Lsn, cache: &Cache) -> Found {
        match self.find_in_place(key, cache) {
            Standing::Row(row) => return Found::Row(Some(row)),
            Standing::Absent => return Found::Row(None),
            Standing::Unknown => {}
        }
        match self.find_on_desk(key) {
            OnDesk::Here(row, horizon) if horizon <= applied => Found::Row(row),
            OnDesk::Here(_, horizon) => Found::Fresh(horizon),
            OnDesk::Nothing | OnDesk::Asked => Found::Missing,
        }
    }

    /// What is in memory of a row, as new as possible: who was told something newer than the
    /// applied position is never told something older.
    pub(super) fn find_newest(&self, key: &Key, cache: &Cache) -> Standing {
        match self.find_on_desk(key) {
            OnDesk::Here(row, _) => Standing::of(row),
            OnDesk::Nothing | OnDesk::Asked => self.find_in_place(key, cache),
        }
    }

    /// A row of a table that is read through, if it is in the cache.
    pub(super) fn find_cached(&self, key: &Key, cache: &Cache) -> Standing {
        match &self.place {
            Place::Lazy(share) => cache.find(share.generation(), key),
            Place::Preload(_) => Standing::Unknown,
        }
    }

    /// Why the rows are not held, if that has been given up.
    pub(super) fn refusal(&self) -> Option<String> {
        match &self.place {
            Place::Preload(preload) if preload.rows.is_none() => preload.refusal(),
            Place::Lazy(_) | Place::Preload(_) => None,
        }
    }

    fn find_on_desk(&self, key: &Key) -> OnDesk {
        match self.on_desk.load(SeqCst) {
            0 => OnDesk::Nothing,
            _ => self.desk.lock().find(key),
        }
    }

    fn find_in_place(&self, key: &Key, cache: &Cache) -> Standing {
        let Place::Preload(preload) = &self.place else { return self.find_cached(key, cache) };
        let Some(rows) = &preload.rows else { return Standing::Unknown };
        let is_on_desk = self.on_desk.load(SeqCst) > 0;
        if is_on_desk && self.desk.lock().is_required(key) {
            return Standing::Unknown;
        }
        Standing::of(rows.find(key).cloned())
    }

    /// All rows, if they are here and none is missing.
    pub(super) fn complete(&self) -> Option<&RowMap> {
        let Place::Preload(preload) = &self.place else { return None };
        let rows = preload.rows.as_ref()?;
        let is_complete = self.on_desk.load(SeqCst) == 0 || self.desk.lock().required() == 0;
        is_complete.then_some(rows)
    }
}
