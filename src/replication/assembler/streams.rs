//! Transactions that arrive before they commit: in blocks, several of them in turns.
//!
//! Each has a stage of its own, and its own Relation messages: the server describes a table again to each
//! such transaction, and what one has altered is not so for the others. At its commit both become
//! everybody's; when it is rolled back, both are dropped.
//!
//! The server says of changes, relations and truncations which subtransaction they belong to, and so
//! which it takes back; a logical message names only its transaction. So messages don't tell that a
//! subtransaction has ended, and one that begins with a message may leave that behind: one look, or one
//! reset, too many.
//!
//! Between blocks no transaction is open in the sense of the watermark: whatever is still to be
//! committed ends after every position the server has reported.

use std::collections::HashMap;

use super::relation_tracker::SeenRelation;
use super::{AssembleError, Assembler, CurrentTransaction};
use crate::change::{Event, ResetReason};
use crate::pgoutput::{self, StreamAbort, StreamCommit, StreamStart, Streamed};
use crate::replication::announcement::Announcement;
use crate::replication::catalog::CatalogTable;
use crate::replication::relation::TrackedRelation;
use crate::replication::transaction_buffer::TransactionBuffer;
use crate::snapshot::Xid;
use crate::table::TableOid;

/// Transactions of which blocks have arrived, by top-level id.
pub(super) type Open = HashMap<Xid, StreamedTransaction, hashbrown::DefaultHashBuilder>;

/// A transaction between two of its blocks.
pub(super) struct StreamedTransaction {
    pub(super) stage: TransactionBuffer,
    pub(super) block: StreamBlock,
}

/// What a block's transaction has beside its stage.
#[derive(Default)]
pub(super) struct StreamBlock {
    pub(super) xid: Xid,
    /// The newest Relation message of each table in this transaction.
    pub(super) relations: HashMap<TableOid, SeenRelation, hashbrown::DefaultHashBuilder>,
    /// At its commit the catalog must be looked at: what it changed is not to be seen before.
    pub(super) wants_look: bool,
    /// The changed definitions it announced, if it did.
    pub(super) announced: Option<Vec<Announcement>>,
    /// It changed perhaps which tables or partitions are published.
    pub(super) membership_changed: bool,
}

impl StreamedTransaction {
    /// The catalog says something else of a table now than when the transaction's changes were read.
    pub(super) fn update_catalog(&mut self, now: &CatalogTable, why: Option<ResetReason>) {
        let oid = now.table.oid;
        if let Some(said) = self.block.relations.get_mut(&oid) {
            said.update_catalog(now);
        }
        self.stage.overflow_table(oid, why.unwrap_or(ResetReason::Schema));
    }
}

impl Assembler {
    /// Whether the next message is inside a block, where some messages begin with a transaction id.
    pub fn in_block(&self) -> bool {
        matches!(self.arriving, CurrentTransaction::Streamed(_))
    }

    /// Takes the next message of a block.
    pub fn push_streamed(
        &mut self,
        streamed: &Streamed<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), AssembleError> {
        let is_message = matches!(streamed.message, pgoutput::LogicalMessage::Logical(_));
        if let (CurrentTransaction::Streamed(block), Some(xid), false) =
            (&self.arriving, streamed.xid, is_message)
        {
            self.stage.enter(block.xid, xid);
        }
        self.push(&streamed.message, out)
    }

    pub(super) fn stream_start(&mut self, start: StreamStart) -> Result<(), AssembleError> {
        if !matches!(self.arriving, CurrentTransaction::None) {
            return Err(out_of_place("Stream Start", "inside a transaction"));
        }
        let begun = self.streams.remove(&start.xid);
        let block = match begun {
            Some(begun) if !start.first_segment => {
                self.stage = begun.stage;
                begun.block
            }
            _ if start.first_segment => StreamBlock { xid: start.xid, ..StreamBlock::default() },
            _ => return Err(out_of_place("Stream Start", "without the transaction's beginning")),
        };
        self.arriving = CurrentTransaction::Streamed(block);
        Ok(())
    }

