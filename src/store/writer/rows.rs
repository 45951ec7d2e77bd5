//! The rows of a committed transaction, and the requests of other tasks to the writer.

use jiff::Timestamp;

use super::{PostCommit, Writer, publish};
use crate::change::{CommitTime, ResetReason};
use crate::lsn::Lsn;
use crate::row::{RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::store::notifications::reset_after;
use crate::store::rows::ApplyContext;
use crate::store::state::StoreState;
use crate::table::TableOid;

/// The commit that row changes belong to.
pub(super) struct RowCommit {
    pub(super) end: Lsn,
    pub(super) xid: Xid,
}

impl Writer {
    /// Applies a transaction's changes to cached rows.
    pub(super) fn apply_rows(
        state: &mut StoreState,
        commit: &RowCommit,
        rows: Vec<RowChange>,
        post_commit: &mut PostCommit,
    ) {
        if rows.is_empty() {
            return;
        }
        state.loads.get_mut().note_commit(commit.end, commit.xid);
        let mut rows = rows.into_iter().peekable();
        while let Some(change) = rows.next() {
            // Values that were not sent with the row's new key are still under the old one.
            if let Some(partial) = rows.next_if(|next| takes_values_from(next, &change)) {
                Self::apply_row(state, commit, partial, post_commit);
            }
            Self::apply_row(state, commit, change, post_commit);
        }
    }

    fn apply_row(
        state: &mut StoreState,
        commit: &RowCommit,
        change: RowChange,
        post_commit: &mut PostCommit,
    ) {
        let (RowChange::Upsert { table, .. }
        | RowChange::Truncate(table)
        | RowChange::Invalidate(table)) = change;
        let Some(rows) = state.tables.get_mut(&table).and_then(|table| table.rows.as_mut()) else {
            return;
        };
        let mut context = ApplyContext {
            queue: state.loads.get_mut(),
            dropped: &mut post_commit.dropped_rows,
            xid: commit.xid,
            end: commit.end,
        };
        match change {
            RowChange::Upsert { key, image, .. } => rows.change(key, image, &mut context),
            RowChange::Truncate(_) => rows.truncate(&mut context),
            RowChange::Invalidate(_) => {
                post_commit.dropped_rows.extend(rows.invalidate_all(commit.end));
            }
        }
    }

    /// Waits until another task requests something of the writer: [`Writer::serve_requests`] does it.
    /// Cancel safe.
    pub fn requested(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.shared.clone();
        async move { shared.notifications.writer_requested.notified().await }
    }

    /// Serves the requests of other tasks: admits loaded rows, installs finished copies, and reloads
    /// tables (`POST /admin/reload`).
    pub fn serve_requests(&mut self) {
        let shared = self.shared.clone();
        let mut state = shared.state.write();
        let mut post_commit = PostCommit::default();
        let reloads = std::mem::take(&mut *shared.reloads.lock());
        for table in reloads {
            self.reload(&mut state, table, &mut post_commit);
        }
        self.admit_rows(&mut state, &mut post_commit);
        publish(&mut state, &shared.notifications);
        drop(state);
        self.finish(&shared.notifications, post_commit);
    }

    fn reload(&self, state: &mut StoreState, oid: TableOid, post_commit: &mut PostCommit) {
        let applied = state.applied.lsn;
        let Some(table) = state.tables.get_mut(&oid) else { return };
        if let Some(rows) = &mut table.rows {
            if !rows.reload() {
                return;
            }
            post_commit.dropped_rows.extend(rows.invalidate_all(applied));
        }
        self.reset_between_commits(state, oid, post_commit);
    }

    /// Admits the rows that were loaded and can be admitted now.
    pub(super) fn admit_rows(&self, state: &mut StoreState, post_commit: &mut PostCommit) {
        let applied = state.applied.lsn;
        let queue = state.loads.get_mut();
        let mut reloaded = Vec::new();
        for (oid, table) in &mut state.tables {
            let Some(rows) = &mut table.rows else { continue };
            if rows.admit_ready(applied, queue, &mut post_commit.dropped_rows) {
                reloaded.push(*oid);
            }
            post_commit.copy_requested |= rows.requests_copy();
        }
        post_commit.loads_requested = queue.has_work();
        for oid in reloaded {
            self.reset_between_commits(state, oid, post_commit);
        }
    }

    fn reset_between_commits(
        &self,
        state: &mut StoreState,
        oid: TableOid,
        post_commit: &mut PostCommit,
    ) {
        let floor = reset_after(state.applied);
        let Some(table) = state.tables.get_mut(&oid) else { return };
        let now = CommitTime::from_timestamp(Timestamp::now());
        self.reset(table, floor, now, ResetReason::Reload, post_commit);
        state.applied = floor;
        state.newest = floor;
    }
}

/// Whether `change` takes missing values from the row that `before` deletes.
fn takes_values_from(change: &RowChange, before: &RowChange) -> bool {
    match (change, before) {
        (
            RowChange::Upsert { table, image: RowAfter::Partial { before: Some(old), .. }, .. },
            RowChange::Upsert { table: other, key, image: RowAfter::Deleted },
        ) => table == other && old == key,
        _ => false,
    }
}
