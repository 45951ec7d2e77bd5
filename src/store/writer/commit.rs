//! A committed transaction.

use super::rows::RowCommit;
use super::{PostCommit, Writer};
use crate::change::{Change, CommitTime, ResetReason, Transaction};
use crate::lsn::Lsn;
use crate::store::resets::LastReset;
use crate::store::state::{StoreState, StoredTable};
use crate::table::{TableOid, Tracking};
use crate::version::Position;

impl Writer {
    pub(super) fn commit(
        &mut self,
        state: &mut StoreState,
        transaction: Transaction,
        post_commit: &mut PostCommit,
    ) {
        let end = Position::after_commit(transaction.end_lsn);
        if end <= state.applied {
            return;
        }
        post_commit.work += transaction.changes.len() + transaction.rows.len();
        let at = transaction.committed_at;
        let mut touches_published = false;
        for change in transaction.changes {
            touches_published |= self.change(state, change, transaction.end_lsn, at, post_commit);
        }
        for reset in transaction.resets {
            let Some(table) = state.tables.get_mut(&reset.table) else {
                self.warn_unknown(reset.table);
                continue;
            };
            self.reset(table, end, at, reset.reason, post_commit);
            touches_published = true;
        }
        let commit = RowCommit { end: transaction.end_lsn, xid: transaction.xid };
        Self::apply_rows(state, &commit, transaction.rows, post_commit);
        state.applied = end;
        if touches_published {
            state.newest = end;
            self.metrics.transactions.inc();
            post_commit.committed.push(at);
        }
    }

    /// Applies one row's change. Returns whether its table is published.
    fn change(
        &mut self,
        state: &mut StoreState,
        change: Change,
        end_lsn: Lsn,
        at: CommitTime,
        post_commit: &mut PostCommit,
    ) -> bool {
        let Some(table) = state.tables.get_mut(&change.table) else {
            self.warn_unknown(change.table);
            return false;
        };
        table.metrics.count(change.op);
        let end = Position::after_commit(end_lsn);
        if *table.resource.tracking() == Tracking::Ids {
            let position = Position { lsn: end_lsn, ordinal: change.ordinal };
            table.touch(end, &mut post_commit.touched);
            let max_changes = self.limits.max_changes;
            for log in &mut table.scoped {
                if let Some(scope) = &change.scope {
                    log.apply(&change.key, change.op, scope, (position, at), max_changes);
                }
            }
            table.log.apply(change.key, change.op, position, at, max_changes);
        } else if table.log.head() != end {
            self.reset(table, end, at, ResetReason::NoKey, post_commit);
        }
        true
    }

    /// Drops all of a table's changes up to `floor`: its readers have to read it again.
    pub(super) fn reset(
        &self,
        table: &mut StoredTable,
        floor: Position,
        at: CommitTime,
        reason: ResetReason,
        post_commit: &mut PostCommit,
    ) {
        post_commit.work += 1;
        post_commit.dropped.push(Box::new(table.log.reset(floor, at)));
        for log in &mut table.scoped {
            post_commit.dropped.push(Box::new(log.reset(floor, at)));
        }
        table.touch(floor, &mut post_commit.touched);
        self.count_reset(table, LastReset { reason, at, position: floor });
    }

    pub(super) fn count_reset(&self, table: &mut StoredTable, reset: LastReset) {
        let labels = [&*table.resource.name, reset.reason.as_str()];
        self.metrics.resets.with_label_values(&labels).inc();
        table.resets.note(reset);
    }

    fn warn_unknown(&mut self, table: TableOid) {
        // A table that is not published has no readers, so its changes are not missed.
        if !std::mem::replace(&mut self.warned_unknown, true) {
            tracing::warn!(oid = table.0, "ignoring changes to a table that is not published");
        }
    }
}
