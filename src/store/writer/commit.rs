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
        aftermath: &mut PostCommit,
    ) {
        let end = Position::after_commit(transaction.end_lsn);
        if end <= state.applied {
            return;
        }
        aftermath.work += transaction.changes.len() + transaction.rows.len();
        let at = transaction.committed_at;
        let mut concerned = false;
        for change in transaction.changes {
            concerned |= self.change(state, change, transaction.end_lsn, at, aftermath);
        }
        for reset in transaction.resets {
            let Some(table) = state.tables.get_mut(&reset.table) else {
                self.warn_unknown(reset.table);
                continue;
            };
            self.reset(table, end, at, reset.reason, aftermath);
            concerned = true;
        }
        let commit = RowCommit { end: transaction.end_lsn, xid: transaction.xid };
        self.apply_rows(state, &commit, transaction.rows, aftermath);
        state.applied = end;
        if concerned {
            state.newest = end;
            self.metrics.transactions.inc();
            aftermath.committed.push(at);
        }
    }

    /// Applies one row's change. Tells whether its table is published.
    fn change(
        &mut self,
        state: &mut StoreState,
        change: Change,
        end_lsn: Lsn,
        at: CommitTime,
        aftermath: &mut PostCommit,
    ) -> bool {
        let Some(table) = state.tables.get_mut(&change.table) else {
            self.warn_unknown(change.table);
            return false;
        };
        table.meters.count(change.op);
        let end = Position::after_commit(end_lsn);
        if table.published.table.tracking == Tracking::Ids {
            let position = Position { lsn: end_lsn, ordinal: change.ordinal };
            table.touch(end, &mut aftermath.touched);
            let max_changes = self.limits.max_changes;
            for log in &mut table.scoped {
                if let Some(scope) = &change.scope {
                    log.apply(&change.key, change.op, scope, (position, at), max_changes);
                }
            }
            table.log.apply(change.key, change.op, position, at, max_changes);
        } else if table.log.head() != end {
            self.reset(table, end, at, ResetReason::NoKey, aftermath);
        }
        true
    }

    /// Forgets all of a table's changes up to `floor`: its readers have to read it again.
    pub(super) fn reset(
        &self,
        table: &mut StoredTable,
        floor: Position,
        at: CommitTime,
        reason: ResetReason,
        aftermath: &mut PostCommit,
    ) {
        aftermath.work += 1;
        aftermath.dropped.push(Box::new(table.log.reset(floor, at)));
        for log in &mut table.scoped {
            aftermath.dropped.push(Box::new(log.reset(floor, at)));
        }
        table.touch(floor, &mut aftermath.touched);
        self.count_reset(table, LastReset { reason, at, position: floor });
    }

    pub(super) fn count_reset(&self, table: &mut StoredTable, reset: LastReset) {
        let labels = [&*table.published.name, reset.reason.as_str()];
        self.metrics.resets.with_label_values(&labels).inc();
        table.resets.note(reset);
    }

    fn warn_unknown(&mut self, table: TableOid) {
        // Nobody can ask for a table that is not published, so nobody misses anything.
        if !std::mem::replace(&mut self.warned_unknown, true) {
            tracing::warn!(oid = table.0, "ignoring changes to a table that is not published");
        }
    }
}
