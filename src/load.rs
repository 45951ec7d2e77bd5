//! Reading rows from the database: the loader's interface, its results and errors.
//!
//! Every result states which transactions it contains ([`ReadPoint`]), so that a cache that follows the change
//! stream can join the two exactly, by visibility and not by timing.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::Row;
use crate::snapshot::Snapshot;
use crate::source_status::PostmasterId;
use crate::table::Table;

/// The point in the commit order at which rows were read: which transactions they contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPoint {
    /// The query's snapshot.
    pub snapshot: Snapshot,
    /// Upper bound of the visible commits: every commit that the snapshot sees ends at or before this position
    /// of the WAL, which was read after the snapshot was taken.
    pub visible_up_to: Lsn,
    /// The server that was queried. The rows can be joined only with the change stream of the same server.
    pub server: PostmasterId,
}

/// Rows read by key in one snapshot.
#[derive(Clone, Debug)]
pub struct LoadedRows {
    /// The point at which they were read.
    pub at: ReadPoint,
    /// One result for each requested key, in the order of the request. The error says why the row can't be
    /// rendered, and names it.
    pub rows: Vec<Result<LoadedRow, String>>,
}

/// The result for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedRow {
    /// The key as the database writes it. It differs from the requested one if that was another spelling of
    /// the same value (`007`, a UUID in capitals).
    pub key: Key,
    /// The row; `None` if it does not exist.
    pub row: Option<Row>,
}

/// The reason why a load failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The database is unreachable or overloaded; the load may be retried later.
    #[error("rows can't be read from the database now: {0}")]
    Unavailable(String),
    /// The table's definition differs from the last snapshot of the catalog: retry after the next refresh.
    #[error("the table's definition has just changed")]
    Outdated,
    /// The connection leads to another server, or another run of it, than the change stream does. It stays so
    /// until the change stream has moved there, too.
    #[error("{OTHER_SERVER}")]
    OtherServer,
    /// The key is not a value of the key's type. Returned only if a single key was requested.
    #[error("{0}")]
    BadKey(String),
    /// The database rejected the query, and would again; the text includes the remedy.
    #[error("{0}")]
    Refused(String),
    /// The receiver of the rows has stopped.
    #[error("no longer wanted")]
    Stopped,
}

const OTHER_SERVER: &str = "the connection leads to another server, or to another run of it, than the \
     one that the change stream follows (a failover, a restart, an old primary that still answers?)";

/// The receiver of a copy of a whole table.
pub trait CopySink: Send {
    /// Announces a copy: its read point, and an estimate of its number of rows. Returns whether to copy in
    /// this snapshot; if false, the loader tries another snapshot a little later.
    ///
    /// # Errors
    /// When a copy from this server, or any copy, is no longer needed; it ends the copy.
    fn begin(&mut self, at: &ReadPoint, rows_estimate: u64) -> Result<bool, LoadError>;

    /// Receives rows, in no particular order.
    ///
    /// # Errors
    /// [`LoadError::Stopped`] or a rejection; it ends the copy.
    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError>;
}

/// The source of rows for the caches: the database.
pub trait Loader: Send + Sync + 'static {
    /// Reads rows by key, all in one snapshot.
    ///
    /// A key that is not a value of its type is returned as absent, under the requested spelling, if there are
    /// other keys; a single such key is an error.
    fn load<'a>(
        &'a self,
        table: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>>;

    /// Reads a whole table in one snapshot.
    fn copy<'a>(
        &'a self,
        table: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>>;

    /// Closes pooled sessions that lead to `server`, because the change stream follows another one.
    fn leave(&self, server: PostmasterId) {
        let _ = server;
    }

    /// Takes a snapshot: which transactions are visible now.
    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>>;
}
