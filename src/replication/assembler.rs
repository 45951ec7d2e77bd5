//! Messages in, events out: a transaction at its commit, a watermark when nothing happened.
//!
//! Pure: no I/O, no clock. The catalog is looked at from outside, at its own time; each look says up
//! to which position it is true, and takes effect once the stream has passed that position.
//! Between a change of a table's definition and the look that shows it, the table's commits reset
//! it: ids are told only when we are certain how to read them.

use std::collections::{HashMap, HashSet, VecDeque};

use super::catalog::{Catalog, CatalogTable};
use super::relation::Relation;
use super::staging::{Stage, StageLimits};
use crate::change::{Event, Op, Reset, ResetReason, Started, Transaction};
use crate::history::History;
use crate::lsn::Lsn;
use crate::pgoutput::{self, Commit, Message, OldTuple, Tuple};
use crate::snapshot::Xid;
use crate::table::{Table, TableOid, Tracking};

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
    tables: HashMap<TableOid, TableState, hashbrown::DefaultHashBuilder>,
    stage: Stage,
    in_transaction: bool,
    /// Everything that ends at or before this has been handed out.
    position: Lsn,
    /// Looks not yet in effect, oldest first: the next to take effect, and the newest.
    looks: VecDeque<Catalog>,
    wants_look: bool,
}

/// What is known of one published table.
struct TableState {
    catalog: CatalogTable,
    /// From the newest Relation message; `None` before the first.
    relation: Option<Relation>,
}

/// A look waits for its position while newer ones come in; two are enough, because each shows
/// everything the older ones did.
const LOOKS_MAX: usize = 2;

impl Assembler {
    /// Knows nothing yet: [`Assembler::start`] comes first.
    pub fn new(limits: StageLimits) -> Self {
        Self {
            tables: HashMap::default(),
            stage: Stage::new(limits),
            in_transaction: false,
            position: Lsn::ZERO,
            looks: VecDeque::new(),
            wants_look: false,
        }
    }

    /// Everything that ends at or before this has been handed out.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Whether a transaction's changes are arriving.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Whether the catalog must be looked at again before ids can be told of some table. Asking
    /// takes the wish back.
    pub fn take_wants_look(&mut self) -> bool {
        std::mem::take(&mut self.wants_look)
    }

    /// A new stream, which continues nothing: everything after `from` will come.
    ///
    /// `look` is newer than `from`. A table about which anything changed within the last
    /// `uncertain_transactions`, that is perhaps after `from`, is reset once the stream has passed the look.
    pub fn start(
        &mut self,
        history: History,
        from: Lsn,
        look: Catalog,
        uncertain_transactions: Option<i64>,
        broken: Option<ResetReason>,
    ) -> Event {
        self.position = from;
        self.tables.clear();
        for table in &look.tables {
            let mut catalog = table.clone();
            if uncertain_transactions.is_some_and(|since| table.changed_transactions_ago <= since) {
                // Differs from every real fingerprint, so the look below finds it changed.
                catalog.membership.clear();
            }
            self.tables.insert(table.table.oid, TableState { catalog, relation: None });
        }
        self.restart_stream(look);
        Event::Started(Started { history, from, tables: self.published(), broken })
    }

    /// The stream goes on where it was, on a new connection.
    pub fn resume(&mut self, history: History, look: Catalog) -> Event {
        self.restart_stream(look);
        Event::Started(Started {
            history,
            from: self.position,
            tables: self.published(),
            broken: None,
        })
    }

    fn restart_stream(&mut self, look: Catalog) {
        // An open transaction is sent again from its beginning.
        self.stage.take();
        self.in_transaction = false;
        self.looks.clear();
        self.looks.push_back(look);
    }

    /// Takes a newer look at the catalog.
    pub fn look(&mut self, catalog: Catalog, out: &mut Vec<Event>) {
        self.looks.truncate(LOOKS_MAX - 1);
        self.looks.push_back(catalog);
        self.apply_looks(out);
    }

    /// The server says that everything up to `wal_end` has been sent.
    pub fn keepalive(&mut self, wal_end: Lsn, out: &mut Vec<Event>) {
        if !self.in_transaction && wal_end > self.position {
            self.advance(wal_end, out);
            self.apply_looks(out);
        }
    }

