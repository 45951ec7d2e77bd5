//! Readers that compare the rows they get with the expected ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::database::{IDS, LAZY, ModelDatabase, PRELOADED};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::Row;
use crate::store::tests::model::Random;
use crate::store::{ChangeQuery, Resource, ResourceSelection, RowsError, Store};
use crate::version::Version;

pub(super) struct ModelReader {
    random: Random,
    store: Store,
    database: Arc<Mutex<ModelDatabase>>,
    /// The commit that the last result for a row is at least as new as.
    seen: HashMap<(u32, i64), Lsn>,
    after: Option<Version>,
}

impl ModelReader {
    pub(super) fn new(seed: u64, store: Store, database: Arc<Mutex<ModelDatabase>>) -> Self {
        let random = Random::new(seed ^ 0xBEEF);
        Self { random, store, database, seen: HashMap::new(), after: None }
    }

    pub(super) async fn run(mut self, end: CancellationToken) {
        while !end.is_cancelled() {
            let until = Instant::now() + Duration::from_millis(200);
            self.read(until).await;
            sleep(Duration::from_millis(self.random.below(5))).await;
        }
    }

    async fn read(&mut self, until: Instant) {
        let oid = *self.random.pick(&[LAZY, PRELOADED]);
        let id = i64::try_from(self.random.below(IDS.cast_unsigned())).unwrap();
        match self.random.below(10) {
            0..5 => drop(self.read_row(oid, id, until).await),
            5..8 => drop(self.read_rows(oid, until).await),
            8 => drop(self.read_picture(until).await),
            _ => self.read_changes(until).await,
        }
    }

    fn table(&self, oid: u32) -> Arc<Resource> {
        let directory = self.store.directory();
        directory.resources().iter().find(|table| table.oid().0 == oid).unwrap().clone()
    }

    async fn read_row(&mut self, oid: u32, id: i64, until: Instant) -> Result<(), RowsError> {
        let applied = self.store.applied().unwrap().position.lsn;
        let read = self.store.row(&self.table(oid), &Key::integer(id), until).await?;
        let version = read.version.position.lsn;
        assert!(version >= applied, "older than what was applied before");
        let seen = self.seen.entry((oid, id)).or_insert(Lsn(0));
        let database = self.database.lock();
        let possible = database.since((oid, id), version.max(*seen));
        let found = possible.iter().find(|(_, values)| values.map(|v| v.row(id)) == read.row);
        let Some((lsn, _)) = found else {
            panic!("{oid}/{id} at {version}, seen {seen}: {:?} is none of {possible:?}", read.row)
        };
        *seen = *lsn;
        Ok(())
    }

    async fn read_rows(&mut self, oid: u32, until: Instant) -> Result<(), RowsError> {
        let keys: Vec<Key> = (0..IDS).map(Key::integer).collect();
        let read = self.store.rows(&self.table(oid), &keys, until).await?;
        let rows = (0..IDS).zip(read.rows);
        self.compare(oid, read.version, rows);
        Ok(())
    }

    async fn read_picture(&mut self, until: Instant) -> Result<(), RowsError> {
        let picture = self.store.image(&[self.table(PRELOADED).into()], until).await?;
        let (_, rows) = &picture.tables[0];
        let rows: HashMap<Key, Row> =
            rows.after(None).map(|(key, row)| (key.clone(), row.clone())).collect();
        let rows = (0..IDS).map(|id| (id, rows.get(&Key::integer(id)).cloned()));
        self.compare(PRELOADED, picture.version, rows);
        Ok(())
    }

    async fn read_changes(&mut self, until: Instant) {
        let query =
            ChangeQuery { resources: &ResourceSelection::All, after: self.after, limit: 1000 };
        let Ok(answer) = self.store.changes_with_rows(&query, until).await else { return };
        let (answer, rows) = answer.unwrap();
        for (change, row) in answer.changes.iter().zip(rows) {
            let id = format!("{:?}", change.key).parse().unwrap();
            self.compare(change.resource.oid().0, answer.version, [(id, row)].into_iter());
        }
        self.after = Some(answer.version);
    }

    fn compare(&self, oid: u32, version: Version, rows: impl Iterator<Item = (i64, Option<Row>)>) {
        let database = self.database.lock();
        let lsn = version.position.lsn;
        for (id, row) in rows {
            let truth = database.at((oid, id), lsn).map(|values| values.row(id));
            assert_eq!(row, truth, "{oid}/{id} at {lsn}");
        }
    }

    /// Reads every row once the database is quiet.
    pub(super) async fn check_all(&mut self) {
        let until = Instant::now() + Duration::from_mins(1);
        while self.read_picture(until).await.is_err()
            || self.read_rows(PRELOADED, until).await.is_err()
        {
            assert!(Instant::now() < until);
            sleep(Duration::from_millis(20)).await;
        }
        while self.read_rows(LAZY, until).await.is_err() {
            assert!(Instant::now() < until);
        }
    }
}
