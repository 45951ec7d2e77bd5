//! The cached rows of one table, whichever way they are stored.

use std::sync::Arc;

use super::preload::PreloadedTable;
use super::row_map::RowMap;
use super::{RowCache, RowQueue, trace};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter};
use crate::snapshot::Xid;
use crate::store::cache::{CachedSet, Lookup, PendingLoads, Presence, StreamJoin};
use crate::store::directory::Resource;
use crate::store::limits::RowLimits;
use crate::table::{RowCachePlan, RowMode};

/// The cached rows of one table.
#[derive(Debug)]
pub(in crate::store) struct TableRows {
    pub(in crate::store) resource: Arc<Resource>,
    pub(in crate::store) plan: Arc<RowCachePlan>,
    pub(in crate::store) storage: RowStorage,
}

/// Where the rows are.
#[derive(Debug)]
pub(in crate::store) enum RowStorage {
    /// In the shared cache: those that were requested.
    Lazy(CachedSet<Key, Row>),
    /// In a map of all of them.
    Preloaded(PreloadedTable),
}

/// What the application of a transaction to rows needs beside the rows.
pub(in crate::store) struct ApplyContext<'a> {
    pub(in crate::store) queue: &'a mut RowQueue,
    pub(in crate::store) dropped: &'a mut Vec<DeferredDrop>,
    pub(in crate::store) xid: Xid,
    pub(in crate::store) end: Lsn,
}

/// Rows to drop once the lock is released: dropping millions of them takes long.
#[derive(Debug)]
pub(in crate::store) struct DeferredDrop {
    _rows: RowMap,
}

impl From<RowMap> for DeferredDrop {
    fn from(rows: RowMap) -> Self {
        Self { _rows: rows }
    }
}

impl TableRows {
    /// The rows of a table whose plan is to cache some; none are loaded yet.
    pub(in crate::store) fn new(
        resource: &Arc<Resource>,
        cache: &RowCache,
        limits: &RowLimits,
        floor: Lsn,
    ) -> Option<Self> {
        let plan = resource.row_caching().held()?.clone();
        let storage = match plan.mode {
            RowMode::Preload => {
                RowStorage::Preloaded(PreloadedTable::new(limits.max_preload_bytes, floor))
            }
            RowMode::Lazy => {
                let evictions = resource.row_metrics.evictions.clone();
                RowStorage::Lazy(CachedSet::new(cache, evictions, floor, plan.keys_are_exact))
            }
        };
        let rows = Self { resource: resource.clone(), plan, storage };
        rows.publish_generation();
        Some(rows)
    }

    pub(in crate::store) fn join(&self) -> &StreamJoin<Key, Row> {
        match &self.storage {
            RowStorage::Lazy(set) => set.join(),
            RowStorage::Preloaded(preload) => &preload.join,
        }
    }

    /// Applies one row's change.
    pub(in crate::store) fn change(
        &mut self,
        key: Key,
        after: RowAfter,
        context: &mut ApplyContext,
    ) {
        let after = self.with_values_of_other_key(after);
        let changed = key.clone();
        let effect = match &mut self.storage {
            RowStorage::Lazy(set) => set.change(key, context.xid, &after),
            RowStorage::Preloaded(preload) => {
                let effect = preload.change(key, context.xid, &after);
                let dropped = preload.enforce_max_bytes(&self.resource.name);
                context.dropped.extend(dropped.map(DeferredDrop::from));
                effect
            }
        };
        if effect.is_invalidated {
            trace::invalidate(&self.resource, &changed);
        }
        if effect.needs_load {
            context.queue.push(self.resource.oid(), changed);
        }
    }

    /// Fills a partial row that had another key before with the values under that key: after this
    /// transaction they are gone.
    fn with_values_of_other_key(&self, after: RowAfter) -> RowAfter {
        match after {
            RowAfter::Partial { row, before: Some(old_key) } => {
                let before = self.find_stored(&old_key).or_else(|| self.join().newest(&old_key));
                match before {
                    Presence::Present(before) => {
                        row.fill(&before).map_or(RowAfter::Unresolved, RowAfter::Full)
                    }
                    Presence::Absent | Presence::Unknown => RowAfter::Unresolved,
                }
            }
            after => after,
        }
    }

    /// Applies a `TRUNCATE`.
    pub(in crate::store) fn truncate(&mut self, context: &mut ApplyContext) {
        match &mut self.storage {
            RowStorage::Lazy(set) => set.delete_all(context.xid, context.end),
            RowStorage::Preloaded(preload) => {
                let dropped = preload.truncate(context.xid, context.end);
                context.dropped.extend(dropped.map(DeferredDrop::from));
            }
        }
        self.publish_generation();
    }

    /// Drops all rows, because something up to `floor` makes them useless. Waiting readers request
    /// them anew.
    pub(in crate::store) fn invalidate_all(&mut self, floor: Lsn) -> Option<DeferredDrop> {
        trace::invalidate_all(&self.resource, self.size().0);
        let dropped = match &mut self.storage {
            RowStorage::Lazy(set) => {
                set.invalidate_all(floor);
                None
            }
            RowStorage::Preloaded(preload) => preload.invalidate_all(floor),
        };
        self.publish_generation();
        dropped.map(DeferredDrop::from)
    }

