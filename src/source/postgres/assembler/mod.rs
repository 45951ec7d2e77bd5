//! Turns messages into events: a transaction at its commit, a watermark when nothing relevant
//! happened.
//!
//! Pure: no I/O, no clock. The catalog is read independently of the stream; each refresh carries
//! the position at which it was read, and takes effect once the stream has passed that position.
//! Between a change of a table's definition and the refresh that shows it, the table's commits
//! reset it: ids are reported only when it is certain how to read them.
//!
//! A table that joins the publication is reset, and once more when every transaction has ended that
//! was open in the refresh that showed it: what such a transaction had written before is not sent
//! at its commit.
//!
//! # Rows and definitions
//!
//! Rows of a table with cached rows are read by the columns of a refresh (its definition), and only
//! while the newest Relation message shows exactly those columns. A changed definition arrives in
//! two ways, by a refresh and by a message, in either order:
//!
//! - *The refresh first.* It takes effect once the stream has passed its position, so every later
//!   change has the new definition. [`Event::Tables`] carries the new
//!   [`Table`](crate::table::Table) and resets it. The Relation message kept is outdated: it is
//!   dropped, so that the next one, which the server sends before the table's next change, is
//!   compared with the refresh alone and resets nothing again.
//! - *The message first.* It doesn't show the columns of the refresh: the table's rows are
//!   invalidated and its commits reset it, until a refresh (requested at once) shows the same
//!   columns. Then [`Event::Tables`] follows, and the message, which may not be repeated, is
//!   matched again.
//! - *The message is repeated unchanged*, or another change of the definition showed the same
//!   columns (`ALTER TYPE … USING`): no difference is visible, but something may have happened: a
//!   refresh is requested, whose fingerprint decides.
//!
//! A refresh that shows the known definition (a column was added and dropped again) causes no
//! event, and nothing may wait for one: after [`RowChange::Invalidate`] rows are reloaded under the
//! known definition. A load that finds the database's definition to be another
//! ([`LoadError::Outdated`](crate::load::LoadError::Outdated)) requests a refresh, and
//! [`Event::Tables`] is then certain to follow, unless the definition went back to what it was:
//! then the next load succeeds.

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
use crate::source_status::PostmasterId;
use crate::table::TableOid;
use relation_tracker::{SeenRelation, TrackedTable};

/// The stream did not follow the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A message arrived where the protocol does not allow it.
    #[error("the server sent {message} {place}, which the replication protocol does not allow")]
    OutOfPlace {
        /// Name of the message.
        message: &'static str,
        /// Where it arrived.
        place: &'static str,
    },
    /// A message arrived that is sent only on request, and was not requested.
    #[error("the server sent {0}, which was not requested")]
    NotAskedFor(&'static str),
}

/// The assembler of one slot's stream. It outlives connections.
pub struct Assembler {
    tables: HashMap<TableOid, TrackedTable, hashbrown::DefaultHashBuilder>,
    /// Relation messages of this stream for tables that no refresh has shown yet.
    unknown_relations: HashMap<TableOid, SeenRelation, hashbrown::DefaultHashBuilder>,
    /// Of these, tables that may have come and gone since the last refresh, and the position of
    /// their message.
    unresolved_oids: HashMap<TableOid, Lsn>,
    /// Number of Relation messages received.
    relation_count: u64,
    limits: TransactionLimits,
    /// Of what is current; else empty.
    buffer: TransactionBuffer,
    scratch: Scratch,
    current: CurrentTransaction,
    /// Streamed transactions, except for the current one.
    streams: streams::Open,
    /// Everything that ends at or before this has been emitted.
    position: Lsn,
    /// Refreshes not yet in effect, oldest first: the next to take effect, and the newest.
    catalogs: VecDeque<Catalog>,
    needs_refresh: bool,
    membership_changed: bool,
    /// Transactions that announced changed definitions which no refresh in effect shows.
    pending_announcements: Vec<(Xid, Vec<Announcement>)>,
    /// Changes found by refreshes alone, to be announced.
    delta: CatalogDelta,
    /// Position of the refresh at the start. What ends before it may have been reported by an
    /// earlier process that had not refreshed.
    started_as_of: Lsn,
}

/// The transaction that the next message belongs to.
#[derive(Default)]
enum CurrentTransaction {
    /// No transaction.
    #[default]
    None,
    /// A committed transaction, sent whole.
    Whole(Xid),
    /// A block of a streamed transaction, which may still be rolled back.
    Streamed(streams::StreamBlock),
}

/// Bound of the refreshes that wait for their position: two are enough, because each shows
/// everything the older ones did.
const PENDING_CATALOGS_MAX: usize = 2;

impl Assembler {
    /// An assembler without tables: [`Assembler::start`] comes first.
    pub fn new(limits: TransactionLimits) -> Self {
        Self {
            tables: HashMap::default(),
            unknown_relations: HashMap::default(),
            unresolved_oids: HashMap::new(),
            relation_count: 0,
            limits,
            buffer: TransactionBuffer::new(limits),
            scratch: Scratch::default(),
            current: CurrentTransaction::None,
            streams: HashMap::default(),
            position: Lsn::ZERO,
            catalogs: VecDeque::new(),
            needs_refresh: false,
            membership_changed: false,
            pending_announcements: Vec::new(),
            delta: CatalogDelta::new(),
            started_as_of: Lsn::ZERO,
        }
    }

