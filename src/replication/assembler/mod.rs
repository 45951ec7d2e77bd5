//! Messages in, events out: a transaction at its commit, a watermark when nothing happened.
//!
//! Pure: no I/O, no clock. The catalog is looked at from outside, at its own time; each look says up
//! to which position it is true, and takes effect once the stream has passed that position.
//! Between a change of a table's definition and the look that shows it, the table's commits reset
//! it: ids are told only when we are certain how to read them.
//!
//! A table that joins the publication is reset, and once more when every transaction has ended that was
//! open when the look showed it: what such a transaction had written before is not sent at its commit.
//!
//! # Rows and definitions
//!
//! Rows of a table that holds rows are read by the columns of a look (its definition), and only while
//! the newest Relation message shows exactly those columns. A changed definition comes in two ways,
//! by a look and by a message, in either order:
//!
//! - *The look first.* It takes effect once the stream has passed its position, so every change after
//!   it is of the new definition. [`Event::Tables`] carries the new [`Table`](crate::table::Table) and
//!   resets it. The Relation message held is outdated: it is dropped, so that the next one, which the server sends
//!   before the table's next change, is compared with the look alone and resets nothing again.
//! - *The message first.* It doesn't show the columns of the look: the table's rows are told as lost
//!   and its commits reset it, until a look (wanted at once) shows the same columns. Then
//!   [`Event::Tables`] comes, and the message, which need not come again, is matched anew.
//! - *The message comes again as it was*, or another change of the definition showed the same columns
//!   (`ALTER TYPE … USING`): there is nothing to see, but something may have happened: a look is wanted,
//!   whose fingerprint tells.
//!
//! A look that shows the definition we know already (a column was added and dropped again) makes no
//! event, and nobody may wait for one: after [`RowChange::Lost`] rows are read again under the definition
//! held. Whoever finds the database's to be another ([`LoadError::Outdated`](crate::load::LoadError::Outdated))
//! wishes a look, and [`Event::Tables`] is then certain to come, unless the definition went back to what
//! it was: then the next load works.

mod announcements;
mod catalog_updates;
mod changes;
mod relation_tracker;
mod relations;
mod streams;

use std::collections::{HashMap, VecDeque};

use super::announcement::{Announcement, CatalogDelta};
use super::catalog::Catalog;
use super::row_layout::Scratch;
use super::transaction_buffer::{TransactionBuffer, TransactionLimits};
use crate::change::{CommitTime, Event, ResetReason, Started, Transaction};
use crate::history::TimelineHistory;
use crate::lsn::Lsn;
use crate::pgoutput::{Begin, Commit, LogicalMessage};
use crate::row::RowChange;
use crate::snapshot::Xid;
use crate::source::PostmasterId;
use crate::table::TableOid;
use relation_tracker::{SeenRelation, TrackedTable};

/// The stream did not follow the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A message came where the protocol has no place for it.
    #[error("the server sent {message} {place}, which the replication protocol does not allow")]
    OutOfPlace {
        /// The message's name.
        message: &'static str,
        /// Where it came.
        place: &'static str,
    },
    /// A message that is sent only on request, and was not requested.
    #[error("the server sent {0}, which was not asked for")]
    NotAskedFor(&'static str),
}

/// Assembles the stream of one slot. It outlives connections.
pub struct Assembler {
    tables: HashMap<TableOid, TrackedTable, hashbrown::DefaultHashBuilder>,
    /// Relation messages of this stream about tables that no look has shown yet.
    strangers: HashMap<TableOid, SeenRelation, hashbrown::DefaultHashBuilder>,
    /// Those of them that may have come and gone since the last look, and the position then.
    unexplained: HashMap<TableOid, Lsn>,
    /// How many Relation messages have come.
    said: u64,
    limits: TransactionLimits,
    /// Of what is arriving; else empty.
    stage: TransactionBuffer,
    scratch: Scratch,
    arriving: CurrentTransaction,
    /// Transactions that arrive in blocks, but for the one that is arriving.
    streams: streams::Open,
    /// Everything that ends at or before this has been handed out.
    position: Lsn,
    /// Looks not yet in effect, oldest first: the next to take effect, and the newest.
    looks: VecDeque<Catalog>,
    wants_look: bool,
    membership_changed: bool,
    /// Transactions that announced changed definitions, which no look in effect shows.
    unshown: Vec<(Xid, Vec<Announcement>)>,
    /// What looks have found and nobody has announced.
    found: CatalogDelta,
    /// What ends before this may have been told by an earlier run, which had not looked.
    looked_since: Lsn,
}