    /// Takes the next message.
    pub fn push(
        &mut self,
        message: &Message<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), AssembleError> {
        match message {
            Message::Begin(_) => self.begin()?,
            Message::Insert(insert) => self.insert(insert.oid, insert.new),
            Message::Update(update) => self.update(update.oid, update.old, update.new),
            Message::Delete(delete) => self.delete(delete.oid, delete.old),
            Message::Commit(commit) => self.commit(commit, out)?,
            Message::Relation(relation) => self.relation(relation),
            Message::Truncate(truncate) => truncate.oids().for_each(|oid| self.truncate(oid)),
            Message::Type(_) | Message::Origin(_) | Message::Logical(_) => {}
            other => return Err(AssembleError::NotAskedFor(other.name())),
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), AssembleError> {
        if std::mem::replace(&mut self.in_transaction, true) {
            let place = "inside a transaction";
            return Err(AssembleError::OutOfPlace { message: "Begin", place });
        }
        Ok(())
    }

    fn commit(&mut self, commit: &Commit, out: &mut Vec<Event>) -> Result<(), AssembleError> {
        if !std::mem::take(&mut self.in_transaction) {
            let place = "outside of a transaction";
            return Err(AssembleError::OutOfPlace { message: "Commit", place });
        }
        self.stage.settle();
        let (changes, resets) = self.stage.take();
        // After a crash the server may send again what was confirmed.
        if commit.end_lsn <= self.position {
            return Ok(());
        }
        if changes.is_empty() && resets.is_empty() {
            self.advance(commit.end_lsn, out);
        } else {
            self.position = commit.end_lsn;
            out.push(Event::Commit(Transaction {
                end_lsn: commit.end_lsn,
                committed_at: commit.committed_at,
                xid: Xid(0),
                rows: vec![],
                changes,
                resets,
            }));
        }
        self.apply_looks(out);
        Ok(())
    }

    fn insert(&mut self, oid: TableOid, new: Tuple<'_>) {
        self.change(oid, |relation, stage| {
            stage.push(oid, Op::Insert, relation.key(new, None).ok()?);
            Some(())
        });
    }

    fn update(&mut self, oid: TableOid, old: Option<OldTuple<'_>>, new: Tuple<'_>) {
        let old = old.map(|old| old.tuple());
        self.change(oid, |relation, stage| {
            let key = relation.key(new, old).ok()?;
            let old_key = old.map(|old| relation.key(old, None)).transpose().ok()?;
            match old_key.filter(|old_key| *old_key != key) {
                None => stage.push(oid, Op::Update, key),
                Some(old_key) => stage.push_key_change(oid, old_key, key),
            }
            Some(())
        });
    }

    fn delete(&mut self, oid: TableOid, old: OldTuple<'_>) {
        self.change(oid, |relation, stage| {
            stage.push(oid, Op::Delete, relation.key(old.tuple(), None).ok()?);
            Some(())
        });
    }

    /// Stages a row's change by `tell`, or a reset of its table where no id can be told.
    fn change(&mut self, oid: TableOid, tell: impl FnOnce(&Relation, &mut Stage) -> Option<()>) {
        self.stage.next_row();
        let Some(state) = self.tables.get(&oid) else {
            // It joined after the last look. When the next one is in effect the table appears, and
            // everybody starts with a reset.
            if !std::mem::replace(&mut self.wants_look, true) {
                tracing::info!(
                    oid = oid.0,
                    "a table joined the publication; looking at the catalog"
                );
            }
            return;
        };
        if matches!(state.catalog.table.tracking, Tracking::ResetOnly(_)) {
            self.stage.reset(oid, ResetReason::NoKey);
            return;
        }
        let told = state.relation.as_ref().and_then(|relation| tell(relation, &mut self.stage));
        if told.is_none() {
            let known = state.relation.as_ref().is_some_and(Relation::is_known);
            self.wants_look |= !known;
            let reason = if known { ResetReason::UnknownKey } else { ResetReason::Schema };
            self.stage.reset(oid, reason);
        }
    }

    fn truncate(&mut self, oid: TableOid) {
        if self.tables.contains_key(&oid) {
            self.stage.reset(oid, ResetReason::Truncate);
        } else {
            self.wants_look = true;
        }
    }

    fn relation(&mut self, message: &pgoutput::Relation<'_>) {
        let Some(state) = self.tables.get_mut(&message.oid) else {
            // A leaf that is told as its root, or a table that has just joined: if a change of it
            // comes, the catalog is looked at.
            return;
        };
        let relation = Relation::new(message, &state.catalog);
        let tracked = state.catalog.table.tracking == Tracking::Ids;
        self.wants_look |= tracked && !relation.is_known();
        if state.relation.as_ref().is_some_and(|before| !before.same_columns(&relation)) {
            // Rows look different although no row changed.
            self.wants_look = true;
            self.stage.reset(message.oid, ResetReason::Schema);
        }
        state.relation = Some(relation);
    }

    fn advance(&mut self, to: Lsn, out: &mut Vec<Event>) {
        self.position = to;
        match out.last_mut() {
            Some(Event::Watermark(last)) => *last = to,
            _ => out.push(Event::Watermark(to)),
        }
    }

    /// Puts into effect the looks that the stream has passed.
    fn apply_looks(&mut self, out: &mut Vec<Event>) {
        while !self.in_transaction
            && let Some(look) = self.looks.pop_front_if(|look| look.seen_at <= self.position)
        {
            let names_before = self.published();
            let resets = self.adopt(look);
            let tables = self.published();
            if !resets.is_empty() || tables != names_before {
                out.push(Event::Tables { tables, resets });
            }
        }
    }

    /// Replaces the known tables by those of a look; answers with those whose readers start again.
    fn adopt(&mut self, look: Catalog) -> Vec<Reset> {
        let mut resets = Vec::new();
        let published: HashSet<TableOid> = look.tables.iter().map(|t| t.table.oid).collect();
        self.tables.retain(|oid, _| published.contains(oid));
        for catalog in look.tables {
            let oid = catalog.table.oid;
            let Some(state) = self.tables.get_mut(&oid) else {
                resets.push(Reset { table: oid, reason: ResetReason::Membership });
                self.tables.insert(oid, TableState { catalog, relation: None });
                continue;
            };
            if let Some(reason) = difference(&state.catalog, &catalog) {
                resets.push(Reset { table: oid, reason });
            }
            if state.catalog.key != catalog.key
                && let Some(relation) = &mut state.relation
            {
                relation.look_again(&catalog);
            }
            state.catalog = catalog;
        }
        resets
    }

    fn published(&self) -> Vec<Table> {
        let mut tables: Vec<Table> =
            self.tables.values().map(|state| state.catalog.table.clone()).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables
    }
}

fn difference(before: &CatalogTable, now: &CatalogTable) -> Option<ResetReason> {
    if before.membership != now.membership {
        Some(ResetReason::Membership)
    } else if before.definition != now.definition {
        Some(ResetReason::Schema)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
