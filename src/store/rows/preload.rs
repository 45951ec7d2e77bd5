//! A table all of whose rows are in memory, at all times.

use bytesize::ByteSize;
use parking_lot::Mutex;

use super::row_map::RowMap;
use super::table_copy::{ActiveCopy, TableCopy};
use super::{RowsError, trace};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter};
use crate::snapshot::Xid;
use crate::store::cache::{ChangeEffect, Presence, StreamJoin, ValueChange};
use crate::store::directory::Resource;

/// The rows of one preloaded table.
#[derive(Debug)]
pub(in crate::store) struct PreloadedTable {
    /// Rows that the map lacks are *required* here until they have been loaded.
    pub(in crate::store) join: StreamJoin<Key, Row>,
    /// The rows at the applied position, without the required ones; `None` until the first copy is
    /// finished.
    pub(in crate::store) rows: Option<RowMap>,
    pub(in crate::store) copy: Mutex<TableCopy>,
    pub(in crate::store) max_bytes: usize,
}

/// A finished copy that took the place of the rows before.
pub(in crate::store) struct InstalledCopy {
    /// A client requested it: the table's readers need a reset.
    pub(in crate::store) needs_reset: bool,
    pub(in crate::store) replaced: Option<RowMap>,
    /// Keys that the copy could not resolve, to be queued.
    pub(in crate::store) queued: Vec<Key>,
}

impl PreloadedTable {
    pub(in crate::store) fn new(max_bytes: usize, floor: Lsn) -> Self {
        Self {
            join: StreamJoin::new(floor),
            rows: None,
            copy: Mutex::new(TableCopy::requested(false)),
            max_bytes,
        }
    }

    /// The row in the map, if the map is right about it.
    pub(in crate::store) fn find(&self, key: &Key) -> Presence<Row> {
        match &self.rows {
            Some(rows) if !self.join.is_required(key) => Presence::of(rows.find(key).cloned()),
            _ => Presence::Unknown,
        }
    }

    /// Applies a change to a row, in the map, in a running copy and among the pending loads.
    pub(in crate::store) fn change(
        &mut self,
        key: Key,
        xid: Xid,
        after: &RowAfter,
    ) -> ChangeEffect {
        let needs_load = self.join.change(&key, xid, after);
        if let TableCopy::Active(copy) = self.copy.get_mut() {
            copy.change(&key, xid, after);
        }
        let before = if after.needs_previous() { self.find(&key) } else { Presence::Unknown };
        let Some(rows) = &mut self.rows else {
            return ChangeEffect { needs_load, is_invalidated: false };
        };
        match after.apply(before) {
            Presence::Present(row) => {
                self.join.with_pending(|pending| pending.release(&key));
                rows.insert(key, row);
            }
            Presence::Absent => {
                self.join.with_pending(|pending| pending.release(&key));
                rows.remove(&key);
            }
            Presence::Unknown => {
                rows.remove(&key);
                let is_new = self.join.with_pending(|pending| pending.require(&key, xid));
                return ChangeEffect { needs_load: needs_load || is_new, is_invalidated: is_new };
            }
        }
        ChangeEffect { needs_load, is_invalidated: false }
    }

    /// Empties the map. A running copy starts again: whether its snapshot is from before or after the
    /// `TRUNCATE` does not say whether its rows are.
    pub(in crate::store) fn truncate(&mut self, xid: Xid, end: Lsn) -> Option<RowMap> {
        self.join.delete_all(xid, end);
        self.restart();
        self.rows.as_mut().map(std::mem::take)
    }

    /// Drops the map and requests a new copy.
    pub(in crate::store) fn invalidate_all(&mut self, floor: Lsn) -> Option<RowMap> {
        self.join.invalidate_all(floor);
        let copy = self.copy.get_mut();
        if !matches!(copy, TableCopy::Refused(_)) {
            *copy = TableCopy::requested(false);
        }
        self.rows.take()
    }

    /// Starts a running copy again if its snapshot is ahead of the stream: after a crash of the server
    /// it may hold a commit that was lost.
    pub(in crate::store) fn restart_if_ahead(&mut self, applied: Lsn) {
        let is_durable = match self.copy.get_mut() {
            TableCopy::Active(copy) => {
                copy.at.as_ref().is_some_and(|at| at.visible_up_to <= applied)
            }
            _ => true,
        };
        if !is_durable {
            self.restart();
        }
    }

    fn restart(&mut self) {
        let copy = self.copy.get_mut();
        if let TableCopy::Active(active) = copy {
            *copy = TableCopy::Requested(active.request);
        }
    }