/// What the next message belongs to.
#[derive(Default)]
enum CurrentTransaction {
    /// No transaction.
    #[default]
    None,
    /// One that is committed and comes whole.
    Whole(Xid),
    /// A block of one that may still be rolled back.
    Streamed(streams::StreamBlock),
}

/// A look waits for its position while newer ones come in; two are enough, because each shows
/// everything the older ones did.
const PENDING_CATALOGS_MAX: usize = 2;

impl Assembler {
    /// Knows nothing yet: [`Assembler::start`] comes first.
    pub fn new(limits: TransactionLimits) -> Self {
        Self {
            tables: HashMap::default(),
            strangers: HashMap::default(),
            unexplained: HashMap::new(),
            said: 0,
            limits,
            stage: TransactionBuffer::new(limits),
            scratch: Scratch::default(),
            arriving: CurrentTransaction::None,
            streams: HashMap::default(),
            position: Lsn::ZERO,
            looks: VecDeque::new(),
            wants_look: false,
            membership_changed: false,
            unshown: Vec::new(),
            found: CatalogDelta::new(),
            looked_since: Lsn::ZERO,
        }
    }

    /// Everything that ends at or before this has been handed out.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Whether the catalog must be looked at again before ids can be told of some table. Asking
    /// takes the wish back.
    pub fn take_needs_refresh(&mut self) -> bool {
        std::mem::take(&mut self.wants_look)
    }

    /// Whether another set of tables or partitions is published since this was asked last, as far as it
    /// is in effect: what comes next is to be told of the new one.
    pub fn take_membership_changed(&mut self) -> bool {
        let is_in_effect = matches!(self.arriving, CurrentTransaction::None);
        is_in_effect && std::mem::take(&mut self.membership_changed)
    }

    /// A new stream, which continues nothing: everything after `from` will come.
    ///
    /// `look` is newer than `from`. A table about which anything changed within the last
    /// `uncertain_transactions`, that is perhaps after `from`, is reset once the stream has passed the look.
    pub fn start(
        &mut self,
        history: TimelineHistory,
        server: PostmasterId,
        from: Lsn,
        look: Catalog,
        uncertain_transactions: Option<i64>,
        broken: Option<ResetReason>,
    ) -> Event {
        self.position = from;
        self.unshown.clear();
        self.looked_since = look.seen_at;
        self.unexplained.clear();
        let before = std::mem::take(&mut self.tables);
        for table in &look.tables {
            let (oid, mut state) = (table.table.oid, TrackedTable::new(table.clone()));
            let fingerprint = state.fingerprint();
            let is_known = before.get(&oid).is_some_and(|known| known.fingerprint() == fingerprint);
            if !is_known && !before.is_empty() {
                // The old stream went on without it, and nothing of the new one tells where it was.
                self.found.insert(oid, fingerprint);
            }
            if uncertain_transactions.is_some_and(|since| table.changed_transactions_ago <= since) {
                // Differs from every real fingerprint, so the look below finds it changed.
                state.catalog.membership.clear();
            }
            self.tables.insert(oid, state);
        }
        self.restart_stream(look);
        Event::Started(Started { history, server, from, tables: self.published(), broken })
    }

    /// The stream goes on where it was, on a new connection.
    pub fn resume(
        &mut self,
        history: TimelineHistory,
        server: PostmasterId,
        look: Catalog,
    ) -> Event {
        self.restart_stream(look);
        Event::Started(Started {
            history,
            server,
            from: self.position,
            tables: self.published(),
            broken: None,
        })
    }

    fn restart_stream(&mut self, look: Catalog) {
        // Open transactions are sent again from their beginning.
        self.stage.take();
        self.arriving = CurrentTransaction::None;
        self.streams.clear();
        self.membership_changed = false;
        self.looks.clear();
        self.looks.push_back(look);
    }

    /// Takes a newer look at the catalog.
    pub fn update_catalog(&mut self, catalog: Catalog, out: &mut Vec<Event>) {
        self.looks.truncate(PENDING_CATALOGS_MAX - 1);
        self.looks.push_back(catalog);
        self.apply_catalogs(out);
    }

    /// The server says that everything up to `wal_end` has been sent.
    pub fn keepalive(&mut self, wal_end: Lsn, out: &mut Vec<Event>) {
        if matches!(self.arriving, CurrentTransaction::None) && wal_end > self.position {
            self.advance(wal_end, out);
            self.apply_catalogs(out);
        }
    }

