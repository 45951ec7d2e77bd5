//! Rows in memory: those that were asked for, or all of a table.
//!
//! # What always holds
//!
//! * **Which changes a loaded row contains is decided by visibility, never by timing.** A row comes
//!   with the snapshot it was read in, a change with its transaction. From the moment a row is
//!   asked for, the changes to it are kept ([`chain`]); when it comes, those that its snapshot does
//!   not see are applied to it and the others skipped.
//! * **A row is never older than what has been applied.** A commit that was applied before a row
//!   was asked for may not be visible to the query yet; so the query has to see the recent commits
//!   that may have touched the row, or is made again ([`recent`]).
//! * **What is told at one version is exactly so.** A row whose snapshot is ahead of what has been
//!   applied is kept aside until that has caught up ([`desk`]); one row may be served from there,
//!   several rows at one version wait.
//! * **No row goes back in time.** What is kept aside is asked first, and skips what it contains
//!   already. A row that left memory is read again in a later snapshot, and what one snapshot sees
//!   every later one does.
//! * **No row outlives a change of history.** A query sees commits before the stream tells of them,
//!   so any row may hold one that was lost with the old server: all are asked for again, even where
//!   the logs go on (see [`History`](crate::history::History)).
//! * **What is read comes from the server that is followed**, in the same run of it. Another one may
//!   answer for a while: an old primary that nobody stopped, the new one before the stream is there.
//!   Who reads is told which server it was, and it counts only if that is the stream's
//!   ([`ServerRun`](crate::source::ServerRun)).
//! * **No row outlives a crash that took it back.** With `synchronous_commit = off` a query sees commits
//!   that are not durable yet. The stream tells only what is; so rows go home when it has passed what
//!   their query could see, and when the connection was lost all others are asked for again.
//! * **All this can be seen to hold.** Rows in memory are compared with the database by the same rule
//!   ([`check`]).
//! * **Where it is not known what stands under a key, the database is asked**: a value that was not
//!   sent, a row that can't be rendered, a table whose definition changed.
//!
//! # Locks
//!
//! The writer changes everything under the lock of the whole state. Readers and workers, who hold
//! it shared, take a table's desk, or its copy, then the queue of [`loads`], in this order. Rows of
//! the [`cache`] are found without any lock.
//!
//! # Where things are
//!
//! `table` the rows of one table; `cache` those that are read through, `preload`, `map` and `copy`
//! those of whole tables; `desk` and `ticket` what is on its way, `loads` and `worker` who asks for it,
//! `preloader` who copies, `check` who compares; `read`, `batch` and `whole` the readers' side; `status`
//! and `trace` what operators see.

mod cache;
mod consistency;
mod load_queue;
mod load_state;
mod load_waiter;
mod map;
mod pending;
mod pending_changes;
mod preload;
mod preloader;
mod read_all;
mod read_many;
mod read_one;
mod recent_commits;
mod status;
mod table;
mod table_copy;
mod trace;
mod worker;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod model;
#[cfg(test)]
mod races;
#[cfg(test)]
mod staged;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::directory::Resource;
use super::meters::RowRequestCounts;
use crate::key::Key;
use crate::row::Row;
use crate::version::Version;

pub(super) use cache::RowCache;
pub(super) use consistency::Verifications;
pub use consistency::{ConsistencyChecker, Mismatch, TableVerification};
pub(super) use load_queue::LoadQueue;
pub use preloader::Preloader;
pub(super) use table::{ApplyContext, DeferredDrop, TableRows};
pub use worker::LoadWorker;

use map::RowMap;

/// Where a row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrigin {
    /// It was in memory.
    Memory,
    /// It was asked of the database for this reader, or for another one who asked a little before.
    Database,
}

/// One row.
#[derive(Clone, Debug)]
pub struct ReadRow {
    /// The row is at least as new as this.
    pub version: Version,
    /// Its document; `None` when there is no such row.
    pub row: Option<Row>,
    /// Where it came from.
    pub origin: RowOrigin,
}

