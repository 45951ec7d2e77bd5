//! Changes of history: which rows are served after one, and which never.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::row_model::tables;
use crate::change::{Change, Event, Op, ResetReason, Started, Transaction};
use crate::history::{TimelineHistory, TimelineSwitch};
use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRow, LoadedRows, Loader, ReadPoint};
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::source_status::PostmasterId;
use crate::store::Resource;
use crate::store::tests::{GENEROUS, Harness, at, now, summary};
use crate::store::{RowOrigin, RowsError};
use crate::table::Table;
use crate::version::Version;

const LAZY: usize = 0;
const PRELOADED: usize = 1;

/// A database with one row of each table, under the key 1; and the servers whose sessions were closed.
#[derive(Default)]
struct SimulatedServer(Mutex<ReadClaim>, Mutex<Vec<PostmasterId>>);

/// The present state of a server.
#[derive(Clone, Default)]
struct ReadClaim {
    document: &'static str,
    snapshot: &'static str,
    horizon: u64,
    server: PostmasterId,
    /// Holds the result back until it is notified.
    until: Option<Arc<Notify>>,
}

impl SimulatedServer {
    async fn answer(&self) -> (Row, ReadPoint) {
        let says = self.0.lock().clone();
        if let Some(until) = says.until {
            until.notified().await;
        }
        let at = ReadPoint {
            snapshot: says.snapshot.parse().unwrap(),
            visible_up_to: Lsn(says.horizon),
            server: says.server,
        };
        (Row::new(says.document.as_bytes()), at)
    }
}

