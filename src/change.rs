//! What the change stream says, once assembled: the only words that replication and store share.

use crate::history::TimelineHistory;
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::RowChange;
use crate::scope::ScopeValues;
use crate::snapshot::Xid;
use crate::source::PostmasterId;
use crate::table::{Table, TableOid};

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The row came to exist.
    Insert,
    /// The row existed and exists.
    Update,
    /// The row is gone.
    Delete,
}

impl Op {
    /// The word used in answers and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One row's change inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table, by OID.
    pub table: TableOid,
    /// The row.
    pub key: Key,
    /// What happened to it.
    pub op: Op,
    /// The place of this change among the row changes of its commit, from 1, the same on every
    /// instance that reads the same publication. Rising, with gaps where changes were merged.
    pub ordinal: u32,
    /// In whose sight, where the table has scope columns.
    pub scope: Option<Box<ScopeTransition>>,
}

/// The scopes a row was in before and after a change: as far as it existed, and the one before an
/// update only where it is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeTransition {
    /// The values of all its scope columns before.
    pub before: Option<ScopeValues>,
    /// The values after.
    pub after: Option<ScopeValues>,
}

impl ScopeTransition {
    /// Bytes it occupies.
    pub fn bytes(&self) -> usize {
        let values = self.before.iter().chain(&self.after).map(ScopeValues::heap_bytes);
        size_of::<Self>() + values.sum::<usize>()
    }
}

/// Microseconds since 2000-01-01 00:00 UTC, as the protocol carries times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitTime(pub i64);

impl CommitTime {
    /// 2000-01-01 in Unix seconds.
    const POSTGRES_EPOCH_SECONDS: i64 = 946_684_800;

    /// The same moment as a timestamp; out of range only for a nonsensical server clock.
    pub fn to_timestamp(self) -> Option<jiff::Timestamp> {
        let unix = self.0.checked_add(Self::POSTGRES_EPOCH_SECONDS * 1_000_000)?;
        jiff::Timestamp::from_microsecond(unix).ok()
    }

    /// The moment a timestamp names.
    pub fn from_timestamp(timestamp: jiff::Timestamp) -> Self {
        Self(timestamp.as_microsecond() - Self::POSTGRES_EPOCH_SECONDS * 1_000_000)
    }
}

/// Why a table's changes can't be told by id across some position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// `TRUNCATE` named the table.
    Truncate,
    /// A commit touched more rows of it than `log.max_transaction_changes` (or their keys more
    /// bytes than `log.max_transaction_bytes`).
    LargeTransaction,
    /// The table has no key that can be told; any change resets it.
    NoKey,
    /// A change's key was not in the stream.
    UnknownKey,
    /// Its columns, key or replica identity changed.
    Schema,
    /// It joined the publication, or left and joined again, or what is published of it changed.
    Membership,
    /// The slot could not continue where it stood.
    SlotLost,
    /// The stream belongs to another history (other cluster, timeline or database).
    NewHistory,
    /// Somebody asked for it (`POST /admin/reload`).
    Reload,
}

impl ResetReason {
    /// The label of `highwater_resets_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truncate => "truncate",
            Self::LargeTransaction => "large_transaction",
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::Schema => "schema",
            Self::Membership => "membership",
            Self::SlotLost => "slot_lost",
            Self::NewHistory => "new_history",
            Self::Reload => "reload",
        }
    }
}

/// A table whose readers must read it again in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The table, by OID.
    pub table: TableOid,
    /// Why.
    pub reason: ResetReason,
}

/// A committed transaction's effect on the published tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// End of the commit record: the version of the commit.
    pub end_lsn: Lsn,
    /// When it was committed, by the server's clock.
    pub committed_at: CommitTime,
    /// Its top-level transaction id: tells which loads contain it.
    pub xid: Xid,
    /// The row changes in stream order; none of a table in `resets`.
    pub changes: Vec<Change>,
    /// Tables whose changes are not told by id.
    pub resets: Vec<Reset>,
    /// What it did to the rows of tables that hold rows, in stream order; also of tables in `resets`.
    pub rows: Vec<RowChange>,
}

/// A stream begins, or begins again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The history it belongs to.
    pub history: TimelineHistory,
    /// The server that sends it.
    pub server: PostmasterId,
    /// Everything that ends after this position will be sent.
    pub from: Lsn,
    /// Every published table now.
    pub tables: Vec<Table>,
    /// Why nothing before `from` can be told any more; `None` when the stream continues what
    /// the store already holds (or when this is the first start of the process).
    pub broken: Option<ResetReason>,
}

/// What flows from replication to the store, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The stream begins, or begins again after a connection was lost.
    Started(Started),
    /// A transaction committed.
    Commit(Transaction),
    /// Everything that ends at or before this position has been sent, although nothing of it
    /// concerned the published tables.
    Watermark(Lsn),
    /// The set of published tables, or something about them, changed.
    Tables {
        /// Every published table from here on.
        tables: Vec<Table>,
        /// Those whose readers must start again. Rows held of them must be read again, too: the
        /// table may look the same and have missed changes.
        resets: Vec<Reset>,
    },
}

impl Event {
    /// Up to where everything has been told once this event has.
    pub fn reaches(&self) -> Option<Lsn> {
        match self {
            Self::Started(started) => Some(started.from),
            Self::Commit(transaction) => Some(transaction.end_lsn),
            Self::Watermark(lsn) => Some(*lsn),
            Self::Tables { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_the_year_2000() {
        let shown = CommitTime(1).to_timestamp().map(|t| t.to_string());
        assert_eq!(shown.as_deref(), Some("2000-01-01T00:00:00.000001Z"));
        assert_eq!(CommitTime(i64::MAX).to_timestamp(), None);
        let now = jiff::Timestamp::UNIX_EPOCH;
        assert_eq!(CommitTime::from_timestamp(now).to_timestamp(), Some(now));
    }
}
