//! A table all of whose rows are in memory, at all times.

use std::sync::Arc;

use bytesize::ByteSize;
use parking_lot::Mutex;

use super::map::RowMap;
use super::pending::PendingRows;
use super::pending_changes::RowState;
use super::table_copy::{ActiveCopy, TableCopy};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::RowAfter;
use crate::snapshot::Xid;

#[derive(Debug)]
pub(super) struct Preload {
    /// The rows as they are at the applied position, but for those that are required on the desk;
    /// `None` as long as no copy was finished.
    pub(super) rows: Option<RowMap>,
    pub(super) copy: Mutex<TableCopy>,
    pub(super) max_bytes: usize,
}

impl Preload {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { rows: None, copy: Mutex::new(TableCopy::wanted(false)), max_bytes }
    }

    pub(super) fn standing(&self, key: &Key, desk: &PendingRows) -> RowState {
        match &self.rows {
            Some(rows) if !desk.is_required(key) => RowState::of(rows.find(key).cloned()),
            _ => RowState::Unknown,
        }
    }

    /// A change to a row. Tells whether the row has to be asked for now.
    pub(super) fn change(
        &mut self,
        key: Key,
        xid: Xid,
        image: &RowAfter,
        desk: &mut PendingRows,
    ) -> bool {
        if let TableCopy::Running(running) = self.copy.get_mut() {
            running.change(&key, xid, image);
        }
        let before = match image {
            RowAfter::Partial { .. } => self.standing(&key, desk),
            _ => RowState::Unknown,
        };
        let Some(rows) = &mut self.rows else { return false };
        match before.apply(image) {
            RowState::Row(row) => {
                desk.release(&key);
                rows.insert(key, row);
            }
            RowState::Absent => {
                desk.release(&key);
                rows.remove(&key);
            }
            RowState::Unknown => {
                rows.remove(&key);
                return desk.require(&key, xid);
            }
        }
        false
    }

    /// The table was emptied. A copy on its way begins again: whether its snapshot is from before
    /// or after does not say whether its rows are.
    pub(super) fn clear(&mut self) -> Option<RowMap> {
        self.restart();
        self.rows.as_mut().map(std::mem::take)
    }

    /// The rows are not to be trusted any more.
    pub(super) fn invalidate_all(&mut self) -> Option<RowMap> {
        let copy = self.copy.get_mut();
        if !matches!(copy, TableCopy::Refused(_)) {
            *copy = TableCopy::wanted(false);
        }
        self.rows.take()
    }

    /// The server may have crashed: a copy that may hold a commit that it lost begins again.
    pub(super) fn distrust(&mut self, applied: Lsn) {
        let is_durable = match self.copy.get_mut() {
            TableCopy::Running(running) => {
                running.at.as_ref().is_some_and(|at| at.visible_up_to <= applied)
            }
            _ => true,
        };
        if !is_durable {
            self.restart();
        }
    }

    fn restart(&mut self) {
        let copy = self.copy.get_mut();
        if let TableCopy::Running(running) = copy {
            *copy = TableCopy::Wanted(running.wanted);
        }
    }

    /// Whether there is more than may be: then nothing is held any more, and what was is handed out.
    pub(super) fn keep_to_max_bytes(&mut self, table: &str) -> Option<RowMap> {
        let held = self.rows.as_ref().map_or(0, RowMap::bytes);
        let copy = self.copy.get_mut();
        let on_its_way = match copy {
            TableCopy::Running(running) => running.overlay.bytes(),
            _ => 0,
        };
        if held.max(on_its_way) <= self.max_bytes {
            return None;
        }
        let reason = too_large(self.max_bytes);
        tracing::error!(table, "the rows can't be preloaded: {reason}");
        *copy = TableCopy::Refused(reason);
        self.rows.take()
    }

    /// The finished copy, if everything that it contains has been applied.
    pub(super) fn finished(&mut self, applied: Lsn) -> Option<ActiveCopy> {
        let copy = self.copy.get_mut();
        let is_ready = match copy {
            TableCopy::Running(running) => {
                running.built.is_some()
                    && running.at.as_ref().is_some_and(|at| at.visible_up_to <= applied)
            }
            _ => false,
        };
        match std::mem::replace(copy, TableCopy::Idle) {
            TableCopy::Running(running) if is_ready => Some(*running),
            other => {
                *copy = other;
                None
            }
        }
    }

    pub(super) fn refusal(&self) -> Option<String> {
        match &*self.copy.lock() {
            TableCopy::Refused(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Why not all of it can be read now.
    pub(super) fn excuse(&self, table: &str) -> super::RowsError {
        let not_now = |text: String| super::RowsError::TemporarilyUnavailable(text);
        match &*self.copy.lock() {
            TableCopy::Refused(reason) => {
                super::RowsError::Unavailable { table: table.to_owned(), reason: reason.clone() }
            }
            TableCopy::Running(running) => not_now(format!(
                "the rows of {table} are being loaded: {} of about {} so far; try again later",
                running.progress.rows(),
                running.progress.estimate(),
            )),
            TableCopy::Wanted(wanted) if wanted.failures > 0 => not_now(format!(
                "the rows of {table} could not be loaded yet, and loading them is tried again; \
                 the log says what is wrong"
            )),
            TableCopy::Wanted(_) => {
                not_now(format!("the rows of {table} wait to be loaded; try again later"))
            }
            TableCopy::Idle => not_now(format!(
                "some rows of {table} have to be asked of the database again, which did not \
                 answer in time"
            )),
        }
    }
}

/// Why a table is not held whose rows need more memory than they may.
pub(super) fn too_large(max_bytes: usize) -> String {
    let max = ByteSize::b(max_bytes as u64);
    format!(
        "they need more memory than cache.preload_max_bytes ({max}) allows: raise it, serve fewer \
         columns, or hold the rows lazily"
    )
}

/// A copy laid over with what came last, and what is still to be asked for.
pub(super) fn install(running: ActiveCopy, desk: &mut PendingRows) -> Option<(RowMap, Vec<Key>)> {
    let at: Arc<_> = running.at?;
    let mut built = running.built?;
    built.apply_overlay(running.overlay, &at);
    desk.release_all();
    let asked = built.unknown.iter().filter(|(key, xid)| desk.require(key, **xid));
    let asked = asked.map(|(key, _)| key.clone()).collect();
    Some((built.rows, asked))
}
