//! Reading whole tables.

use std::sync::Arc;

use tokio::time::Instant;

use super::map::RowMap;
use super::table::{Place, TableRows};
use super::{Page, Picture, RowsError, RowsPicture, not_started};
use crate::key::Key;
use crate::store::directory::PublishedTable;
use crate::store::reader::Store;
use crate::store::state::State;
use crate::version::{Position, Version};

impl Store {
    /// The first `limit` rows behind `after`, in key order, of a preloaded table.
    pub async fn page(
        &self,
        table: &Arc<PublishedTable>,
        after: Option<&Key>,
        limit: usize,
        until: Instant,
    ) -> Result<Page, RowsError> {
        let page = |state: &State, version: Version| {
            let (rows, newest) = state.whole(table)?;
            let mut following = rows.after(after).map(|(key, row)| (key.clone(), row.clone()));
            let rows = following.by_ref().take(limit).collect();
            let newest = Version { position: newest, ..version };
            Ok(Page { version, newest, rows, more: following.next().is_some() })
        };
        self.when_whole(until, page).await
    }

    /// All rows of preloaded tables, at one version.
    pub async fn picture(
        &self,
        tables: &[Arc<PublishedTable>],
        until: Instant,
    ) -> Result<Picture, RowsError> {
        let picture = |state: &State, version: Version| {
            let mut newest = Version { position: Position::START, ..version };
            let mut pictures = Vec::with_capacity(tables.len());
            for table in tables {
                let (rows, position) = state.whole(table)?;
                newest.position = newest.position.max(position);
                pictures.push((table.clone(), RowsPicture(rows.clone())));
            }
            Ok(Picture { version, newest, tables: pictures })
        };
        self.when_whole(until, picture).await
    }

    /// Reads under one hold of the lock, again and again while it says that it is not the time.
    async fn when_whole<T>(
        &self,
        until: Instant,
        read: impl Fn(&State, Version) -> Result<T, RowsError>,
    ) -> Result<T, RowsError> {
        loop {
            let moved = self.shared.signals.applied_moved.notified();
            let result = {
                let state = self.shared.state.read();
                let version = state.version();
                version.ok_or_else(not_started).and_then(|version| read(&state, version))
            };
            match result {
                Err(RowsError::NotNow(why)) => {
                    if self.in_time(until, moved).await.is_none() {
                        return Err(RowsError::NotNow(why));
                    }
                }
                result => return result,
            }
        }
    }
}

impl State {
    /// All rows of a table, and its newest change.
    fn whole(&self, table: &PublishedTable) -> Result<(&RowMap, Position), RowsError> {
        let (known, rows) = self.rows_of(table)?;
        match rows.complete() {
            Some(whole) => Ok((whole, known.newest)),
            None => Err(rows.excuse()),
        }
    }
}

impl TableRows {
    /// Why not all rows can be read.
    fn excuse(&self) -> RowsError {
        match &self.place {
            Place::Lazy(_) => RowsError::NotPreloaded(self.published.name.clone()),
            Place::Preload(preload) => preload.excuse(&self.published.name),
        }
    }
}
