//! Rows in memory.

#![allow(
    clippy::indexing_slicing,
    clippy::similar_names,
    clippy::unused_async,
    reason = "only until the real one is here"
)]

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::directory::{PublishedTable, Selection};
use super::reader::{Answer, Query, Store};
use crate::change::Op;
use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedAt, Loader};
use crate::row::{Image, Row, RowChange};
use crate::table::{RowMode, Rows, TableOid};
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
#[derive(Clone, Debug, Default)]
pub struct RowsPicture(Arc<Ordered>);

impl RowsPicture {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows behind `after` in key order, or all of them.
    pub fn after(&self, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Row)> {
        let bound = after.map_or(Bound::Unbounded, |key| Bound::Excluded(place(key)));
        self.0.range((bound, Bound::Unbounded)).map(|(_, (key, row))| (key, row))
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

/// Rows by a text that sorts like their keys, as long as these are positive integers.
type Ordered = BTreeMap<(usize, Vec<u8>), (Key, Row)>;

fn place(key: &Key) -> (usize, Vec<u8>) {
    let mut text = Vec::new();
    key.write_json(&mut text);
    (text.len(), text)
}

/// Rows in the simplest way that answers.
#[derive(Default)]
pub(super) struct StandIn(Mutex<Held>);

#[derive(Default)]
struct Held {
    loader: Option<Arc<dyn Loader>>,
    complete: BTreeMap<TableOid, Arc<Ordered>>,
    lazy: HashMap<(TableOid, Key), Option<Row>>,
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StandIn")
    }
}

impl StandIn {
    pub(super) fn apply(&self, changes: Vec<RowChange>) {
        let mut held = self.0.lock();
        for change in changes {
            let RowChange::Set { table, key, image } = change else { continue };
            let row = match image {
                Image::Whole(row) => Some(row),
                _ => None,
            };
            if let Some(rows) = held.complete.get_mut(&table) {
                let rows = Arc::make_mut(rows);
                match row {
                    Some(row) => rows.insert(place(&key), (key, row)),
                    None => rows.remove(&place(&key)),
                };
            } else if let Some(known) = held.lazy.get_mut(&(table, key)) {
                *known = row;
            }
        }
    }
}

struct Sink<'a>(&'a mut Ordered);

impl CopySink for Sink<'_> {
    fn begin(&mut self, _: &LoadedAt, _: u64) -> bool {
        true
    }

    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError> {
        self.0.extend(rows.into_iter().map(|(key, row)| (place(&key), (key, row))));
        Ok(())
    }
}

impl Store {
    /// Where rows come from: copies what is to be preloaded.
    pub async fn fill(&self, loader: Arc<dyn Loader>) {
        self.shared.rows.0.lock().loader = Some(loader.clone());
        for table in self.directory().tables().iter().filter(|t| t.table.rows.is_preloaded()) {
            let definition = Arc::new(table.table.clone());
            let mut rows = Ordered::new();
            if loader.copy(&definition, &mut Sink(&mut rows)).await.is_ok() {
                self.shared.rows.0.lock().complete.insert(table.oid(), Arc::new(rows));
            }
        }
    }

    fn complete(&self, table: &PublishedTable) -> Result<Arc<Ordered>, RowsError> {
        match &table.table.rows {
            Rows::Off => return Err(RowsError::Off(table.name.clone())),
            Rows::Refused(reason) => {
                return Err(RowsError::Refused {
                    table: table.name.clone(),
                    reason: reason.clone(),
                });
            }
            Rows::Held(held) if held.mode == RowMode::Lazy => {
                return Err(RowsError::NotPreloaded(table.name.clone()));
            }
            Rows::Held(_) => {}
        }
        let held = self.shared.rows.0.lock();
        let not_yet = || RowsError::NotNow(format!("{} is still being loaded", table.name));
        held.complete.get(&table.oid()).cloned().ok_or_else(not_yet)
    }

    fn version(&self) -> Result<Version, RowsError> {
        self.applied().ok_or_else(|| RowsError::NotNow("not started".into()))
    }

    /// One row. Waits for the database until `until` where it isn't in memory.
    pub async fn row(
        &self,
        table: &Arc<PublishedTable>,
        key: &Key,
        until: Instant,
    ) -> Result<ReadRow, RowsError> {
        let mut read = self.rows(table, std::slice::from_ref(key), until).await?;
        Ok(ReadRow { version: read.version, row: read.rows.remove(0), origin: read.origin })
    }

