//! Cached rows: those that were requested, or all of a table.
//!
//! # Invariants
//!
//! * **Visibility, never timing, decides which changes a loaded row contains.** A row comes with
//!   the snapshot it was read in, a change with its transaction. From the moment a row is requested
//!   the changes to it are kept ([`PendingChanges`]); when it comes, those that its snapshot does
//!   not see are applied to it and the others skipped.
//! * **A row is never older than what has been applied.** A commit that was applied before a row
//!   was requested may not be visible to the query yet; so the query has to see the recent commits
//!   that may have changed the row, or is made again ([`RequiredXids`]).
//! * **Rows reported at one version are exactly those of that version.** A row whose snapshot is
//!   ahead of what has been applied is held back until that has caught up ([`PendingLoads`]); one
//!   row may be served from there, several rows at one version wait.
//! * **No row goes back in time.** Rows held back are looked up first, and skip the changes they
//!   contain already. A row that left memory is read again in a later snapshot, and what one
//!   snapshot sees every later one does.
//! * **No row outlives a change of history.** A query sees commits before the stream delivers them,
//!   so any row may hold one that was lost with the old server: all are loaded again, even where
//!   the logs continue (see [`TimelineHistory`]).
//! * **Rows come from the server whose changes are followed**, in the same run of it. Another one
//!   may answer for some time: an old primary that was not stopped, the new one before the stream
//!   gets there. Every result names its server, and it counts only if that is the stream's
//!   ([`PostmasterId`]).
//! * **No row outlives a crash that took it back.** With `synchronous_commit = off` a query sees
//!   commits that are not durable yet. The stream delivers only durable ones; so rows are admitted
//!   when it has passed what their query could see, and when the connection was lost all others are
//!   loaded again.
//! * **All this is checked.** Cached rows are compared with the database by the same rule
//!   ([`consistency`]).
//! * **Where the row under a key is unknown, the database is queried**: a value that was not sent, a
//!   row that can't be rendered, a table whose definition changed.
//!
//! # Layout
//!
//! [`cache`] joins loads with changes, for values of any type; `cached_row` makes rows such values.
//! `table_rows` is one table; `preload`, `row_map`, `table_copy` and `preloader` are whole tables in
//! memory; `load_worker` runs the queries; `read_one`, `read_many` and `read_all` are the readers'
//! side, with `access` below them; `status` and `trace` are for operators.
//!
//! [`cache`]: super::cache
//! [`consistency`]: super::consistency
//! [`PendingChanges`]: super::cache::PendingChanges
//! [`PendingLoads`]: super::cache::PendingLoads
//! [`PostmasterId`]: crate::source_status::PostmasterId
//! [`RequiredXids`]: super::cache::RequiredXids
//! [`TimelineHistory`]: crate::history::TimelineHistory

mod access;
mod cached_row;
mod load_worker;
mod preload;
mod preloader;
mod read_all;
mod read_many;
mod read_one;
mod row_map;
mod status;
mod table_copy;
mod table_rows;
mod trace;

use std::sync::Arc;

use super::cache::{LoadQueue, LoadWaiter, SharedCache};
use super::directory::Resource;
use super::metrics::RowRequestCounts;
use crate::key::Key;
use crate::row::Row;
use crate::table::TableOid;
use crate::version::Version;

pub use load_worker::LoadWorker;
pub use preloader::Preloader;
pub(super) use read_one::required_xids;
pub(super) use table_rows::{ApplyContext, DeferredDrop, RowStorage, TableRows};

use row_map::RowMap;

/// The cached rows of all lazy tables.
pub(super) type RowCache = SharedCache<Key, Row>;
/// The rows that wait to be loaded.
pub(super) type RowQueue = LoadQueue<TableOid, Key>;
/// A reader's wait for a row.
type RowWaiter = LoadWaiter<Key, Row>;

/// The source of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrigin {
    /// It was in memory when it was requested.
    Memory,
    /// It was loaded for this request, or for another one shortly before.
    Database,
}

