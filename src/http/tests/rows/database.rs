//! The database as the store sees it: a map, with snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRow, LoadedRows, Loader, ReadPoint};
use crate::lsn::Lsn;
use crate::row::Row;
use crate::snapshot::Xid;
use crate::source_status::PostmasterId;
use crate::table::{Table, TableOid};

/// Rows by key, and how far the transactions are.
pub(super) struct FakeDatabase(Mutex<FakeDatabaseState>);

struct FakeDatabaseState {
    rows: BTreeMap<(TableOid, String), (Key, Row)>,
    next_xid: u32,
    end: Lsn,
    away: bool,
}

impl FakeDatabase {
    pub(super) fn new(end: u64) -> Self {
        Self(Mutex::new(FakeDatabaseState {
            rows: BTreeMap::new(),
            next_xid: 1_000,
            end: Lsn(end),
            away: false,
        }))
    }

    /// A transaction that will have ended at `end`.
    pub(super) fn begin(&self, end: u64) -> Xid {
        let mut state = self.0.lock();
        state.end = Lsn(end);
        state.next_xid += 1;
        Xid(state.next_xid - 1)
    }

    /// Sets or deletes a row; returns whether there was one.
    pub(super) fn set(&self, table: TableOid, key: &Key, row: Option<Row>) -> bool {
        let place = (table, format!("{key:?}"));
        let rows = &mut self.0.lock().rows;
        match row {
            Some(row) => rows.insert(place, (key.clone(), row)).is_some(),
            None => rows.remove(&place).is_some(),
        }
    }

    /// Makes every query fail from now on.
    pub(super) fn go_away(&self) {
        self.0.lock().away = true;
    }

    fn at(&self) -> Result<ReadPoint, LoadError> {
        let state = self.0.lock();
        if state.away {
            return Err(LoadError::Unavailable("connection refused".into()));
        }
        let xid = state.next_xid;
        let snapshot = format!("{xid}:{xid}:").parse().unwrap();
        Ok(ReadPoint { snapshot, visible_up_to: state.end, server: PostmasterId::default() })
    }
}

impl Loader for FakeDatabase {
    fn load<'a>(
        &'a self,
        table: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>> {
        async move {
            let at = self.at()?;
            let rows = &self.0.lock().rows;
            let row = |key: &Key| rows.get(&(table.oid, format!("{key:?}"))).cloned();
            let loaded =
                |key: &Key| Ok(LoadedRow { key: key.clone(), row: row(key).map(|(_, row)| row) });
            Ok(LoadedRows { at, rows: keys.iter().map(loaded).collect() })
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        table: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        async move {
            let at = self.at()?;
            let all = self.0.lock().rows.clone();
            let rows: Vec<_> = all
                .into_iter()
                .filter(|((oid, _), _)| *oid == table.oid)
                .map(|(_, row)| row)
                .collect();
            assert!(sink.begin(&at, rows.len() as u64)?, "nothing is under way in these tests");
            sink.rows(rows)
        }
        .boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async move { self.at() }.boxed()
    }
}
