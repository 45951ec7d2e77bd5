//! A database whose results a test sends step by step, so that it decides the order of events.

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

use super::row_model::tables;
use crate::change::{Change, Event, Op, ResetReason, Transaction};
use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRow, LoadedRows, Loader, ReadPoint};
use crate::lsn::Lsn;
use crate::row::{PartialRow, Row, RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::source_status::PostmasterId;
use crate::store::tests::{GENEROUS, Harness, now, reset, started};
use crate::store::{Limits, Resource, RowLimits};
use crate::store::{RowOrigin, RowsError};
use crate::table::Table;

/// The indexes of the two tables in [`StagedStore::tables`].
pub(in crate::store) const LAZY: usize = 0;
pub(in crate::store) const PRELOADED: usize = 1;
/// An upper limit of simulated time for every step.
const PATIENCE: Duration = Duration::from_secs(2);

/// A loader whose queries and copies wait for the test.
#[derive(Default)]
pub(in crate::store) struct ScriptedLoader {
    queries: Mutex<VecDeque<ScriptedQuery>>,
    copies: Mutex<VecDeque<ScriptedCopy>>,
    asked: Notify,
}

/// A query that waits for its result.
pub(in crate::store) struct ScriptedQuery {
    pub(in crate::store) keys: Vec<Key>,
    answer: oneshot::Sender<Result<LoadedRows, LoadError>>,
}

/// A copy that waits for its rows.
pub(in crate::store) struct ScriptedCopy(mpsc::Sender<CopyStep>);

enum CopyStep {
    Begin(ReadPoint, oneshot::Sender<bool>),
    Rows(Vec<(Key, Row)>),
}

/// The read point of a query.
pub(in crate::store) fn seen(snapshot: &str, horizon: u64) -> ReadPoint {
    ReadPoint {
        snapshot: snapshot.parse().unwrap(),
        visible_up_to: Lsn(horizon),
        server: PostmasterId::default(),
    }
}

impl ScriptedQuery {
    /// Completes the query: every requested key has this row, or none.
    pub(in crate::store) fn answer(self, at: ReadPoint, row: Option<&str>) {
        let row = row.map(|json| Row::new(json.as_bytes()));
        let rows = self.keys.iter().map(|key| Ok(LoadedRow { key: key.clone(), row: row.clone() }));
        let _ = self.answer.send(Ok(LoadedRows { at, rows: rows.collect() }));
    }

    pub(in crate::store) fn fail(self, error: LoadError) {
        let _ = self.answer.send(Err(error));
    }
}

impl ScriptedCopy {
    /// Sends the snapshot. Returns whether the sink accepts it.
    pub(in crate::store) async fn begin(&self, at: ReadPoint) -> bool {
        let (reply, accepted) = oneshot::channel();
        self.0.send(CopyStep::Begin(at, reply)).await.ok().unwrap();
        accepted.await.unwrap()
    }

    /// Sends one row. Returns whether the sink accepts it.
    pub(in crate::store) async fn row(&self, id: i64, json: &str) -> bool {
        let row = (Key::integer(id), Row::new(json.as_bytes()));
        let taken = self.0.send(CopyStep::Rows(vec![row])).await.is_ok();
        sleep(Duration::from_millis(1)).await;
        taken && !self.0.is_closed()
    }
}

impl ScriptedLoader {
    /// Completes the query: these rows exist, and no others.
    pub(in crate::store) async fn answer_all(&self, at: ReadPoint, truth: &[(i64, &str)]) {
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
                    CopyStep::Begin(at, reply) => drop(reply.send(sink.begin(&at, 1)?)),
                    CopyStep::Rows(rows) => sink.rows(rows)?,
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async { Err(LoadError::Unavailable("not part of the scenario".into())) }.boxed()
    }
}

/// A store from position 800 on, with a lazy and a preloaded table, and its tasks.
pub(in crate::store) struct StagedStore {
    pub(in crate::store) harness: Harness,
    pub(in crate::store) database: Arc<ScriptedLoader>,
    pub(in crate::store) tables: Vec<Arc<Resource>>,
    tasks: JoinSet<()>,
    readers: JoinSet<Result<(Option<String>, RowOrigin), RowsError>>,
}

impl StagedStore {
    pub(in crate::store) fn new() -> Self {
        Self::with_limits(RowLimits::default())
    }

    pub(in crate::store) fn with_limits(rows: RowLimits) -> Self {
        let mut harness = Harness::with_limits(Limits { rows, log: GENEROUS });
        harness.take(started(800, tables(), None));
        let database = Arc::new(ScriptedLoader::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(harness.store.load_worker().run(database.clone(), CancellationToken::new()));
        let tables = harness.store.directory().resources().to_vec();
        Self { harness, database, tables, tasks, readers: JoinSet::new() }
    }

    /// …whose preloaded table has one row.
    pub(in crate::store) async fn preloaded(id: i64, json: &str) -> Self {
        let mut staged = Self::new();
        staged.preload();
        let copy = staged.copy().await;
        assert!(copy.begin(seen("10:10:", 800)).await);
        copy.row(id, json).await;
        drop(copy);
        staged.pass().await;
        staged
    }

    pub(in crate::store) fn preload(&mut self) {
        let preloader = self.harness.store.preloader();
        self.tasks.spawn(preloader.run(self.database.clone(), CancellationToken::new()));
    }

    pub(in crate::store) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits for the next query.
    pub(in crate::store) async fn query(&self) -> ScriptedQuery {
        self.next(|| self.database.queries.lock().pop_front()).await
    }

    /// Waits for the next copy.
    pub(in crate::store) async fn copy(&self) -> ScriptedCopy {
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

    /// Asserts that no query is made.
    pub(in crate::store) async fn no_query(&mut self) {
        self.pass().await;
        assert!(self.database.queries.lock().is_empty(), "the database is asked");
    }

    /// Starts a request for a row.
    pub(in crate::store) fn read(&mut self, table: usize, id: i64) {
        let (store, table) = (self.harness.store.clone(), self.tables[table].clone());
        self.readers.spawn(async move {
            let read = store.row(&table, &Key::integer(id), Instant::now() + PATIENCE).await?;
            Ok((read.row.map(|row| text(&row)), read.origin))
        });
    }

    /// The row that the request returned.
    pub(in crate::store) async fn returned_row(&mut self) -> Option<String> {
        self.readers.join_next().await.unwrap().unwrap().unwrap().0
    }

    /// The row in memory; asserts that no query is made.
    pub(in crate::store) async fn held(&mut self, table: usize, id: i64) -> Option<String> {
        self.read(table, id);
        let (row, origin) = self.readers.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(origin, RowOrigin::Memory);
        row
    }

    /// Lets the tasks run for some simulated time.
    pub(in crate::store) async fn pass(&mut self) {
        for _ in 0..5 {
            sleep(Duration::from_millis(1)).await;
            self.harness.writer.serve_requests();
        }
    }

    /// Applies a commit that ends at `end` and changes row `id`.
    pub(in crate::store) fn change(
        &mut self,
        end: u64,
        xid: u32,
        table: usize,
        id: i64,
        image: RowAfter,
    ) {
        self.commit(end, xid, vec![(table, id, image)]);
    }

    /// Applies a commit with several changes.
    pub(in crate::store) fn commit(
        &mut self,
        end: u64,
        xid: u32,
        rows: Vec<(usize, i64, RowAfter)>,
    ) {
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

    /// Applies a commit that truncates a table.
    pub(in crate::store) fn truncate(&mut self, end: u64, xid: u32, table: usize) {
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
        self.harness.take(Event::Commit(Transaction {
            end_lsn: Lsn(end),
            committed_at: now(),
            xid: Xid(xid),
            changes,
            resets,
            rows,
        }));
    }

    /// Applies a watermark.
    pub(in crate::store) fn reach(&mut self, end: u64) {
        self.harness.take(Event::Watermark(Lsn(end)));
    }
}

pub(in crate::store) fn text(row: &Row) -> String {
    String::from_utf8(row.json().to_vec()).unwrap()
}

/// A change with the full row.
pub(in crate::store) fn full(json: &str) -> RowAfter {
    RowAfter::Full(Row::new(json.as_bytes()))
}

/// A change without the second member, a large value that did not change.
pub(in crate::store) fn partial(json: &str, before: Option<i64>) -> RowAfter {
    RowAfter::Partial {
        row: PartialRow::new(json.as_bytes(), &[1]),
        before: before.map(Key::integer),
    }
}