    /// Discards what is ahead of the stream after the connection to the server was lost, perhaps with
    /// the server: it may never have been durable (`synchronous_commit = off`).
    pub(in crate::store) fn mark_for_reload(&mut self, applied: Lsn, queue: &mut RowQueue) {
        let required_xids = queue.recent.all();
        let keys = match &mut self.storage {
            RowStorage::Lazy(set) => set.join_mut().mark_for_reload(&required_xids),
            RowStorage::Preloaded(preload) => {
                preload.restart_if_ahead(applied);
                preload.join.mark_for_reload(&required_xids)
            }
        };
        for key in keys {
            queue.push(self.resource.oid(), key);
        }
    }

    /// Lets readers find the rows of the shared cache without a lock, and no others.
    fn publish_generation(&self) {
        if let RowStorage::Lazy(set) = &self.storage {
            self.resource.set_generation(set.generation());
        }
    }

    /// Requests a new copy of a preloaded table; the present rows are served until it is finished, and
    /// readers get a reset then. Returns whether there is nothing to wait for.
    pub(in crate::store) fn reload(&mut self) -> bool {
        match &mut self.storage {
            RowStorage::Lazy(_) => true,
            RowStorage::Preloaded(preload) => preload.reload(),
        }
    }

    /// Whether a copy is requested and not running.
    pub(in crate::store) fn requests_copy(&mut self) -> bool {
        match &mut self.storage {
            RowStorage::Lazy(_) => false,
            RowStorage::Preloaded(preload) => preload.requests_copy(),
        }
    }

    /// Admits what was loaded, now that everything up to `applied` has been applied. Returns whether
    /// the table needs a reset because a requested copy is in its place.
    pub(in crate::store) fn admit_ready(
        &mut self,
        applied: Lsn,
        queue: &mut RowQueue,
        dropped: &mut Vec<DeferredDrop>,
    ) -> bool {
        let resource = &self.resource;
        match &mut self.storage {
            RowStorage::Lazy(set) => {
                set.admit_ready(applied, |key| trace::populate(resource, key));
                false
            }
            RowStorage::Preloaded(preload) => {
                let Some(installed) = preload.install_copy(resource, applied) else {
                    preload.admit_ready(resource, applied);
                    return false;
                };
                for key in installed.queued {
                    queue.push(resource.oid(), key);
                }
                dropped.extend(installed.replaced.map(DeferredDrop::from));
                preload.admit_ready(resource, applied);
                installed.needs_reset
            }
        }
    }

    /// Admits one row that has just been loaded to the shared cache, if it may go there at once.
    pub(in crate::store) fn admit_one(
        &self,
        pending: &mut PendingLoads<Key, Row>,
        key: &Key,
        applied: Lsn,
    ) {
        let RowStorage::Lazy(set) = &self.storage else { return };
        if set.admit_one(pending, key, applied) {
            trace::populate(&self.resource, key);
        }
    }

    /// The row at the applied position if it is in memory.
    pub(in crate::store) fn find(&self, key: &Key, applied: Lsn) -> Lookup<Row> {
        match self.find_stored(key) {
            Presence::Present(row) => Lookup::Value(Some(row)),
            Presence::Absent => Lookup::Value(None),
            Presence::Unknown => self.join().lookup(key, applied),
        }
    }

    /// The row as new as it is known: a reader that got something newer than the applied position
    /// never gets something older.
    pub(in crate::store) fn find_newest(&self, key: &Key) -> Presence<Row> {
        self.join().newest(key).or_else(|| self.find_stored(key))
    }

    /// The row if the table is lazy and the row in the shared cache.
    pub(in crate::store) fn find_cached(&self, key: &Key) -> Presence<Row> {
        match &self.storage {
            RowStorage::Lazy(set) => set.find_cached(key),
            RowStorage::Preloaded(_) => Presence::Unknown,
        }
    }

    /// The row where its kind of storage keeps it, pending loads aside.
    fn find_stored(&self, key: &Key) -> Presence<Row> {
        match &self.storage {
            RowStorage::Lazy(set) => set.find_cached(key),
            RowStorage::Preloaded(preload) => preload.find(key),
        }
    }

    /// Why the rows are not cached, if caching them has been given up.
    pub(in crate::store) fn refusal(&self) -> Option<String> {
        match &self.storage {
            RowStorage::Preloaded(preload) if preload.rows.is_none() => preload.refusal(),
            RowStorage::Lazy(_) | RowStorage::Preloaded(_) => None,
        }
    }

    /// All rows of the table, if they are in memory and none is missing.
    pub(in crate::store) fn complete(&self) -> Option<&RowMap> {
        let RowStorage::Preloaded(preload) = &self.storage else { return None };
        preload.rows.as_ref().filter(|_| preload.join.is_complete())
    }
}
