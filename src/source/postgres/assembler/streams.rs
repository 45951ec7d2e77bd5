//! Streamed transactions: they arrive before they commit, in blocks, several of them interleaved.
//!
//! Each has its own buffer and its own Relation messages: the server describes a table again to
//! each such transaction, and what one has altered is not so for the others. At its commit both
//! become visible to all; when it is rolled back, both are dropped.
//!
//! For changes, relations and truncations the server names the subtransaction they belong to, and
//! so which of them it takes back; a logical message names only its transaction. So messages don't
//! show that a subtransaction has ended, and one that begins with a message may leave it behind:
//! one refresh, or one reset, too many.
//!
//! Between blocks no transaction is open in the sense of the watermark: whatever is still to be
//! committed ends after every position the server has reported.

use std::collections::HashMap;

use super::relation_tracker::SeenRelation;
use super::{AssembleError, Assembler, CurrentTransaction};
use crate::change::{Event, ResetReason};
use crate::pgoutput::{self, StreamAbort, StreamCommit, StreamStart, Streamed};
use crate::snapshot::Xid;
use crate::source::postgres::announcement::Announcement;
use crate::source::postgres::catalog::CatalogTable;
use crate::source::postgres::relation::TrackedRelation;
use crate::source::postgres::transaction_buffer::TransactionBuffer;
use crate::table::TableOid;

/// Streamed transactions by top-level id.
pub(super) type Open = HashMap<Xid, StreamedTransaction, hashbrown::DefaultHashBuilder>;

/// A streamed transaction between two of its blocks.
pub(super) struct StreamedTransaction {
    pub(super) buffer: TransactionBuffer,
    pub(super) block: StreamBlock,
}

/// The state of a streamed transaction apart from its buffer.
#[derive(Default)]
pub(super) struct StreamBlock {
    pub(super) xid: Xid,
    /// The newest Relation message of each table in this transaction.
    pub(super) relations: HashMap<TableOid, SeenRelation, hashbrown::DefaultHashBuilder>,
    /// The catalog must be refreshed at its commit: before, it does not show what the transaction
    /// changed.
    pub(super) needs_refresh: bool,
    /// The changed definitions it announced, if any.
    pub(super) announced: Option<Vec<Announcement>>,
    /// It may have changed which tables or partitions are published.
    pub(super) membership_changed: bool,
}

impl StreamedTransaction {
    /// A table is described differently now than when the transaction's changes were read.
    pub(super) fn update_catalog(&mut self, now: &CatalogTable, why: Option<ResetReason>) {
        let oid = now.table.oid;
        if let Some(seen) = self.block.relations.get_mut(&oid) {
            seen.update_catalog(now);
        }
        self.buffer.overflow_table(oid, why.unwrap_or(ResetReason::Schema));
    }
}

impl Assembler {
    /// Whether the next message is inside a block, where some messages begin with a transaction id.
    pub fn in_block(&self) -> bool {
        matches!(self.current, CurrentTransaction::Streamed(_))
    }

    /// Processes the next message of a block.
    pub fn push_streamed(
        &mut self,
        streamed: &Streamed<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), AssembleError> {
        let is_message = matches!(streamed.message, pgoutput::LogicalMessage::Logical(_));
        if let (CurrentTransaction::Streamed(block), Some(xid), false) =
            (&self.current, streamed.xid, is_message)
        {
            self.buffer.enter(block.xid, xid);
        }
        self.push(&streamed.message, out)
    }

    pub(super) fn stream_start(&mut self, start: StreamStart) -> Result<(), AssembleError> {
        if !matches!(self.current, CurrentTransaction::None) {
            return Err(out_of_place("Stream Start", "inside a transaction"));
        }
        let begun = self.streams.remove(&start.xid);
        let block = match begun {
            Some(begun) if !start.first_segment => {
                self.buffer = begun.buffer;
                begun.block
            }
            _ if start.first_segment => StreamBlock { xid: start.xid, ..StreamBlock::default() },
            _ => return Err(out_of_place("Stream Start", "without the transaction's beginning")),
        };
        self.current = CurrentTransaction::Streamed(block);
        Ok(())
    }