    /// Several rows at one version: a commit shows in all of them or in none.
    pub async fn rows(
        &self,
        table: &Arc<PublishedTable>,
        keys: &[Key],
        until: Instant,
    ) -> Result<ReadRows, RowsError> {
        match self.complete(table) {
            Ok(complete) => {
                let found = |key| complete.get(&place(key)).map(|(_, row)| row.clone());
                let rows = keys.iter().map(found).collect();
                return Ok(ReadRows { version: self.version()?, rows, origin: Origin::Memory });
            }
            Err(RowsError::NotPreloaded(_)) => {}
            Err(error) => return Err(error),
        }
        let loader = self.shared.rows.0.lock().loader.clone();
        let mut rows = Vec::new();
        let mut origin = Origin::Memory;
        for key in keys {
            let known = self.shared.rows.0.lock().lazy.get(&(table.oid(), key.clone())).cloned();
            if let Some(row) = known {
                rows.push(row);
                continue;
            }
            origin = Origin::Database;
            let not_now = |why: &str| RowsError::NotNow(format!("not in memory: {why}"));
            let loader = loader.as_ref().ok_or_else(|| not_now("no database"))?;
            let definition = Arc::new(table.table.clone());
            let load = loader.load(&definition, std::slice::from_ref(key));
            let loaded = tokio::time::timeout_at(until, load).await;
            let loaded = loaded.map_err(|_| not_now("late"))?.map_err(|error| match error {
                LoadError::BadKey(why) => RowsError::BadKey(why),
                error => not_now(&error.to_string()),
            })?;
            let row = loaded.rows[0].row.clone();
            self.shared.rows.0.lock().lazy.insert((table.oid(), key.clone()), row.clone());
            rows.push(row);
        }
        Ok(ReadRows { version: self.version()?, rows, origin })
    }

    /// The first `limit` rows behind `after`, in key order, of a preloaded table.
    pub async fn page(
        &self,
        table: &Arc<PublishedTable>,
        after: Option<&Key>,
        limit: usize,
        until: Instant,
    ) -> Result<Page, RowsError> {
        let picture = self.picture(std::slice::from_ref(table), until).await?;
        let (_, rows) = &picture.tables[0];
        let mut rows = rows.after(after).map(|(key, row)| (key.clone(), row.clone()));
        let page = rows.by_ref().take(limit).collect();
        let more = rows.next().is_some();
        Ok(Page { version: picture.version, newest: picture.newest, rows: page, more })
    }

    /// All rows of preloaded tables, at one version.
    pub async fn picture(
        &self,
        tables: &[Arc<PublishedTable>],
        until: Instant,
    ) -> Result<Picture, RowsError> {
        let _ = until;
        let pictures = tables
            .iter()
            .map(|table| Ok((table.clone(), RowsPicture(self.complete(table)?))))
            .collect::<Result<_, RowsError>>()?;
        let version = self.version()?;
        let newest = self.newest_change(&Selection::tables(tables.iter().cloned()));
        Ok(Picture { version, newest: newest.unwrap_or(version), tables: pictures })
    }

    /// What changed, with the row of every `insert` and `update` of a table that holds rows (in the
    /// order of the changes; `None` for other changes). All of it at one version. `None` before the
    /// stream first started.
    pub async fn changes_with_rows(
        &self,
        query: &Query<'_>,
        until: Instant,
    ) -> Result<Option<(Answer, Vec<Option<Row>>)>, RowsError> {
        let Some(answer) = self.changes(query) else { return Ok(None) };
        let mut rows = Vec::new();
        for change in &answer.changes {
            rows.push(if change.op == Op::Delete || change.table.table.rows.held().is_none() {
                None
            } else {
                self.row(&change.table, &change.key, until).await?.row
            });
        }
        Ok(Some((answer, rows)))
    }

    /// Drops what is in memory of these tables and reads it again; every client gets a reset of
    /// them. A preloaded table goes on being served until the new copy takes its place.
    pub fn reload(&self, tables: &[Arc<PublishedTable>]) {
        self.shared.rows.0.lock().lazy.retain(|(oid, _), _| tables.iter().all(|t| t.oid() != *oid));
    }

    /// How the rows of every table are doing, ordered by displayed name.
    pub fn rows_status(&self) -> Vec<RowsStatus> {
        let held = self.shared.rows.0.lock();
        let directory = self.directory();
        let status = |table: &Arc<PublishedTable>| {
            let complete = held.complete.get(&table.oid());
            let state = match (&table.table.rows, complete) {
                (Rows::Off, _) => RowsState::Off,
                (Rows::Refused(reason), _) => RowsState::Refused(reason.clone()),
                (Rows::Held(rows), _) if rows.mode == RowMode::Lazy => RowsState::Lazy,
                (_, Some(_)) => RowsState::Complete,
                (_, None) => RowsState::Loading { rows: 0, estimate: 0 },
            };
            let lazy = held.lazy.keys().filter(|(oid, _)| *oid == table.oid()).count();
            let entries = lazy + complete.map_or(0, |rows| rows.len());
            RowsStatus { table: table.name.clone(), state, entries, bytes: entries * 100 }
        };
        directory.tables().iter().map(status).collect()
    }

    /// The stream is asked to say how far it is, again and again, so that a position is reached on
    /// a quiet server within a round trip: [`Store::wait_applied`] for who is in a hurry.
    pub async fn hurry_applied(&self, position: crate::version::Position) {
        let reached = self.wait_applied(position);
        tokio::pin!(reached);
        loop {
            self.wishes.position.notify_one();
            // One nudge may come before the server has written what is waited for.
            if tokio::time::timeout(NUDGE_INTERVAL, &mut reached).await.is_ok() {
                return;
            }
        }
    }
}

/// Who is in a hurry asks the stream this often how far it is.
const NUDGE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);
