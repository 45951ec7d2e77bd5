//! The rows of a committed transaction, and what others ask of the writer.

use jiff::Timestamp;

use super::{PostCommit, Writer, publish};
use crate::change::{CommitTime, ResetReason};
use crate::lsn::Lsn;
use crate::row::{RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::store::rows::ApplyContext;
use crate::store::signals::reset_after;
use crate::store::state::StoreState;
use crate::table::TableOid;

/// The commit that row changes belong to.
pub(super) struct RowCommit {
    pub(super) end: Lsn,
    pub(super) xid: Xid,
}

impl Writer {
    /// Applies what a transaction did to rows.
    pub(super) fn apply_rows(
        &self,
        state: &mut StoreState,
        commit: &RowCommit,
        rows: Vec<RowChange>,
        aftermath: &mut PostCommit,
    ) {
        if rows.is_empty() {
            return;
        }
        state.loads.get_mut().note_commit(commit.end, commit.xid);
        let mut rows = rows.into_iter().peekable();
        while let Some(change) = rows.next() {
            // What was not sent of the row under its new key is still under the old one.
            if let Some(partial) = rows.next_if(|next| takes_values_from(next, &change)) {
                self.apply_row(state, commit, partial, aftermath);
            }
            self.apply_row(state, commit, change, aftermath);
        }
    }

    fn apply_row(
        &self,
        state: &mut StoreState,
        commit: &RowCommit,
        change: RowChange,
        aftermath: &mut PostCommit,
    ) {
        let (RowChange::Upsert { table, .. }
        | RowChange::Truncate(table)
        | RowChange::Invalidate(table)) = change;
        let Some(rows) = state.tables.get_mut(&table).and_then(|table| table.rows.as_mut()) else {
            return;
        };
        let mut applying = ApplyContext {
            cache: &self.shared.cache,
            loads: state.loads.get_mut(),
            dropped: &mut aftermath.dropped_rows,
            xid: commit.xid,
            end: commit.end,
        };
        match change {
            RowChange::Upsert { key, image, .. } => rows.change(key, image, &mut applying),
            RowChange::Truncate(_) => rows.clear(&mut applying),
            RowChange::Invalidate(_) => {
                aftermath.dropped_rows.extend(rows.invalidate_all(commit.end))
            }
        }
    }

    /// Waits until somebody wants something of the writer: [`Writer::carry_out`] does it. Cancel
    /// safe.
    pub fn wanted(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.shared.clone();
        async move { shared.signals.writer_wanted.notified().await }
    }

    /// Does what is wanted: puts finished copies in their place, and begins anew with tables that
    /// somebody asked for (`POST /admin/reload`).
    pub fn carry_out(&mut self) {
        let shared = self.shared.clone();
        let mut state = shared.state.write();
        let mut aftermath = PostCommit::default();
        let wanted = std::mem::take(&mut *shared.reloads.lock());
        for table in wanted {
            self.reload(&mut state, table, &mut aftermath);
        }
        self.settle_rows(&mut state, &mut aftermath);
        publish(&mut state, &shared.signals);
        drop(state);
        self.finish(&shared.signals, aftermath);
    }

    fn reload(&self, state: &mut StoreState, oid: TableOid, aftermath: &mut PostCommit) {
        let applied = state.applied.lsn;
        let Some(table) = state.tables.get_mut(&oid) else { return };
        if let Some(rows) = &mut table.rows {
            if !rows.reload() {
                return;
            }
            aftermath.dropped_rows.extend(rows.invalidate_all(applied));
        }
        self.reset_between_commits(state, oid, aftermath);
    }

    /// Brings home what came from the database and can go there now.
    pub(super) fn settle_rows(&self, state: &mut StoreState, aftermath: &mut PostCommit) {
        let applied = state.applied.lsn;
        let loads = state.loads.get_mut();
        let mut reloaded = Vec::new();
        for (oid, table) in &mut state.tables {
            let Some(rows) = &mut table.rows else { continue };
            if rows.admit_ready(applied, &self.shared.cache, loads, &mut aftermath.dropped_rows) {
                reloaded.push(*oid);
            }
            aftermath.wants_copy |= rows.wants_copy();
        }
        aftermath.wants_rows = loads.has_work();
        for oid in reloaded {
            self.reset_between_commits(state, oid, aftermath);
        }
    }

    fn reset_between_commits(
        &self,
        state: &mut StoreState,
        oid: TableOid,
        aftermath: &mut PostCommit,
    ) {
        let floor = reset_after(state.applied);
        let Some(table) = state.tables.get_mut(&oid) else { return };
        let now = CommitTime::from_timestamp(Timestamp::now());
        self.reset(table, floor, now, ResetReason::Reload, aftermath);
        state.applied = floor;
        state.newest = floor;
    }
}

/// Whether `change` takes missing values from the row that `before` removes.
fn takes_values_from(change: &RowChange, before: &RowChange) -> bool {
    match (change, before) {
        (
            RowChange::Upsert { table, image: RowAfter::Partial { before: Some(old), .. }, .. },
            RowChange::Upsert { table: other, key, image: RowAfter::Deleted },
        ) => table == other && old == key,
        _ => false,
    }
}