/// One row, as new as it is known.
#[derive(Clone, Debug)]
pub struct ReadRow {
    /// The row is at least as new as this.
    pub version: Version,
    /// The document; `None` when there is no such row.
    pub row: Option<Row>,
    /// Memory or database.
    pub origin: RowOrigin,
}

/// Several rows at one version.
#[derive(Clone, Debug)]
pub struct ReadRows {
    /// All rows are exactly as they were at this version.
    pub version: Version,
    /// The documents in the order requested; `None` when there is no such row.
    pub rows: Vec<Option<Row>>,
    /// [`RowOrigin::Memory`] when all of them were in memory.
    pub origin: RowOrigin,
}

/// A page of the rows of a preloaded table, in key order.
#[derive(Clone, Debug)]
pub struct Page {
    /// The rows are exactly as they were at this version.
    pub version: Version,
    /// The newest change to the table, or reset of it.
    pub newest: Version,
    /// At most as many as requested.
    pub rows: Vec<(Key, Row)>,
    /// Whether rows follow after the last one.
    pub more: bool,
}

/// All rows of some preloaded tables at one version. Cheap: shares the rows with the store.
#[derive(Clone, Debug)]
pub struct StoreImage {
    /// All rows are exactly as they were at this version.
    pub version: Version,
    /// The newest change to any of these tables, or reset of one.
    pub newest: Version,
    /// The tables in the order requested, each with its rows.
    pub tables: Vec<(Arc<Resource>, TableImage)>,
}

/// The rows in scope of one preloaded table, immutable.
#[derive(Clone, Debug)]
pub struct TableImage(ImagedTable);

#[derive(Clone, Debug)]
enum ImagedTable {
    All(RowMap),
    /// Those in the caller's scope, in key order.
    Scoped(Vec<(Key, Row)>),
}

impl TableImage {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.0 {
            ImagedTable::All(rows) => rows.len(),
            ImagedTable::Scoped(rows) => rows.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows after `after` in key order, or all of them.
    pub fn after(&self, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Row)> {
        let (all, scoped) = match &self.0 {
            ImagedTable::All(rows) => (Some(rows.after(after)), None),
            ImagedTable::Scoped(rows) => {
                let begin = rows.partition_point(|(key, _)| after.is_some_and(|last| key <= last));
                (None, rows.get(begin..))
            }
        };
        let scoped = scoped.into_iter().flatten().map(|(key, row)| (key, row));
        all.into_iter().flatten().chain(scoped)
    }
}

/// The reason why rows can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// The table's rows are not cached.
    #[error("the rows of {0} are not cached")]
    NotCached(String),
    /// The table is cached lazily, so not all rows are in memory.
    #[error("the rows of {0} are cached lazily, not preloaded")]
    NotPreloaded(String),
    /// They are configured to be cached and can't be.
    #[error("the rows of {table} can't be cached: {reason}")]
    Unavailable {
        /// The table's displayed name.
        table: String,
        /// The reason and remedy.
        reason: String,
    },
    /// The database refuses to write one row as JSON; which one, why, and the remedy.
    #[error("{0}")]
    Unencodable(String),
    /// The key does not parse as its type.
    #[error("{0}")]
    BadKey(String),
    /// The row is not in memory and the database is unavailable or did not answer in time, or the
    /// table is still being loaded.
    #[error("{0}")]
    TemporarilyUnavailable(String),
}

/// The state of one table's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsStatus {
    /// The table's displayed name.
    pub table: String,
    /// How they are cached, and how far loading them is.
    pub state: RowsState,
    /// Number of rows in memory, cached absent ones included.
    pub entries: usize,
    /// Memory of the rows, in bytes.
    pub bytes: usize,
    /// Requests for them since the process started.
    pub requests: RowRequestCounts,
}

/// How a table's rows are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsState {
    /// Not at all.
    Disabled,
    /// Each from its first request on.
    Lazy,
    /// All of them, once the running copy is finished.
    Loading {
        /// Rows copied so far.
        rows: u64,
        /// The server's estimate of all rows.
        estimate: u64,
    },
    /// All of them.
    Complete,
    /// They can't be cached; the reason and remedy.
    Unavailable(String),
}