impl Loader for SimulatedServer {
    fn load<'a>(
        &'a self,
        _: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>> {
        async move {
            let (row, at) = self.answer().await;
            let found = |key: &Key| Ok(LoadedRow { key: key.clone(), row: Some(row.clone()) });
            Ok(LoadedRows { at, rows: keys.iter().map(found).collect() })
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        _: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        async move {
            let (row, at) = self.answer().await;
            assert!(sink.begin(&at, 1)?);
            sink.rows(vec![(Key::integer(1), row)])
        }
        .boxed()
    }

    fn leave(&self, server: PostmasterId) {
        self.1.lock().push(server);
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async move { Ok(self.answer().await.1) }.boxed()
    }
}

/// A store that follows the first timeline up to 960, where the second one branches off.
struct TimelineScenario {
    harness: Harness,
    server: Arc<SimulatedServer>,
    tables: Vec<Arc<Resource>>,
    tasks: JoinSet<()>,
}

fn histories() -> [TimelineHistory; 2] {
    let switch = TimelineSwitch { timeline: 1, at: Lsn(960) };
    [TimelineHistory::new(7, 5, 1, &[]), TimelineHistory::new(7, 5, 2, &[switch])]
}

impl TimelineScenario {
    /// The old server has the rows "old".
    fn begin(snapshot: &'static str, horizon: u64) -> Self {
        let [first, _] = histories();
        let mut harness = Harness::new(GENEROUS);
        harness.take(start(first, 800, None));
        harness.take(commit(880, 10, vec![], vec![]));
        harness.take(Event::Watermark(Lsn(960)));
        let server = Arc::new(SimulatedServer::default());
        let mut tasks = JoinSet::new();
        for _ in 0..2 {
            let worker = harness.store.load_worker();
            tasks.spawn(worker.run(server.clone(), CancellationToken::new()));
        }
        let tables = harness.store.directory().resources().to_vec();
        let scenario = Self { harness, server, tables, tasks };
        scenario.server_says(r#"{"n":"old"}"#, snapshot, horizon, None);
        scenario
    }

    fn server_says(
        &self,
        document: &'static str,
        snapshot: &'static str,
        horizon: u64,
        until: Option<&Arc<Notify>>,
    ) {
        let (until, server) = (until.cloned(), PostmasterId::default());
        *self.server.0.lock() = ReadClaim { document, snapshot, horizon, server, until };
    }

    fn preload(&mut self) {
        let preloader = self.harness.store.preloader();
        self.tasks.spawn(preloader.run(self.server.clone(), CancellationToken::new()));
    }

    /// The second timeline continues everything in the store.
    fn fail_over(&mut self) {
        let [_, second] = histories();
        self.harness.take(start(second, 960, None));
    }

    async fn row(&self) -> (String, RowOrigin) {
        self.try_row().await.unwrap()
    }

    async fn try_row(&self) -> Result<(String, RowOrigin), RowsError> {
        let until = Instant::now() + Duration::from_secs(5);
        let read = self.harness.store.row(&self.tables[LAZY], &Key::integer(1), until).await?;
        Ok((text(&read.row.unwrap()), read.origin))
    }

    async fn page(&self) -> Result<String, RowsError> {
        let table = self.tables[PRELOADED].clone().into();
        let page = self.harness.store.page(&table, None, 10, Instant::now()).await?;
        Ok(text(&page.rows[0].1))
    }

    /// Lets the tasks run for some simulated time.
    async fn pass(&mut self) {
        for _ in 0..10 {
            self.harness.writer.serve_requests();
            sleep(Duration::from_millis(10)).await;
        }
    }
}

fn start(history: TimelineHistory, from: u64, broken: Option<ResetReason>) -> Event {
    start_at(PostmasterId::default(), history, from, broken)
}

fn start_at(
    server: PostmasterId,
    history: TimelineHistory,
    from: u64,
    broken: Option<ResetReason>,
) -> Event {
    Event::Started(Started { history, server, from: Lsn(from), tables: tables(), broken })
}

fn commit(end: u64, xid: u32, changes: Vec<Change>, rows: Vec<RowChange>) -> Event {
    Event::Commit(Transaction {
        end_lsn: Lsn(end),
        committed_at: now(),
        xid: Xid(xid),
        changes,
        resets: vec![],
        rows,
    })
}

fn text(row: &Row) -> String {
    String::from_utf8(row.json().to_vec()).unwrap()
}

fn is(document: &str, origin: RowOrigin) -> (String, RowOrigin) {
    (format!(r#"{{"n":"{document}"}}"#), origin)
}

#[tokio::test(start_paused = true)]
async fn cached_rows_are_loaded_again_although_the_logs_continue() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    assert_eq!(scenario.row().await, is("old", RowOrigin::Database));
    assert_eq!(scenario.row().await, is("old", RowOrigin::Memory));
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    // The same history, on another connection: nothing is lost.
    let [first, _] = histories();
    let old = first.epoch();
    scenario.harness.take(start(first, 960, None));
    assert_eq!(scenario.row().await, is("old", RowOrigin::Memory));
    scenario.fail_over();
    assert_eq!(scenario.row().await, is("new", RowOrigin::Database));
    assert_eq!(scenario.row().await, is("new", RowOrigin::Memory));
    let answer = scenario.harness.poll_all(Version { epoch: old, ..at(960) });
    assert_eq!(summary(&answer), "", "the logs continue");
}

#[tokio::test(start_paused = true)]
async fn rows_held_back_are_loaded_again() {
    // The snapshot is ahead of the stream: the commit at 968 is one that the new server lacks.
    let mut scenario = TimelineScenario::begin("20:20:", 968);
    assert_eq!(scenario.row().await, is("old", RowOrigin::Database));
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    scenario.fail_over();
    assert_eq!(scenario.row().await, is("new", RowOrigin::Database));
    scenario.harness.take(Event::Watermark(Lsn(1040)));
    assert_eq!(scenario.row().await, is("new", RowOrigin::Memory));
}

/// The new server is a copy of the old one with the same timeline: the history does not change.
#[tokio::test(start_paused = true)]
async fn rows_of_another_server_count_once_the_stream_is_there() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    let other = PostmasterId(2);
    scenario.server_says(r#"{"n":"other"}"#, "20:20:", 960, None);
    scenario.server.0.lock().server = other;
    scenario.preload();
    let refused = scenario.try_row().await.unwrap_err();
    assert!(
        matches!(&refused, RowsError::TemporarilyUnavailable(text) if text.contains("another server"))
    );
    scenario.pass().await;
    assert!(matches!(scenario.page().await, Err(RowsError::TemporarilyUnavailable(_))));
    assert!(scenario.server.1.lock().contains(&other), "its sessions are closed");
    // The old one answers again: new requests get its rows, failed ones stay failed.
    scenario.server_says(r#"{"n":"old"}"#, "20:20:", 960, None);
    assert_eq!(scenario.row().await, is("old", RowOrigin::Database));
    let [first, _] = histories();
    scenario.server_says(r#"{"n":"other"}"#, "20:20:", 960, None);
    scenario.server.0.lock().server = other;
    scenario.harness.take(start_at(other, first, 960, None));
    sleep(Duration::from_mins(1)).await;
    scenario.pass().await;
    assert_eq!(scenario.page().await.unwrap(), r#"{"n":"other"}"#);
}

/// A request in between does not fail.
#[tokio::test(start_paused = true)]
async fn a_request_while_the_stream_moves_to_the_new_server_waits_for_it() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    scenario.server.0.lock().server = PostmasterId(2);
    let (readers, table) = (scenario.harness.store.clone(), scenario.tables[LAZY].clone());
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_secs(5));
    tokio::pin!(reading);
    assert!(reading.as_mut().now_or_never().is_none());
    scenario.pass().await;
    let [_, second] = histories();
    scenario.harness.take(start_at(PostmasterId(2), second, 960, None));
    assert_eq!(text(&reading.await.unwrap().row.unwrap()), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn another_servers_snapshot_does_not_prune_recent_commits() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    let table = scenario.tables[LAZY].oid();
    let row = RowChange::Upsert { table, key: Key::integer(1), image: RowAfter::Unresolved };
    let change = Change { table, key: Key::integer(1), op: Op::Update, ordinal: 1, scope: None };
    scenario.harness.take(commit(968, 30, vec![change], vec![row]));
    scenario.server_says(r#"{"n":"other"}"#, "50:50:", 968, None);
    scenario.server.0.lock().server = PostmasterId(2);
    // Long enough for a worker to take a snapshot.
    sleep(Duration::from_secs(3)).await;
    scenario.server_says(r#"{"n":"before"}"#, "30:31:30", 968, None);
    assert!(scenario.try_row().await.is_err(), "a row from before transaction 30 is too old");
    scenario.server_says(r#"{"n":"new"}"#, "31:31:", 968, None);
    assert_eq!(scenario.row().await, is("new", RowOrigin::Database));
}

/// The same server on a new connection, after a crash that took back the commit at 968.
fn crash(scenario: &mut TimelineScenario) {
    let [first, _] = histories();
    scenario.harness.take(start(first, 960, None));
}

#[tokio::test(start_paused = true)]
async fn rows_ahead_of_the_stream_are_loaded_again_when_the_connection_was_lost() {
    let mut scenario = TimelineScenario::begin("20:20:", 968);
    assert_eq!(scenario.row().await, is("old", RowOrigin::Database));
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    crash(&mut scenario);
    assert_eq!(scenario.row().await, is("new", RowOrigin::Database));
    scenario.harness.take(Event::Watermark(Lsn(1040)));
    assert_eq!(scenario.row().await, is("new", RowOrigin::Memory));
}

#[tokio::test(start_paused = true)]
async fn rows_being_loaded_when_the_connection_was_lost_are_discarded() {
    let mut scenario = TimelineScenario::begin("20:20:", 968);
    let arrives = Arc::new(Notify::new());
    scenario.server_says(r#"{"n":"old"}"#, "20:20:", 968, Some(&arrives));
    let readers = scenario.harness.store.clone();
    let table = scenario.tables[LAZY].clone();
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_secs(5));
    tokio::pin!(reading);
    assert!(reading.as_mut().now_or_never().is_none());
    scenario.pass().await;
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    crash(&mut scenario);
    let read = reading.await.unwrap();
    assert_eq!(text(&read.row.unwrap()), r#"{"n":"new"}"#);
    arrives.notify_one();
    scenario.pass().await;
    assert_eq!(scenario.row().await, is("new", RowOrigin::Memory));
}

#[tokio::test(start_paused = true)]
async fn a_copy_ahead_of_the_stream_begins_anew_when_the_connection_was_lost() {
    let mut scenario = TimelineScenario::begin("20:20:", 968);
    scenario.preload();
    scenario.pass().await;
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    crash(&mut scenario);
    scenario.pass().await;
    scenario.harness.take(Event::Watermark(Lsn(1040)));
    scenario.pass().await;
    assert_eq!(scenario.page().await.unwrap(), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn rows_being_loaded_from_the_old_server_are_discarded() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    let arrives = Arc::new(Notify::new());
    scenario.server_says(r#"{"n":"old"}"#, "20:20:", 960, Some(&arrives));
    let readers = scenario.harness.store.clone();
    let table = scenario.tables[LAZY].clone();
    let until = Instant::now() + Duration::from_secs(5);
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, until);
    tokio::pin!(reading);
    assert!(reading.as_mut().now_or_never().is_none());
    scenario.pass().await;
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    scenario.fail_over();
    let read = reading.await.unwrap();
    assert_eq!(
        text(&read.row.unwrap()),
        r#"{"n":"new"}"#,
        "a waiting request gets the present row"
    );
    arrives.notify_one();
    scenario.pass().await;
    assert_eq!(scenario.row().await, is("new", RowOrigin::Memory));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_the_old_server_does_not_prune_the_new_ones_commits() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    let arrives = Arc::new(Notify::new());
    scenario.server_says(r#"{"n":"old"}"#, "50:50:", 960, Some(&arrives));
    let readers = scenario.harness.store.clone();
    let table = scenario.tables[LAZY].clone();
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_millis(20));
    assert!(reading.await.is_err());
    scenario.server_says(r#"{"n":"before"}"#, "30:31:30", 1040, None);
    scenario.fail_over();
    // Transaction 30 has ended here and is not yet visible; the old server's 30 was another one.
    let change =
        Change { table: table.oid(), key: key.clone(), op: Op::Update, ordinal: 1, scope: None };
    let row =
        RowChange::Upsert { table: table.oid(), key: key.clone(), image: RowAfter::Unresolved };
    scenario.harness.take(commit(1040, 30, vec![change], vec![row]));
    arrives.notify_one();
    scenario.pass().await;
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_millis(20));
    assert!(reading.await.is_err(), "a row from before transaction 30 is too old");
    scenario.server_says(r#"{"n":"new"}"#, "31:31:", 1040, None);
    assert_eq!(scenario.row().await, is("new", RowOrigin::Database));
}

#[tokio::test(start_paused = true)]
async fn a_preloaded_table_is_copied_anew() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    scenario.preload();
    scenario.pass().await;
    assert_eq!(scenario.page().await.unwrap(), r#"{"n":"old"}"#);
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    scenario.fail_over();
    assert!(
        matches!(scenario.page().await, Err(RowsError::TemporarilyUnavailable(_))),
        "nothing of before is served"
    );
    scenario.pass().await;
    assert_eq!(scenario.page().await.unwrap(), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_running_copy_from_the_old_server_begins_anew() {
    let mut scenario = TimelineScenario::begin("20:20:", 960);
    let arrives = Arc::new(Notify::new());
    scenario.server_says(r#"{"n":"old"}"#, "20:20:", 960, Some(&arrives));
    scenario.preload();
    scenario.pass().await;
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    scenario.fail_over();
    arrives.notify_one();
    scenario.pass().await;
    assert_eq!(scenario.page().await.unwrap(), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_lacks_applied_commits_begins_without_rows() {
    let mut scenario = TimelineScenario::begin("20:20:", 968);
    scenario.harness.take(Event::Watermark(Lsn(968)));
    scenario.preload();
    scenario.pass().await;
    assert_eq!(scenario.page().await.unwrap(), r#"{"n":"old"}"#);
    assert_eq!(scenario.row().await, is("old", RowOrigin::Database));
    assert_eq!(scenario.row().await, is("old", RowOrigin::Memory));
    scenario.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    scenario.fail_over();
    scenario.tables = scenario.harness.store.directory().resources().to_vec();
    assert!(matches!(scenario.page().await, Err(RowsError::TemporarilyUnavailable(_))));
    assert_eq!(scenario.row().await, is("new", RowOrigin::Database));
    scenario.pass().await;
    assert_eq!(scenario.page().await.unwrap(), r#"{"n":"new"}"#);
}

/// Without an end of its own such a wait would be an endless loop, since every position counts as
/// reached once the store is closed.
#[tokio::test(start_paused = true)]
async fn waiting_requests_fail_when_the_store_closes() {
    // The stream has not reached what the snapshot saw.
    let scenario = TimelineScenario::begin("20:20:", 968);
    let readers = scenario.harness.store.clone();
    let (keys, until) = ([Key::integer(1)], Instant::now() + Duration::from_mins(1));
    let several = readers.rows(&scenario.tables[LAZY], &keys, until);
    let part = scenario.tables[PRELOADED].clone().into();
    let whole = readers.page(&part, None, 10, until);
    let closing = async {
        sleep(Duration::from_millis(50)).await;
        scenario.harness.store.close();
    };
    let (several, whole, ()) = tokio::join!(several, whole, closing);
    assert!(matches!(several, Err(RowsError::TemporarilyUnavailable(_))));
    assert!(matches!(whole, Err(RowsError::TemporarilyUnavailable(_))));
    // A load that never ends.
    scenario.server_says("", "20:20:", 960, Some(&Arc::new(Notify::new())));
    let one = readers.row(&scenario.tables[LAZY], &Key::integer(2), until).await;
    assert!(matches!(one, Err(RowsError::TemporarilyUnavailable(_))));
    assert!(Instant::now() < until - Duration::from_secs(50));
}
