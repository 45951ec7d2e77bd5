//! Rows asked of the database: what is asked, what comes back, why it may not.
//!
//! Every answer says which transactions it contains ([`ReadPoint`]), so that whoever follows the
//! change stream can put the two together exactly, by visibility and not by timing.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::Row;
use crate::snapshot::Snapshot;
use crate::source_status::PostmasterId;
use crate::table::Table;

/// What a load contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPoint {
    /// The snapshot in which it read.
    pub snapshot: Snapshot,
    /// Every commit that the snapshot sees ends at or before this position of the WAL, which was
    /// read after the snapshot was taken.
    pub visible_up_to: Lsn,
    /// The server that was asked. It says nothing of the rows unless the change stream is its own.
    pub server: PostmasterId,
}

/// Some rows, by key, read in one snapshot.
#[derive(Clone, Debug)]
pub struct LoadedRows {
    /// What they contain.
    pub at: ReadPoint,
    /// One for each key asked for, in the order asked; or why the row can't be told, which names it.
    pub rows: Vec<Result<LoadedRow, String>>,
}

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedRow {
    /// The key as the database writes it: differs from the one asked for when that was spelled in
    /// another way that means the same (`007`, a UUID in capitals).
    pub key: Key,
    /// The row; `None` when there is none.
    pub row: Option<Row>,
}

/// Why there are no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The database can't be asked now; waiting may help.
    #[error("the database can't be asked for rows now: {0}")]
    Unavailable(String),
    /// The table isn't defined any more as the catalog was last seen: ask again after the next look.
    #[error("the table's definition has just changed")]
    Outdated,
    /// Another server answered, or another run of it, than the one whose changes are followed: so it is
    /// until the change stream is there, too.
    #[error("{OTHER_SERVER}")]
    OtherServer,
    /// The key asked for is no value of the key's type. Only when one key was asked for.
    #[error("{0}")]
    BadKey(String),
    /// The database refused, and will refuse again; the text says what mends it.
    #[error("{0}")]
    Refused(String),
    /// Whoever receives the rows wants no more.
    #[error("no longer wanted")]
    Stopped,
}

const OTHER_SERVER: &str = "the connection leads to another server, or to another run of it, than the \
     one that the change stream follows (a failover, a restart, an old primary that still answers?)";

/// Who receives a copy of a whole table.
pub trait CopySink: Send {
    /// The copy can begin: what it will contain, and about how many rows. Answers whether it is
    /// wanted at this snapshot; if not, another snapshot is tried a little later.
    ///
    /// # Errors
    /// It is not wanted of this server, or not any more: the copy ends with it.
    fn begin(&mut self, at: &ReadPoint, rows_estimate: u64) -> Result<bool, LoadError>;

    /// Some more rows, in no particular order.
    ///
    /// # Errors
    /// [`LoadError::Stopped`] or a refusal: the copy ends with it.
    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError>;
}

/// The database, as whoever holds rows in memory sees it.
pub trait Loader: Send + Sync + 'static {
    /// Reads rows by key, all in one snapshot.
    ///
    /// A key that is no value of its type, asked for among others, is answered as absent under
    /// itself; asked for alone it is an error.
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

    /// The change stream follows another server than this one: whoever keeps sessions that lead there
    /// closes them.
    fn leave(&self, server: PostmasterId) {
        let _ = server;
    }

    /// Which transactions can be seen now.
    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>>;
}
