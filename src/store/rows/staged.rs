//! A database that answers by hand, so that a test decides what happens in which order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::model::tables;
use super::{RowOrigin, RowsError};
use crate::change::{Change, Event, Op, ResetReason, Transaction};
use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRow, LoadedRows, Loader, ReadPoint};
use crate::lsn::Lsn;
use crate::row::{PartialRow, Row, RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::source::PostmasterId;
use crate::store::testing::{GENEROUS, Harness, now, reset, started};
use crate::store::{Limits, Resource, RowLimits};
use crate::table::Table;

/// The places of the two tables in [`StagedStore::tables`].
pub(super) const LAZY: usize = 0;
pub(super) const PRELOADED: usize = 1;
/// Nothing takes longer in simulated time.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where queries and copies wait for what the test says.
#[derive(Default)]
pub(super) struct ScriptedLoader {
    queries: Mutex<VecDeque<ScriptedQuery>>,
    copies: Mutex<VecDeque<ScriptedCopy>>,
    asked: Notify,
}

/// A query that was made.
pub(super) struct ScriptedQuery {
    pub(super) keys: Vec<Key>,
    answer: oneshot::Sender<Result<LoadedRows, LoadError>>,
}

/// A copy that was begun.
pub(super) struct ScriptedCopy(mpsc::Sender<CopyStep>);

enum CopyStep {
    Begin(ReadPoint, oneshot::Sender<bool>),
    Rows(Vec<(Key, Row)>),
}

/// What a query saw.
pub(super) fn seen(snapshot: &str, horizon: u64) -> ReadPoint {
    ReadPoint {
        snapshot: snapshot.parse().unwrap(),
        visible_up_to: Lsn(horizon),
        server: PostmasterId::default(),
    }
}

impl ScriptedQuery {
    /// Every key asked for has this row, or none.
    pub(super) fn answer(self, at: ReadPoint, row: Option<&str>) {
        let row = row.map(|json| Row::new(json.as_bytes()));
        let rows = self.keys.iter().map(|key| Ok(LoadedRow { key: key.clone(), row: row.clone() }));
        let _ = self.answer.send(Ok(LoadedRows { at, rows: rows.collect() }));
    }

    pub(super) fn fail(self, error: LoadError) {
        let _ = self.answer.send(Err(error));
    }
}

impl ScriptedCopy {
    /// Tells whether the snapshot is wanted.
    pub(super) async fn begin(&self, at: ReadPoint) -> bool {
        let (told, agreed) = oneshot::channel();
        self.0.send(CopyStep::Begin(at, told)).await.ok().unwrap();
        agreed.await.unwrap()
    }

    /// One row. Tells whether the copy still goes on.
    pub(super) async fn row(&self, id: i64, json: &str) -> bool {
        let row = (Key::integer(id), Row::new(json.as_bytes()));
        let taken = self.0.send(CopyStep::Rows(vec![row])).await.is_ok();
        sleep(Duration::from_millis(1)).await;
        taken && !self.0.is_closed()
    }
}

impl ScriptedLoader {
    /// Answers whatever is asked now: these rows there are, and no others.
    pub(super) async fn answer_all(&self, at: ReadPoint, truth: &[(i64, &str)]) {
        let queries: Vec<ScriptedQuery> = self.queries.lock().drain(..).collect();
        for ScriptedQuery { keys, answer } in queries {
            let rows = keys.into_iter().map(|key| {
                let row = truth.iter().find(|(id, _)| key == Key::integer(*id));
                Ok(LoadedRow { key, row: row.map(|(_, json)| Row::new(json.as_bytes())) })
            });
            let _ = answer.send(Ok(LoadedRows { at: at.clone(), rows: rows.collect() }));
        }
        let copies: Vec<ScriptedCopy> = self.copies.lock().drain(..).collect();
        for copy in copies {
            copy.begin(at.clone()).await;
            for (id, json) in truth {
                copy.row(*id, json).await;
            }
        }
    }
}

impl Loader for ScriptedLoader {
    fn load<'a>(
        &'a self,
        _: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>> {
        async move {
            let (answer, answered) = oneshot::channel();
            self.queries.lock().push_back(ScriptedQuery { keys: keys.to_vec(), answer });
            self.asked.notify_one();
            answered.await.unwrap_or_else(|_| Err(LoadError::Unavailable("no answer".into())))
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        _: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        async move {
            let (steps, mut next) = mpsc::channel(1);
            self.copies.lock().push_back(ScriptedCopy(steps));
            self.asked.notify_one();
            while let Some(step) = next.recv().await {
                match step {
                    CopyStep::Begin(at, told) => drop(told.send(sink.begin(&at, 1)?)),
                    CopyStep::Rows(rows) => sink.rows(rows)?,
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async { Err(LoadError::Unavailable("not of this story".into())) }.boxed()
    }
}

/// A store from position 800 on, with a lazy and a preloaded table, and who works for it.
pub(super) struct StagedStore {
    pub(super) bench: Harness,
    pub(super) database: Arc<ScriptedLoader>,
    pub(super) tables: Vec<Arc<Resource>>,
    tasks: JoinSet<()>,
    readers: JoinSet<Result<(Option<String>, RowOrigin), RowsError>>,
}

impl StagedStore {
    pub(super) fn new() -> Self {
        Self::with_limits(RowLimits::default())
    }

    pub(super) fn with_limits(rows: RowLimits) -> Self {
        let mut bench = Harness::with_limits(Limits { rows, log: GENEROUS });
        bench.take(started(800, tables(), None));
        let database = Arc::new(ScriptedLoader::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(bench.store.load_worker().run(database.clone(), CancellationToken::new()));
        let tables = bench.store.directory().tables().to_vec();
        Self { bench, database, tables, tasks, readers: JoinSet::new() }
    }

    /// …whose preloaded table holds one row.
    pub(super) async fn preloaded(id: i64, json: &str) -> Self {
        let mut stage = Self::new();
        stage.preload();
        let copy = stage.copy().await;
        assert!(copy.begin(seen("10:10:", 800)).await);
        copy.row(id, json).await;
        drop(copy);
        stage.pass().await;
        stage
    }

    pub(super) fn preload(&mut self) {
        let preloader = self.bench.store.preloader();
        self.tasks.spawn(preloader.run(self.database.clone(), CancellationToken::new()));
    }

    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// The next query.
    pub(super) async fn query(&self) -> ScriptedQuery {
        self.next(|| self.database.queries.lock().pop_front()).await
    }

    /// The next copy.
    pub(super) async fn copy(&self) -> ScriptedCopy {
        self.next(|| self.database.copies.lock().pop_front()).await
    }

    async fn next<T>(&self, next: impl Fn() -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = next() {
                    return found;
                }
                self.database.asked.notified().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the database is asked")
    }

    /// Nobody asks the database.
    pub(super) async fn no_query(&mut self) {
        self.pass().await;
        assert!(self.database.queries.lock().is_empty(), "the database is asked");
    }

    /// Somebody begins to read a row.
    pub(super) fn read(&mut self, table: usize, id: i64) {
        let (store, table) = (self.bench.store.clone(), self.tables[table].clone());
        self.readers.spawn(async move {
            let read = store.row(&table, &Key::integer(id), Instant::now() + PATIENCE).await?;
            Ok((read.row.map(|row| text(&row)), read.origin))
        });
    }

    /// What the reader was told.
    pub(super) async fn told(&mut self) -> Option<String> {
        self.readers.join_next().await.unwrap().unwrap().unwrap().0
    }

    /// What is in memory of a row, of which nobody has to be asked.
    pub(super) async fn held(&mut self, table: usize, id: i64) -> Option<String> {
        self.read(table, id);
        let (row, origin) = self.readers.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(origin, RowOrigin::Memory);
        row
    }

    /// Lets everybody work for a while.
    pub(super) async fn pass(&mut self) {
        for _ in 0..5 {
            sleep(Duration::from_millis(1)).await;
            self.bench.writer.carry_out();
        }
    }

    /// A commit that ends at `end` did this to row `id`.
    pub(super) fn change(&mut self, end: u64, xid: u32, table: usize, id: i64, image: RowAfter) {
        self.commit(end, xid, vec![(table, id, image)]);
    }

    /// A commit that did all of this.
    pub(super) fn commit(&mut self, end: u64, xid: u32, rows: Vec<(usize, i64, RowAfter)>) {
        let changes = rows.iter().zip(1..).map(|((table, id, image), ordinal)| Change {
            table: self.tables[*table].oid(),
            key: Key::integer(*id),
            op: if *image == RowAfter::Deleted { Op::Delete } else { Op::Update },
            ordinal,
            scope: None,
        });
        let changes = changes.collect();
        let rows = rows.into_iter().map(|(table, id, image)| RowChange::Upsert {
            table: self.tables[table].oid(),
            key: Key::integer(id),
            image,
        });
        let rows = rows.collect();
        self.transaction(end, xid, changes, rows, &[]);
    }

    /// A commit that emptied a table.
    pub(super) fn truncate(&mut self, end: u64, xid: u32, table: usize) {
        let oid = self.tables[table].oid();
        self.transaction(end, xid, vec![], vec![RowChange::Truncate(oid)], &[oid.0]);
    }

    fn transaction(
        &mut self,
        end: u64,
        xid: u32,
        changes: Vec<Change>,
        rows: Vec<RowChange>,
        truncated: &[u32],
    ) {
        let resets = truncated.iter().map(|oid| reset(*oid, ResetReason::Truncate)).collect();
        self.bench.take(Event::Commit(Transaction {
            end_lsn: Lsn(end),
            committed_at: now(),
            xid: Xid(xid),
            changes,
            resets,
            rows,
        }));
    }

    /// The stream says how far it is.
    pub(super) fn reach(&mut self, end: u64) {
        self.bench.take(Event::Watermark(Lsn(end)));
    }
}

pub(super) fn text(row: &Row) -> String {
    String::from_utf8(row.json().to_vec()).unwrap()
}

/// The stream sent the whole row.
pub(super) fn whole(json: &str) -> RowAfter {
    RowAfter::Full(Row::new(json.as_bytes()))
}

/// The stream did not send the second member, a large value that did not change.
pub(super) fn partial(json: &str, before: Option<i64>) -> RowAfter {
    RowAfter::Partial {
        row: PartialRow::new(json.as_bytes(), &[1]),
        before: before.map(Key::integer),
    }
}
