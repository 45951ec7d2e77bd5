//! Reading whole tables.

use tokio::time::Instant;

use super::load_state::not_started;
use super::map::RowMap;
use super::table::{RowStorage, TableRows};
use super::{ImagedTable, Page, RowsError, StoreImage, TableImage, trace};
use crate::key::Key;
use crate::row::Row;
use crate::scope::RowScope;
use crate::store::directory::ScopedResource;
use crate::store::state::Store;
use crate::store::state::StoreState;
use crate::version::{Position, Version};

/// Rows looked at for somebody who sees a part of them, before others have their turn.
const ROWS_PER_TURN: usize = 1024;

impl Store {
    /// The first `limit` rows behind `after`, in key order, of those that are seen of a preloaded
    /// table. Looks at others as well, and lets other tasks in meanwhile.
    pub async fn page(
        &self,
        part: &ScopedResource,
        after: Option<&Key>,
        limit: usize,
        until: Instant,
    ) -> Result<Page, RowsError> {
        let page = |state: &StoreState, version: Version| {
            let (rows, newest) = state.whole(part)?;
            let newest = Version { position: newest, ..version };
            if !part.view.is_all() {
                return Ok((
                    Page { version, newest, rows: vec![], more: false },
                    Some(rows.clone()),
                ));
            }
            let mut following = rows.after(after).map(|(key, row)| (key.clone(), row.clone()));
            let rows = following.by_ref().take(limit).collect();
            Ok((Page { version, newest, rows, more: following.next().is_some() }, None))
        };
        let (mut page, picture) = self.when_whole(until, page).await?;
        if let Some(picture) = picture {
            (page.rows, page.more) = seen(&picture, &part.view, after, limit).await;
        }
        trace::hit_many(&part.table, page.rows.len());
        Ok(page)
    }

    /// All rows of preloaded tables, at one version.
    pub async fn picture(
        &self,
        parts: &[ScopedResource],
        until: Instant,
    ) -> Result<StoreImage, RowsError> {
        let picture = |state: &StoreState, version: Version| {
            let mut newest = Version { position: Position::START, ..version };
            let mut pictures = Vec::with_capacity(parts.len());
            for part in parts {
                let (rows, position) = state.whole(part)?;
                newest.position = newest.position.max(position);
                pictures.push((part.table.clone(), TableImage(ImagedTable::All(rows.clone()))));
            }
            Ok(StoreImage { version, newest, tables: pictures })
        };
        let mut picture = self.when_whole(until, picture).await?;
        for (part, (_, rows)) in parts.iter().zip(&mut picture.tables) {
            if let (false, ImagedTable::All(all)) = (part.view.is_all(), &rows.0) {
                let (some, _) = seen(all, &part.view, None, usize::MAX).await;
                rows.0 = ImagedTable::Some(some);
            }
            trace::hit_many(&part.table, rows.len());
        }
        Ok(picture)
    }

    /// Reads under one hold of the lock, again and again while it says that it is not the time.
    async fn when_whole<T>(
        &self,
        until: Instant,
        read: impl Fn(&StoreState, Version) -> Result<T, RowsError>,
    ) -> Result<T, RowsError> {
        loop {
            let moved = self.shared.signals.applied_moved.notified();
            let result = {
                let state = self.shared.state.read();
                let version = state.version();
                version.ok_or_else(not_started).and_then(|version| read(&state, version))
            };
            match result {
                Err(RowsError::TemporarilyUnavailable(why)) => {
                    if self.in_time(until, moved).await.is_none() {
                        return Err(RowsError::TemporarilyUnavailable(why));
                    }
                }
                result => return result,
            }
        }
    }
}

/// The rows that are seen, up to `limit`, and whether there are more.
async fn seen(
    picture: &RowMap,
    view: &RowScope,
    after: Option<&Key>,
    limit: usize,
) -> (Vec<(Key, Row)>, bool) {
    let mut rows = Vec::new();
    for (looked_at, (key, row)) in picture.after(after).enumerate() {
        if looked_at % ROWS_PER_TURN == ROWS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        if !view.matches(row) {
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
    /// All rows of a table, and the newest change to those that are seen.
    fn whole(&self, part: &ScopedResource) -> Result<(&RowMap, Position), RowsError> {
        let (known, rows) = self.rows_of(&part.table)?;
        match rows.complete() {
            Some(whole) => Ok((whole, known.newest_seen(&part.view))),
            None => Err(rows.excuse()),
        }
    }
}

impl TableRows {
    /// Why not all rows can be read.
    fn excuse(&self) -> RowsError {
        match &self.storage {
            RowStorage::Lazy(_) => RowsError::NotPreloaded(self.published.name.clone()),
            RowStorage::Preload(preload) => {
                let obstacle = self.pending().obstacle();
                obstacle.unwrap_or_else(|| preload.excuse(&self.published.name))
            }
        }
    }
}
