//! Rows in memory.

use std::sync::Arc;

use tokio::time::Instant;

use super::directory::PublishedTable;
use super::reader::{Answer, Query, Store};
use crate::key::Key;
use crate::row::Row;
use crate::version::Version;

/// Where a row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
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
    pub origin: Origin,
}

/// Several rows at one version.
#[derive(Clone, Debug)]
pub struct ReadRows {
    /// All rows are exactly as they were at this version.
    pub version: Version,
    /// The documents in the order asked; `None` when there is no such row.
    pub rows: Vec<Option<Row>>,
    /// [`Origin::Memory`] when all of them were there.
    pub origin: Origin,
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
pub struct Picture {
    /// All rows are exactly as they were at this version.
    pub version: Version,
    /// The newest change to any of these tables, or reset of one.
    pub newest: Version,
    /// The tables, as asked.
    pub tables: Vec<(Arc<PublishedTable>, RowsPicture)>,
}

/// All rows of one preloaded table as they were at one moment.
#[derive(Clone, Debug)]
pub struct RowsPicture;

impl RowsPicture {
    /// How many there are.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows behind `after` in key order, or all of them.
    pub fn after(&self, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Row)> {
        let _ = after;
        std::iter::empty()
    }
}

/// Why rows can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// The table's rows are not held.
    #[error("the rows of {0} are not held in memory")]
    Off(String),
    /// The table is read through, so not all rows are in memory.
    #[error("the rows of {0} are held lazily, not preloaded")]
    NotPreloaded(String),
    /// They should be held and can't; the reason and remedy.
    #[error("the rows of {table} can't be held in memory: {reason}")]
    Refused {
        /// The table's displayed name.
        table: String,
        /// Why, and what mends it.
        reason: String,
    },
    /// The key is no value of its type.
    #[error("{0}")]
    BadKey(String),
    /// Not in memory, and the database can't be asked, or didn't answer in time; or the table is
    /// still being loaded.
    #[error("{0}")]
    NotNow(String),
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
}

/// What the rows of a table are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsState {
    /// They are not held.
    Off,
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
    Refused(String),
}

impl Store {
    /// One row. Waits for the database until `until` where it isn't in memory.
    pub async fn row(
        &self,
        table: &Arc<PublishedTable>,
        key: &Key,
        until: Instant,
    ) -> Result<ReadRow, RowsError> {
        let _ = (key, until);
        Err(RowsError::Off(table.name.clone()))
    }

    /// Several rows at one version: a commit shows in all of them or in none.
    pub async fn rows(
        &self,
        table: &Arc<PublishedTable>,
        keys: &[Key],
        until: Instant,
    ) -> Result<ReadRows, RowsError> {
        let _ = (keys, until);
        Err(RowsError::Off(table.name.clone()))
    }

    /// The first `limit` rows behind `after`, in key order, of a preloaded table.
    pub async fn page(
        &self,
        table: &Arc<PublishedTable>,
        after: Option<&Key>,
        limit: usize,
        until: Instant,
    ) -> Result<Page, RowsError> {
        let _ = (after, limit, until);
        Err(RowsError::Off(table.name.clone()))
    }

    /// All rows of preloaded tables, at one version.
    pub async fn picture(
        &self,
        tables: &[Arc<PublishedTable>],
        until: Instant,
    ) -> Result<Picture, RowsError> {
        let _ = until;
        let name = tables.first().map_or(String::new(), |table| table.name.clone());
        Err(RowsError::Off(name))
    }

    /// What changed, with the row of every `insert` and `update` of a table that holds rows (in the
    /// order of the changes; `None` for other changes). All of it at one version. `None` before the
    /// stream first started.
    pub async fn changes_with_rows(
        &self,
        query: &Query<'_>,
        until: Instant,
    ) -> Result<Option<(Answer, Vec<Option<Row>>)>, RowsError> {
        let _ = until;
        Ok(self.changes(query).map(|answer| {
            let rows = vec![None; answer.changes.len()];
            (answer, rows)
        }))
    }

    /// Drops what is in memory of these tables and reads it again; every client gets a reset of
    /// them. A preloaded table goes on being served until the new copy takes its place.
    pub fn reload(&self, tables: &[Arc<PublishedTable>]) {
        let _ = tables;
    }

    /// How the rows of every table are doing, ordered by displayed name.
    pub fn rows_status(&self) -> Vec<RowsStatus> {
        Vec::new()
    }

    /// The stream is asked to say how far it is, so that a position is reached on a quiet server
    /// within a round trip: [`Store::wait_applied`] for who is in a hurry.
    pub async fn hurry_applied(&self, position: crate::version::Position) {
        self.wishes.position.notify_one();
        self.wait_applied(position).await;
    }
}