    /// Requests a new copy. Returns whether there are no rows to serve until then.
    pub(in crate::store) fn reload(&mut self) -> bool {
        let serves = self.rows.is_some();
        *self.copy.get_mut() = TableCopy::requested(serves);
        !serves
    }

    pub(in crate::store) fn requests_copy(&mut self) -> bool {
        matches!(self.copy.get_mut(), TableCopy::Requested(_))
    }

    /// Gives up caching the table if it needs more memory than it may, and returns its rows.
    pub(in crate::store) fn enforce_max_bytes(&mut self, table: &str) -> Option<RowMap> {
        let stored = self.rows.as_ref().map_or(0, RowMap::bytes);
        let copy = self.copy.get_mut();
        let overlay = match copy {
            TableCopy::Active(active) => active.overlay.bytes(),
            _ => 0,
        };
        if stored.max(overlay) <= self.max_bytes {
            return None;
        }
        let reason = too_large(self.max_bytes);
        tracing::error!(table, "preload refused: {reason}");
        *copy = TableCopy::Refused(reason);
        self.rows.take()
    }

    /// Puts a finished copy in the place of the rows, if everything that its snapshot contains has been
    /// applied.
    pub(in crate::store) fn install_copy(
        &mut self,
        resource: &Resource,
        applied: Lsn,
    ) -> Option<InstalledCopy> {
        let active = self.take_finished(applied)?;
        let needs_reset = active.request.reload;
        let (at, mut finished) = (active.at?, active.finished?);
        finished.apply_overlay(active.overlay, &at);
        let queued = self.join.with_pending(|pending| {
            pending.release_all();
            let unresolved = finished.unresolved.iter();
            let queued = unresolved.filter(|(key, xid)| pending.require(key, **xid));
            queued.map(|(key, _)| key.clone()).collect()
        });
        let rows = finished.rows;
        tracing::info!(
            table = resource.name,
            rows = rows.len(),
            bytes = rows.bytes(),
            "preload finished"
        );
        trace::populate_all(resource, rows.len());
        Some(InstalledCopy { needs_reset, replaced: self.rows.replace(rows), queued })
    }

    fn take_finished(&mut self, applied: Lsn) -> Option<ActiveCopy> {
        let copy = self.copy.get_mut();
        let is_ready = match copy {
            TableCopy::Active(active) => {
                active.finished.is_some()
                    && active.at.as_ref().is_some_and(|at| at.visible_up_to <= applied)
            }
            _ => false,
        };
        match std::mem::replace(copy, TableCopy::Idle) {
            TableCopy::Active(active) if is_ready => Some(*active),
            other => {
                *copy = other;
                None
            }
        }
    }

    /// Moves the required rows that have been loaded to the map.
    pub(in crate::store) fn admit_ready(&mut self, resource: &Resource, applied: Lsn) {
        let Self { join, rows, .. } = self;
        join.with_pending(|pending| {
            pending.admit_ready(applied, |key, row, is_required| {
                let Some(rows) = rows.as_mut().filter(|_| is_required) else { return };
                trace::populate(resource, &key);
                if let Some(row) = row {
                    rows.insert(key, row);
                }
            });
        });
    }

    pub(in crate::store) fn refusal(&self) -> Option<String> {
        match &*self.copy.lock() {
            TableCopy::Refused(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Why not all rows can be read now.
    pub(in crate::store) fn unavailable(&self, table: &str) -> RowsError {
        let not_now = |text: String| RowsError::TemporarilyUnavailable(text);
        match &*self.copy.lock() {
            TableCopy::Refused(reason) => {
                RowsError::Unavailable { table: table.to_owned(), reason: reason.clone() }
            }
            TableCopy::Active(active) => not_now(format!(
                "the rows of {table} are being loaded: {} of about {} so far; try again later",
                active.progress.rows(),
                active.progress.estimate(),
            )),
            TableCopy::Requested(request) if request.failures > 0 => not_now(format!(
                "the rows of {table} could not be loaded yet, and loading them is tried again; \
                 the log says what is wrong"
            )),
            TableCopy::Requested(_) => {
                not_now(format!("the rows of {table} wait to be loaded; try again later"))
            }
            TableCopy::Idle => not_now(format!(
                "some rows of {table} have to be read from the database again, which did not \
                 answer in time"
            )),
        }
    }
}

/// Why a table is not cached whose rows need more memory than they may.
pub(in crate::store) fn too_large(max_bytes: usize) -> String {
    let max = ByteSize::b(max_bytes as u64);
    format!(
        "they need more memory than cache.max_preload_bytes ({max}) allows: raise it, serve fewer \
         columns, or cache the rows lazily"
    )
}
