//! Events: what a source delivers and the store applies. They are serialisable
//! ([`codec`](crate::codec)).

use serde::{Deserialize, Serialize};

use crate::history::TimelineHistory;
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::RowChange;
use crate::scope::ScopeValues;
use crate::snapshot::Xid;
use crate::source_status::PostmasterId;
use crate::table::{Table, TableOid};

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// The row did not exist before.
    Insert,
    /// The row existed before and exists after.
    Update,
    /// The row does not exist any more.
    Delete,
}

impl Op {
    /// The name used in responses and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One row's change inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// OID of the table.
    pub table: TableOid,
    /// Key of the row.
    pub key: Key,
    /// Kind of the change.
    pub op: Op,
    /// Ordinal of this change among the row changes of its commit, from 1, the same on every
    /// instance that reads the same publication. Rising, with gaps where changes were merged.
    pub ordinal: u32,
    /// Scope before and after the change; `None` for unscoped tables.
    pub scope: Option<Box<ScopeTransition>>,
}

/// The scope of a row before and after a change, on each side as far as the row existed; `before`
/// of an update only if it differs from `after`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeTransition {
    /// Values of all scope columns before the change.
    pub before: Option<ScopeValues>,
    /// Values of all scope columns after the change.
    pub after: Option<ScopeValues>,
}

impl ScopeTransition {
    /// Memory it occupies, in bytes.
    pub fn bytes(&self) -> usize {
        let values = self.before.iter().chain(&self.after).map(ScopeValues::heap_bytes);
        size_of::<Self>() + values.sum::<usize>()
    }
}

/// A commit's timestamp: microseconds since 2000-01-01 00:00 UTC, as in the replication protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommitTime(pub i64);

impl CommitTime {
    /// 2000-01-01 in Unix seconds.
    const POSTGRES_EPOCH_SECONDS: i64 = 946_684_800;

    /// The timestamp, unless it is out of range, as with a server clock that is badly wrong.
    pub fn to_timestamp(self) -> Option<jiff::Timestamp> {
        let unix = self.0.checked_add(Self::POSTGRES_EPOCH_SECONDS * 1_000_000)?;
        jiff::Timestamp::from_microsecond(unix).ok()
    }

    /// The commit time of a timestamp, in whole microseconds.
    pub fn from_timestamp(timestamp: jiff::Timestamp) -> Self {
        Self(timestamp.as_microsecond() - Self::POSTGRES_EPOCH_SECONDS * 1_000_000)
    }
}

/// Why a table's changes are not reported by id across some position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ResetReason {
    /// `TRUNCATE` named the table.
    Truncate,
    /// A commit changed more of its rows than `log.max_transaction_changes` (or their keys took
    /// more bytes than `log.max_transaction_bytes`).
    LargeTransaction,
    /// The table has no key that can be rendered; every change resets it.
    NoKey,
    /// A change's key was not in the stream.
    UnknownKey,
    /// Its columns, key or replica identity changed.
    Schema,
    /// It joined the publication, or left and joined again, or what is published of it changed.
    Membership,
    /// The slot could not continue where it stood.
    SlotLost,
    /// The stream belongs to another history (another cluster, timeline or database).
    NewHistory,
    /// An operator requested it (`POST /admin/reload`).
    Reload,
}

impl ResetReason {
    /// The label value in `highwater_resets_total`.
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

/// A table whose readers must read it in full again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// OID of the table.
    pub table: TableOid,
    /// Reason, as in `highwater_resets_total`.
    pub reason: ResetReason,
}

/// The effect of a committed transaction on the published tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// End of the commit record: the version of the commit.
    pub end_lsn: Lsn,
    /// Time of the commit by the server's clock.
    pub committed_at: CommitTime,
    /// Its top-level transaction id. Decides which loads contain it.
    pub xid: Xid,
    /// The row changes in stream order; none of a table in `resets`.
    pub changes: Vec<Change>,
    /// Tables whose changes are not reported by id.
    pub resets: Vec<Reset>,
    /// Changes to the rows of tables with cached rows, in stream order; also of tables in `resets`.
    pub rows: Vec<RowChange>,
}

/// The beginning of a stream, or its continuation on a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The history the stream belongs to.
    pub history: TimelineHistory,
    /// The server that sends the stream.
    pub server: PostmasterId,
    /// Everything that ends after this position will be sent.
    pub from: Lsn,
    /// Every published table.
    pub tables: Vec<Table>,
    /// Why nothing before `from` can be reported any more; `None` if the stream continues what the
    /// store already has, or is the first of the process.
    pub broken: Option<ResetReason>,
}

/// An event of the change stream, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A stream begins, or continues after a lost connection.
    Started(Started),
    /// A transaction committed.
    Commit(Transaction),
    /// Everything that ends at or before this position has been sent. The transactions since the
    /// last event did not change published tables.
    Watermark(Lsn),
    /// The set of published tables, or something about them, changed.
    Tables {
        /// Every published table from this position on.
        tables: Vec<Table>,
        /// Tables whose readers must start over. Their cached rows must be reloaded as well: a
        /// table may look the same and have missed changes.
        resets: Vec<Reset>,
    },
}

impl Event {
    /// The position that is reached once this event is applied.
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