    pub(super) fn stream_stop(&mut self) -> Result<(), AssembleError> {
        match std::mem::take(&mut self.current) {
            CurrentTransaction::Streamed(block) => {
                let buffer =
                    std::mem::replace(&mut self.buffer, TransactionBuffer::new(self.limits));
                self.streams.insert(block.xid, StreamedTransaction { buffer, block });
                self.keep_streams_bounded();
                Ok(())
            }
            _ => Err(out_of_place("Stream Stop", "outside of a block")),
        }
    }

    /// Overflows the largest transactions until all together are within the limit.
    fn keep_streams_bounded(&mut self) {
        while self.streams.values().map(|open| open.buffer.bytes()).sum::<usize>()
            > self.limits.max_streamed_bytes
        {
            let candidates = self.streams.values_mut().filter(|open| !open.buffer.has_overflowed());
            let Some(largest) = candidates.max_by_key(|open| open.buffer.bytes()) else { return };
            tracing::info!(xid = %largest.block.xid, "uncommitted transactions exceed log.max_streamed_bytes; the largest will reset its tables");
            largest.buffer.overflow();
        }
    }

    pub(super) fn stream_abort(&mut self, abort: &StreamAbort) -> Result<(), AssembleError> {
        if !matches!(self.current, CurrentTransaction::None) {
            return Err(out_of_place("Stream Abort", "inside a transaction"));
        }
        if abort.is_whole_transaction() {
            self.streams.remove(&abort.xid);
        } else if let Some(open) = self.streams.get_mut(&abort.xid) {
            open.buffer.roll_back(abort.xid, abort.subxid);
        }
        Ok(())
    }

    pub(super) fn stream_commit(
        &mut self,
        commit: &StreamCommit,
        out: &mut Vec<Event>,
    ) -> Result<(), AssembleError> {
        if !matches!(self.current, CurrentTransaction::None) {
            return Err(out_of_place("Stream Commit", "inside a transaction"));
        }
        let Some(StreamedTransaction { buffer, block }) = self.streams.remove(&commit.xid) else {
            return Err(out_of_place("Stream Commit", "of a transaction that it did not send"));
        };
        self.buffer = buffer;
        self.needs_refresh |= block.needs_refresh;
        self.membership_changed |= block.membership_changed;
        self.pending_announcements.extend(block.announced.map(|tables| (commit.xid, tables)));
        for (oid, seen) in block.relations {
            self.share_relation(oid, seen);
        }
        self.publish(commit.xid, commit.end_lsn, commit.committed_at, out);
        Ok(())
    }

    /// A Relation message inside a block.
    pub(super) fn block_relation(&mut self, message: &pgoutput::Relation<'_>) {
        let oid = message.oid;
        let state = self.tables.get(&oid);
        let relation = match state {
            Some(state) => TrackedRelation::new(message, &state.catalog),
            None => TrackedRelation::unmatched(message),
        };
        let shared = state.and_then(|state| state.relation.as_ref());
        let seen = self.relation_seen(relation, shared.map(|seen| seen.relation.clone()));
        let CurrentTransaction::Streamed(block) = &mut self.current else { return };
        // Its effect on others is evaluated at the commit.
        if let Some(before) = block.relations.insert(oid, seen.clone()) {
            self.compare(oid, Some(&before.relation), &seen.relation);
        }
    }

    /// Shares a committed transaction's Relation message of a table, unless a newer one is known.
    fn share_relation(&mut self, oid: TableOid, seen: SeenRelation) {
        let Some(state) = self.tables.get_mut(&oid) else {
            self.keep_unknown_relation(oid, seen);
            return;
        };
        let before = state.relation.clone();
        if before.as_ref().is_none_or(|before| before.number < seen.number) {
            state.relation = Some(seen.clone());
        }
        self.compare(oid, before.as_ref().map(|before| &*before.relation), &seen.relation);
    }
}

fn out_of_place(message: &'static str, place: &'static str) -> AssembleError {
    AssembleError::OutOfPlace { message, place }
}