/// Several rows at one version.
#[derive(Clone, Debug)]
pub struct ReadRows {
    /// All rows are exactly as they were at this version.
    pub version: Version,
    /// The documents in the order asked; `None` when there is no such row.
    pub rows: Vec<Option<Row>>,
    /// [`RowOrigin::Memory`] when all of them were there.
    pub origin: RowOrigin,
}

/// Some rows of a preloaded table, in key order.
#[derive(Clone, Debug)]
pub struct Page {
    /// The rows are exactly as they were at this version.
    pub version: Version,
    /// The newest change to the table, or reset of it.
    pub newest: Version,
    /// The rows.
    pub rows: Vec<(Key, Row)>,
    /// Whether rows follow.
    pub more: bool,
}

/// All rows of some preloaded tables at one version. Cheap: nothing is copied.
#[derive(Clone, Debug)]
pub struct StoreImage {
    /// All rows are exactly as they were at this version.
    pub version: Version,
    /// The newest change to any of these tables, or reset of one.
    pub newest: Version,
    /// The tables, as asked.
    pub tables: Vec<(Arc<Resource>, TableImage)>,
}

/// All rows of one preloaded table as they were at one moment.
#[derive(Clone, Debug)]
pub struct TableImage(ImagedTable);

#[derive(Clone, Debug)]
enum ImagedTable {
    All(RowMap),
    /// Those that are seen by who asked, in key order.
    Some(Vec<(Key, Row)>),
}

impl TableImage {
    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            ImagedTable::All(rows) => rows.len(),
            ImagedTable::Some(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows behind `after` in key order, or all of them.
    pub fn after(&self, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Row)> {
        let (all, some) = match &self.0 {
            ImagedTable::All(rows) => (Some(rows.after(after)), None),
            ImagedTable::Some(rows) => {
                let begin = rows.partition_point(|(key, _)| after.is_some_and(|last| key <= last));
                (None, rows.get(begin..))
            }
        };
        let some = some.into_iter().flatten().map(|(key, row)| (key, row));
        all.into_iter().flatten().chain(some)
    }
}

/// Why rows can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// The table's rows are not held.
    #[error("the rows of {0} are not held in memory")]
    NotCached(String),
    /// The table is read through, so not all rows are in memory.
    #[error("the rows of {0} are held lazily, not preloaded")]
    NotPreloaded(String),
    /// They should be held and can't; the reason and remedy.
    #[error("the rows of {table} can't be held in memory: {reason}")]
    Unavailable {
        /// The table's displayed name.
        table: String,
        /// Why, and what mends it.
        reason: String,
    },
    /// One row can't be told, because the database refuses to write it as JSON; which, and what mends it.
    #[error("{0}")]
    Unencodable(String),
    /// The key is no value of its type.
    #[error("{0}")]
    BadKey(String),
    /// Not in memory, and the database can't be asked, or didn't answer in time; or the table is
    /// still being loaded.
    #[error("{0}")]
    TemporarilyUnavailable(String),
}

impl RowsError {
    /// Whether it says something of one row and nothing of others.
    fn is_of_one_row(&self) -> bool {
        matches!(self, Self::Unencodable(_))
    }
}

/// How the rows of a table are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsStatus {
    /// The table's displayed name.
    pub table: String,
    /// What they are doing.
    pub state: RowsState,
    /// Rows in memory (absent ones that are remembered included).
    pub entries: usize,
    /// Their memory in bytes.
    pub bytes: usize,
    /// Requests for them.
    pub requests: RowRequestCounts,
}

/// What the rows of a table are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsState {
    /// They are not held.
    Disabled,
    /// They are read through.
    Lazy,
    /// A preload is on its way: rows copied, and about how many there are.
    Loading {
        /// Copied so far.
        rows: u64,
        /// About so many there are.
        estimate: u64,
    },
    /// All of them are in memory.
    Complete,
    /// They can't be held; why, and what mends it.
    Unavailable(String),
}