    pub(super) fn stream_stop(&mut self) -> Result<(), AssembleError> {
        match std::mem::take(&mut self.arriving) {
            CurrentTransaction::Streamed(block) => {
                let stage = std::mem::replace(&mut self.stage, TransactionBuffer::new(self.limits));
                self.streams.insert(block.xid, StreamedTransaction { stage, block });
                self.keep_streams_bounded();
                Ok(())
            }
            _ => Err(out_of_place("Stream Stop", "outside of a block")),
        }
    }

    /// Gives up the largest transactions until all together have room.
    fn keep_streams_bounded(&mut self) {
        while self.streams.values().map(|open| open.stage.bytes()).sum::<usize>()
            > self.limits.max_streamed_bytes
        {
            let told = self.streams.values_mut().filter(|open| !open.stage.has_overflowed());
            let Some(largest) = told.max_by_key(|open| open.stage.bytes()) else { return };
            tracing::info!(xid = %largest.block.xid, "transactions that are not committed yet take more than log.max_streamed_bytes; the largest will reset its tables");
            largest.stage.overflow();
        }
    }

    pub(super) fn stream_abort(&mut self, abort: &StreamAbort) -> Result<(), AssembleError> {
        if !matches!(self.arriving, CurrentTransaction::None) {
            return Err(out_of_place("Stream Abort", "inside a transaction"));
        }
        if abort.is_whole_transaction() {
            self.streams.remove(&abort.xid);
        } else if let Some(open) = self.streams.get_mut(&abort.xid) {
            open.stage.roll_back(abort.xid, abort.subxid);
        }
        Ok(())
    }

    pub(super) fn stream_commit(
        &mut self,
        commit: &StreamCommit,
        out: &mut Vec<Event>,
    ) -> Result<(), AssembleError> {
        if !matches!(self.arriving, CurrentTransaction::None) {
            return Err(out_of_place("Stream Commit", "inside a transaction"));
        }
        let Some(StreamedTransaction { stage, block }) = self.streams.remove(&commit.xid) else {
            return Err(out_of_place("Stream Commit", "of a transaction that it did not send"));
        };
        self.stage = stage;
        self.wants_look |= block.wants_look;
        self.membership_changed |= block.membership_changed;
        self.unshown.extend(block.announced.map(|tables| (commit.xid, tables)));
        for (oid, said) in block.relations {
            self.share_relation(oid, said);
        }
        self.publish(commit.xid, commit.end_lsn, commit.committed_at, out);
        Ok(())
    }

    /// A Relation message inside a block.
    pub(super) fn relation_of_block(&mut self, message: &pgoutput::Relation<'_>) {
        let oid = message.oid;
        let state = self.tables.get(&oid);
        let relation = match state {
            Some(state) => TrackedRelation::new(message, &state.catalog),
            None => TrackedRelation::unmatched(message),
        };
        let shared = state.and_then(|state| state.relation.as_ref());
        let said = self.relation_seen(relation, shared.map(|said| said.relation.clone()));
        let CurrentTransaction::Streamed(block) = &mut self.arriving else { return };
        // What it means to others is seen at the commit.
        if let Some(before) = block.relations.insert(oid, said.clone()) {
            self.compare(oid, Some(&before.relation), &said.relation);
        }
    }

    /// What a committed transaction was told of a table is everybody's, unless something newer is.
    fn share_relation(&mut self, oid: TableOid, said: SeenRelation) {
        let Some(state) = self.tables.get_mut(&oid) else {
            self.keep_unknown_relation(oid, said);
            return;
        };
        let before = state.relation.clone();
        if before.as_ref().is_none_or(|before| before.number < said.number) {
            state.relation = Some(said.clone());
        }
        self.compare(oid, before.as_ref().map(|before| &*before.relation), &said.relation);
    }
}

fn out_of_place(message: &'static str, place: &'static str) -> AssembleError {
    AssembleError::OutOfPlace { message, place }
}
