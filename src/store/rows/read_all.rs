//! Reading whole tables.

use tokio::time::Instant;

use super::access::not_started;
use super::row_map::RowMap;
use super::table_rows::{RowStorage, TableRows};
use super::{ImagedTable, Page, RowsError, StoreImage, TableImage, trace};
use crate::key::Key;
use crate::row::Row;
use crate::scope::RowScope;
use crate::store::directory::ScopedResource;
use crate::store::state::{Store, StoreState};
use crate::version::{Position, Version};

/// Rows filtered by a scope before other tasks of the thread get a turn.
const ROWS_PER_TURN: usize = 1024;

impl Store {
    /// The first `limit` rows after `after`, in key order, of those in scope of a preloaded table.
    /// Reads past rows out of scope, and yields to other tasks meanwhile.
    pub async fn page(
        &self,
        table: &ScopedResource,
        after: Option<&Key>,
        limit: usize,
        deadline: Instant,
    ) -> Result<Page, RowsError> {
        let page = |state: &StoreState, version: Version| {
            let (rows, newest) = state.all_rows(table)?;
            let newest = Version { position: newest, ..version };
            if !table.scope.is_all() {
                let page = Page { version, newest, rows: vec![], more: false };
                return Ok((page, Some(rows.clone())));
            }
            let mut following = rows.after(after).map(|(key, row)| (key.clone(), row.clone()));
            let rows = following.by_ref().take(limit).collect();
            Ok((Page { version, newest, rows, more: following.next().is_some() }, None))
        };
        let (mut page, unfiltered) = self.when_complete(deadline, page).await?;
        if let Some(unfiltered) = unfiltered {
            (page.rows, page.more) = in_scope(&unfiltered, &table.scope, after, limit).await;
        }
        trace::hit_many(&table.resource, page.rows.len());
        Ok(page)
    }

    /// All rows in scope of preloaded tables, at one version.
    pub async fn image(
        &self,
        tables: &[ScopedResource],
        deadline: Instant,
    ) -> Result<StoreImage, RowsError> {
        let image = |state: &StoreState, version: Version| {
            let mut newest = Version { position: Position::START, ..version };
            let mut images = Vec::with_capacity(tables.len());
            for table in tables {
                let (rows, position) = state.all_rows(table)?;
                newest.position = newest.position.max(position);
                let rows = TableImage(ImagedTable::All(rows.clone()));
                images.push((table.resource.clone(), rows));
            }
            Ok(StoreImage { version, newest, tables: images })
        };
        let mut image = self.when_complete(deadline, image).await?;
        for (table, (_, rows)) in tables.iter().zip(&mut image.tables) {
            if let (false, ImagedTable::All(all)) = (table.scope.is_all(), &rows.0) {
                let (some, _) = in_scope(all, &table.scope, None, usize::MAX).await;
                rows.0 = ImagedTable::Scoped(some);
            }
            trace::hit_many(&table.resource, rows.len());
        }
        Ok(image)
    }

    /// Reads under one hold of the lock, again after every commit while rows are missing.
    async fn when_complete<T>(
        &self,
        deadline: Instant,
        read: impl Fn(&StoreState, Version) -> Result<T, RowsError>,
    ) -> Result<T, RowsError> {
        loop {
            let advanced = self.shared.notifications.applied_advanced.notified();
            let result = {
                let state = self.shared.state.read();
                let version = state.version();
                version.ok_or_else(not_started).and_then(|version| read(&state, version))
            };
            match result {
                Err(RowsError::TemporarilyUnavailable(reason)) => {
                    if self.before_deadline(deadline, advanced).await.is_none() {
                        return Err(RowsError::TemporarilyUnavailable(reason));
                    }
                }
                result => return result,
            }
        }
    }
}

/// The rows in scope, up to `limit`, and whether there are more.
async fn in_scope(
    all: &RowMap,
    scope: &RowScope,
    after: Option<&Key>,
    limit: usize,
) -> (Vec<(Key, Row)>, bool) {
    let mut rows = Vec::new();
    for (number, (key, row)) in all.after(after).enumerate() {
        if number % ROWS_PER_TURN == ROWS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        if !scope.matches(row) {
            continue;
        }
        if rows.len() == limit {
            return (rows, true);
        }
        rows.push((key.clone(), row.clone()));
    }
    (rows, false)
}

impl StoreState {
    /// All rows of a table, and the newest change to those in scope.
    fn all_rows(&self, table: &ScopedResource) -> Result<(&RowMap, Position), RowsError> {
        let (stored, rows) = self.rows_of(&table.resource)?;
        match rows.complete() {
            Some(all) => Ok((all, stored.newest_visible(&table.scope))),
            None => Err(rows.incomplete()),
        }
    }
}

impl TableRows {
    /// Why not all rows can be read.
    fn incomplete(&self) -> RowsError {
        match &self.storage {
            RowStorage::Lazy(_) => RowsError::NotPreloaded(self.resource.name.clone()),
            RowStorage::Preloaded(preload) => {
                let obstacle = preload.join.pending().obstacle();
                obstacle.unwrap_or_else(|| preload.unavailable(&self.resource.name))
            }
        }
    }
}