    /// The position up to which everything has been emitted.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Whether the catalog must be refreshed before ids of some table can be reported. Clears the
    /// request.
    pub fn take_needs_refresh(&mut self) -> bool {
        std::mem::take(&mut self.needs_refresh)
    }

    /// Whether the set of published tables or partitions has changed since the last call, as far as
    /// the change is in effect: what follows must be decoded with the new one.
    pub fn take_membership_changed(&mut self) -> bool {
        let is_in_effect = matches!(self.current, CurrentTransaction::None);
        is_in_effect && std::mem::take(&mut self.membership_changed)
    }

    /// Begins a new stream that continues nothing: everything after `from` will arrive.
    ///
    /// `catalog` is newer than `from`. A table of which anything changed within the last
    /// `uncertain_transactions`, that is possibly after `from`, is reset once the stream has passed
    /// the catalog's position.
    pub fn start(
        &mut self,
        history: TimelineHistory,
        server: PostmasterId,
        from: Lsn,
        catalog: Catalog,
        uncertain_transactions: Option<i64>,
        broken: Option<ResetReason>,
    ) -> Event {
        self.position = from;
        self.pending_announcements.clear();
        self.started_as_of = catalog.as_of;
        self.unresolved_oids.clear();
        let before = std::mem::take(&mut self.tables);
        for table in &catalog.tables {
            let (oid, mut state) = (table.table.oid, TrackedTable::new(table.clone()));
            let fingerprint = state.fingerprint();
            let is_known = before.get(&oid).is_some_and(|known| known.fingerprint() == fingerprint);
            if !is_known && !before.is_empty() {
                // The old stream continued without it, and the new one does not show at which
                // position it joined.
                self.delta.insert(oid, fingerprint);
            }
            if uncertain_transactions.is_some_and(|since| table.changed_transactions_ago <= since) {
                // Differs from every real fingerprint, so the refresh below finds it changed.
                state.catalog.membership.clear();
            }
            self.tables.insert(oid, state);
        }
        self.restart_stream(catalog);
        Event::Started(Started { history, server, from, tables: self.published(), broken })
    }

    /// Continues the stream where it was, on a new connection.
    pub fn resume(
        &mut self,
        history: TimelineHistory,
        server: PostmasterId,
        catalog: Catalog,
    ) -> Event {
        self.restart_stream(catalog);
        Event::Started(Started {
            history,
            server,
            from: self.position,
            tables: self.published(),
            broken: None,
        })
    }

    fn restart_stream(&mut self, catalog: Catalog) {
        // Open transactions are sent again from their beginning.
        self.buffer.take();
        self.current = CurrentTransaction::None;
        self.streams.clear();
        self.membership_changed = false;
        self.catalogs.clear();
        self.catalogs.push_back(catalog);
    }

    /// Accepts a newer refresh of the catalog.
    pub fn update_catalog(&mut self, catalog: Catalog, out: &mut Vec<Event>) {
        self.catalogs.truncate(PENDING_CATALOGS_MAX - 1);
        self.catalogs.push_back(catalog);
        self.apply_catalogs(out);
    }

    /// Everything up to `wal_end` has been sent by the server.
    pub fn keepalive(&mut self, wal_end: Lsn, out: &mut Vec<Event>) {
        if matches!(self.current, CurrentTransaction::None) && wal_end > self.position {
            self.advance(wal_end, out);
            self.apply_catalogs(out);
        }
    }

    /// Processes the next message.
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
                truncate.oids().for_each(|oid| self.truncate(oid));
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
        if !matches!(self.current, CurrentTransaction::None) {
            let place = "inside a transaction";
            return Err(AssembleError::OutOfPlace { message: "Begin", place });
        }
        self.current = CurrentTransaction::Whole(begin.xid);
        Ok(())
    }

    fn commit(&mut self, commit: &Commit, out: &mut Vec<Event>) -> Result<(), AssembleError> {
        let CurrentTransaction::Whole(xid) = self.current else {
            let place = "outside of a transaction";
            return Err(AssembleError::OutOfPlace { message: "Commit", place });
        };
        self.current = CurrentTransaction::None;
        self.publish(xid, commit.end_lsn, commit.committed_at, out);
        Ok(())
    }

    /// Emits the buffered transaction: it is committed.
    fn publish(&mut self, xid: Xid, end_lsn: Lsn, committed_at: CommitTime, out: &mut Vec<Event>) {
        self.buffer.finish();
        let (changes, resets, rows) = self.buffer.take();
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

    /// Requests a catalog refresh; returns whether one was requested already. The refresh for a
    /// streamed transaction waits for its commit, before which the catalog does not show its
    /// changes.
    fn request_refresh(&mut self) -> bool {
        let flag = match &mut self.current {
            CurrentTransaction::Streamed(block) => &mut block.needs_refresh,
            _ => &mut self.needs_refresh,
        };
        std::mem::replace(flag, true)
    }

    /// Resets the table at the commit, and invalidates its rows if they are cached.
    fn reset(&mut self, oid: TableOid, reason: ResetReason) {
        let Some(state) = self.tables.get(&oid) else { return };
        self.buffer.reset(oid, reason);
        if state.caches_rows() {
            self.buffer.invalidate_rows(oid);
        }
    }

    fn truncate(&mut self, oid: TableOid) {
        let Some(state) = self.tables.get(&oid) else {
            self.request_refresh();
            return;
        };
        self.buffer.reset(oid, ResetReason::Truncate);
        if state.caches_rows() {
            self.buffer.push_row(RowChange::Truncate(oid));
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