    /// Takes the next message.
    pub fn push(
        &mut self,
        message: &LogicalMessage<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), AssembleError> {
        match message {
            LogicalMessage::Begin(begin) => self.begin(begin)?,
            LogicalMessage::Insert(insert) => self.insert(insert.oid, insert.new),
            LogicalMessage::Update(update) => self.update(update.oid, update.old, update.new),
            LogicalMessage::Delete(delete) => self.delete(delete.oid, delete.old),
            LogicalMessage::Commit(commit) => self.commit(commit, out)?,
            LogicalMessage::Relation(relation) => self.relation(relation),
            LogicalMessage::Truncate(truncate) => {
                truncate.oids().for_each(|oid| self.truncate(oid))
            }
            LogicalMessage::Logical(message) => self.receive_announcement(message),
            LogicalMessage::Type(_) | LogicalMessage::Origin(_) => {}
            LogicalMessage::StreamStart(start) => self.stream_start(*start)?,
            LogicalMessage::StreamStop => self.stream_stop()?,
            LogicalMessage::StreamAbort(abort) => self.stream_abort(abort)?,
            LogicalMessage::StreamCommit(commit) => self.stream_commit(commit, out)?,
            other => return Err(AssembleError::NotAskedFor(other.name())),
        }
        Ok(())
    }

    fn begin(&mut self, begin: &Begin) -> Result<(), AssembleError> {
        if !matches!(self.arriving, CurrentTransaction::None) {
            let place = "inside a transaction";
            return Err(AssembleError::OutOfPlace { message: "Begin", place });
        }
        self.arriving = CurrentTransaction::Whole(begin.xid);
        Ok(())
    }

    fn commit(&mut self, commit: &Commit, out: &mut Vec<Event>) -> Result<(), AssembleError> {
        let CurrentTransaction::Whole(xid) = self.arriving else {
            let place = "outside of a transaction";
            return Err(AssembleError::OutOfPlace { message: "Commit", place });
        };
        self.arriving = CurrentTransaction::None;
        self.publish(xid, commit.end_lsn, commit.committed_at, out);
        Ok(())
    }

    /// Hands out what is staged: the transaction is committed.
    fn publish(&mut self, xid: Xid, end_lsn: Lsn, committed_at: CommitTime, out: &mut Vec<Event>) {
        self.stage.finish();
        let (changes, resets, rows) = self.stage.take();
        // After a crash the server may send again what was confirmed.
        if end_lsn <= self.position {
            return;
        }
        if changes.is_empty() && resets.is_empty() && rows.is_empty() {
            self.advance(end_lsn, out);
        } else {
            self.position = end_lsn;
            out.push(Event::Commit(Transaction {
                end_lsn,
                committed_at,
                xid,
                changes,
                resets,
                rows,
            }));
        }
        self.apply_catalogs(out);
    }

    /// The catalog must be looked at; answers whether that was wished already. What a transaction has
    /// done is not to be seen there before it is committed.
    fn request_refresh(&mut self) -> bool {
        let wish = match &mut self.arriving {
            CurrentTransaction::Streamed(block) => &mut block.wants_look,
            _ => &mut self.wants_look,
        };
        std::mem::replace(wish, true)
    }

    /// The commit resets the table, and its rows are lost if it holds any.
    fn reset(&mut self, oid: TableOid, reason: ResetReason) {
        let Some(state) = self.tables.get(&oid) else { return };
        self.stage.reset(oid, reason);
        if state.holds_rows() {
            self.stage.lose_rows(oid);
        }
    }

    fn truncate(&mut self, oid: TableOid) {
        let Some(state) = self.tables.get(&oid) else {
            self.request_refresh();
            return;
        };
        self.stage.reset(oid, ResetReason::Truncate);
        if state.holds_rows() {
            self.stage.push_row(RowChange::Truncate(oid));
        }
    }

    /// The published roots of partitions.
    fn roots(&self) -> Vec<TableOid> {
        let roots = self.tables.iter().filter(|(_, state)| state.catalog.is_partitioned);
        roots.map(|(oid, _)| *oid).collect()
    }

    fn advance(&mut self, to: Lsn, out: &mut Vec<Event>) {
        self.position = to;
        match out.last_mut() {
            Some(Event::Watermark(last)) => *last = to,
            _ => out.push(Event::Watermark(to)),
        }
    }
}

#[cfg(test)]
mod tests;
