//! Another history takes over: which rows are served after it, and which never.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::model::tables;
use super::{RowOrigin, RowsError};
use crate::change::{Change, Event, Op, ResetReason, Started, Transaction};
use crate::history::{TimelineHistory, TimelineSwitch};
use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRow, LoadedRows, Loader, ReadPoint};
use crate::lsn::Lsn;
use crate::row::{Row, RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::source::PostmasterId;
use crate::store::Resource;
use crate::store::testing::{GENEROUS, Harness, at, now, told};
use crate::table::Table;
use crate::version::Version;

const LAZY: usize = 0;
const PRELOADED: usize = 1;

/// A database with one row of each table, under the key 1; and which servers were left.
#[derive(Default)]
struct SimulatedServer(Mutex<ReadClaim>, Mutex<Vec<PostmasterId>>);

/// What a server says now.
#[derive(Clone, Default)]
struct ReadClaim {
    document: &'static str,
    snapshot: &'static str,
    horizon: u64,
    server: PostmasterId,
    /// The answer is on its way until then.
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

/// A store that follows the first timeline up to 960, where the second one left it.
struct TimelineScenario {
    bench: Harness,
    server: Arc<SimulatedServer>,
    tables: Vec<Arc<Resource>>,
    tasks: JoinSet<()>,
}

fn histories() -> [TimelineHistory; 2] {
    let switch = TimelineSwitch { timeline: 1, at: Lsn(960) };
    [TimelineHistory::new(7, 5, 1, &[]), TimelineHistory::new(7, 5, 2, &[switch])]
}

impl TimelineScenario {
    /// The old server says "old".
    fn begin(snapshot: &'static str, horizon: u64) -> Self {
        let [first, _] = histories();
        let mut bench = Harness::new(GENEROUS);
        bench.take(start(first, 800, None));
        bench.take(commit(880, 10, vec![], vec![]));
        bench.take(Event::Watermark(Lsn(960)));
        let server = Arc::new(SimulatedServer::default());
        let mut tasks = JoinSet::new();
        for _ in 0..2 {
            let worker = bench.store.load_worker();
            tasks.spawn(worker.run(server.clone(), CancellationToken::new()));
        }
        let tables = bench.store.directory().tables().to_vec();
        let story = Self { bench, server, tables, tasks };
        story.server_says(r#"{"n":"old"}"#, snapshot, horizon, None);
        story
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
        let preloader = self.bench.store.preloader();
        self.tasks.spawn(preloader.run(self.server.clone(), CancellationToken::new()));
    }

    /// The second timeline goes on with everything that is held.
    fn fail_over(&mut self) {
        let [_, second] = histories();
        self.bench.take(start(second, 960, None));
    }

    async fn row(&self) -> (String, RowOrigin) {
        self.try_row().await.unwrap()
    }

    async fn try_row(&self) -> Result<(String, RowOrigin), RowsError> {
        let until = Instant::now() + Duration::from_secs(5);
        let read = self.bench.store.row(&self.tables[LAZY], &Key::integer(1), until).await?;
        Ok((text(&read.row.unwrap()), read.origin))
    }

    async fn page(&self) -> Result<String, RowsError> {
        let table = self.tables[PRELOADED].clone().into();
        let page = self.bench.store.page(&table, None, 10, Instant::now()).await?;
        Ok(text(&page.rows[0].1))
    }

    /// Lets everybody work for a while.
    async fn pass(&mut self) {
        for _ in 0..10 {
            self.bench.writer.carry_out();
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
async fn rows_in_memory_are_asked_for_again_although_the_logs_go_on() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    assert_eq!(story.row().await, is("old", RowOrigin::Database));
    assert_eq!(story.row().await, is("old", RowOrigin::Memory));
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    // The same history, on another connection: nothing is lost.
    let [first, _] = histories();
    let old = first.epoch();
    story.bench.take(start(first, 960, None));
    assert_eq!(story.row().await, is("old", RowOrigin::Memory));
    story.fail_over();
    assert_eq!(story.row().await, is("new", RowOrigin::Database));
    assert_eq!(story.row().await, is("new", RowOrigin::Memory));
    let answer = story.bench.poll_all(Version { epoch: old, ..at(960) });
    assert_eq!(told(&answer), "", "the logs go on");
}

#[tokio::test(start_paused = true)]
async fn rows_kept_aside_are_asked_for_again() {
    // The snapshot is ahead of the stream: the commit at 968 is one that the new server lacks.
    let mut story = TimelineScenario::begin("20:20:", 968);
    assert_eq!(story.row().await, is("old", RowOrigin::Database));
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    story.fail_over();
    assert_eq!(story.row().await, is("new", RowOrigin::Database));
    story.bench.take(Event::Watermark(Lsn(1040)));
    assert_eq!(story.row().await, is("new", RowOrigin::Memory));
}

/// The history is the same for all that can be seen: a copy of the server, with its timeline.
#[tokio::test(start_paused = true)]
async fn what_another_server_says_counts_once_the_stream_is_there() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    let other = PostmasterId(2);
    story.server_says(r#"{"n":"other"}"#, "20:20:", 960, None);
    story.server.0.lock().server = other;
    story.preload();
    let refused = story.try_row().await.unwrap_err();
    assert!(
        matches!(&refused, RowsError::TemporarilyUnavailable(text) if text.contains("another server"))
    );
    story.pass().await;
    assert!(matches!(story.page().await, Err(RowsError::TemporarilyUnavailable(_))));
    assert!(story.server.1.lock().contains(&other), "its sessions are closed");
    // The old one answers again: to whoever asks now, and not those who were refused.
    story.server_says(r#"{"n":"old"}"#, "20:20:", 960, None);
    assert_eq!(story.row().await, is("old", RowOrigin::Database));
    let [first, _] = histories();
    story.server_says(r#"{"n":"other"}"#, "20:20:", 960, None);
    story.server.0.lock().server = other;
    story.bench.take(start_at(other, first, 960, None));
    sleep(Duration::from_mins(1)).await;
    story.pass().await;
    assert_eq!(story.page().await.unwrap(), r#"{"n":"other"}"#);
}

/// A reader who asks in the moment between is not refused.
#[tokio::test(start_paused = true)]
async fn who_asks_while_the_stream_moves_to_the_new_server_waits_for_it() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    story.server.0.lock().server = PostmasterId(2);
    let (readers, table) = (story.bench.store.clone(), story.tables[LAZY].clone());
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_secs(5));
    tokio::pin!(reading);
    assert!(reading.as_mut().now_or_never().is_none());
    story.pass().await;
    let [_, second] = histories();
    story.bench.take(start_at(PostmasterId(2), second, 960, None));
    assert_eq!(text(&reading.await.unwrap().row.unwrap()), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn another_servers_snapshot_says_nothing_of_the_followed_ones_commits() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    let table = story.tables[LAZY].oid();
    let row = RowChange::Upsert { table, key: Key::integer(1), image: RowAfter::Unresolved };
    let change = Change { table, key: Key::integer(1), op: Op::Update, ordinal: 1, scope: None };
    story.bench.take(commit(968, 30, vec![change], vec![row]));
    story.server_says(r#"{"n":"other"}"#, "50:50:", 968, None);
    story.server.0.lock().server = PostmasterId(2);
    // Long enough for a worker to ask for a snapshot.
    sleep(Duration::from_secs(3)).await;
    story.server_says(r#"{"n":"before"}"#, "30:31:30", 968, None);
    assert!(story.try_row().await.is_err(), "a row from before transaction 30 is too old");
    story.server_says(r#"{"n":"new"}"#, "31:31:", 968, None);
    assert_eq!(story.row().await, is("new", RowOrigin::Database));
}

/// The same server on a new connection, after a crash that took back the commit at 968.
fn crash(story: &mut TimelineScenario) {
    let [first, _] = histories();
    story.bench.take(start(first, 960, None));
}

#[tokio::test(start_paused = true)]
async fn rows_ahead_of_the_stream_are_asked_for_again_when_the_connection_was_lost() {
    let mut story = TimelineScenario::begin("20:20:", 968);
    assert_eq!(story.row().await, is("old", RowOrigin::Database));
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    crash(&mut story);
    assert_eq!(story.row().await, is("new", RowOrigin::Database));
    story.bench.take(Event::Watermark(Lsn(1040)));
    assert_eq!(story.row().await, is("new", RowOrigin::Memory));
}

#[tokio::test(start_paused = true)]
async fn rows_on_their_way_when_the_connection_was_lost_are_of_no_use() {
    let mut story = TimelineScenario::begin("20:20:", 968);
    let arrives = Arc::new(Notify::new());
    story.server_says(r#"{"n":"old"}"#, "20:20:", 968, Some(&arrives));
    let readers = story.bench.store.clone();
    let table = story.tables[LAZY].clone();
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_secs(5));
    tokio::pin!(reading);
    assert!(reading.as_mut().now_or_never().is_none());
    story.pass().await;
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    crash(&mut story);
    let read = reading.await.unwrap();
    assert_eq!(text(&read.row.unwrap()), r#"{"n":"new"}"#);
    arrives.notify_one();
    story.pass().await;
    assert_eq!(story.row().await, is("new", RowOrigin::Memory));
}

#[tokio::test(start_paused = true)]
async fn a_copy_ahead_of_the_stream_begins_anew_when_the_connection_was_lost() {
    let mut story = TimelineScenario::begin("20:20:", 968);
    story.preload();
    story.pass().await;
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    crash(&mut story);
    story.pass().await;
    story.bench.take(Event::Watermark(Lsn(1040)));
    story.pass().await;
    assert_eq!(story.page().await.unwrap(), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn rows_on_their_way_from_the_old_server_are_of_no_use() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    let arrives = Arc::new(Notify::new());
    story.server_says(r#"{"n":"old"}"#, "20:20:", 960, Some(&arrives));
    let readers = story.bench.store.clone();
    let table = story.tables[LAZY].clone();
    let until = Instant::now() + Duration::from_secs(5);
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, until);
    tokio::pin!(reading);
    assert!(reading.as_mut().now_or_never().is_none());
    story.pass().await;
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    story.fail_over();
    let read = reading.await.unwrap();
    assert_eq!(text(&read.row.unwrap()), r#"{"n":"new"}"#, "who waits is told what is there now");
    arrives.notify_one();
    story.pass().await;
    assert_eq!(story.row().await, is("new", RowOrigin::Memory));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_the_old_server_says_nothing_of_the_new_ones_commits() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    let arrives = Arc::new(Notify::new());
    story.server_says(r#"{"n":"old"}"#, "50:50:", 960, Some(&arrives));
    let readers = story.bench.store.clone();
    let table = story.tables[LAZY].clone();
    let key = Key::integer(1);
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_millis(20));
    assert!(reading.await.is_err());
    story.server_says(r#"{"n":"before"}"#, "30:31:30", 1040, None);
    story.fail_over();
    // Transaction 30 has ended here and is not yet visible; the old server's 30 was another one.
    let change =
        Change { table: table.oid(), key: key.clone(), op: Op::Update, ordinal: 1, scope: None };
    let row =
        RowChange::Upsert { table: table.oid(), key: key.clone(), image: RowAfter::Unresolved };
    story.bench.take(commit(1040, 30, vec![change], vec![row]));
    arrives.notify_one();
    story.pass().await;
    let reading = readers.row(&table, &key, Instant::now() + Duration::from_millis(20));
    assert!(reading.await.is_err(), "a row from before transaction 30 is too old");
    story.server_says(r#"{"n":"new"}"#, "31:31:", 1040, None);
    assert_eq!(story.row().await, is("new", RowOrigin::Database));
}

#[tokio::test(start_paused = true)]
async fn a_preloaded_table_is_copied_anew() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    story.preload();
    story.pass().await;
    assert_eq!(story.page().await.unwrap(), r#"{"n":"old"}"#);
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    story.fail_over();
    assert!(
        matches!(story.page().await, Err(RowsError::TemporarilyUnavailable(_))),
        "nothing of before is served"
    );
    story.pass().await;
    assert_eq!(story.page().await.unwrap(), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_copy_on_its_way_from_the_old_server_begins_anew() {
    let mut story = TimelineScenario::begin("20:20:", 960);
    let arrives = Arc::new(Notify::new());
    story.server_says(r#"{"n":"old"}"#, "20:20:", 960, Some(&arrives));
    story.preload();
    story.pass().await;
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    story.fail_over();
    arrives.notify_one();
    story.pass().await;
    assert_eq!(story.page().await.unwrap(), r#"{"n":"new"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_lacks_what_was_told_begins_without_rows() {
    let mut story = TimelineScenario::begin("20:20:", 968);
    story.bench.take(Event::Watermark(Lsn(968)));
    story.preload();
    story.pass().await;
    assert_eq!(story.page().await.unwrap(), r#"{"n":"old"}"#);
    assert_eq!(story.row().await, is("old", RowOrigin::Database));
    assert_eq!(story.row().await, is("old", RowOrigin::Memory));
    story.server_says(r#"{"n":"new"}"#, "20:20:", 960, None);
    story.fail_over();
    story.tables = story.bench.store.directory().tables().to_vec();
    assert!(matches!(story.page().await, Err(RowsError::TemporarilyUnavailable(_))));
    assert_eq!(story.row().await, is("new", RowOrigin::Database));
    story.pass().await;
    assert_eq!(story.page().await.unwrap(), r#"{"n":"new"}"#);
}

/// Without an end of its own such a wait would go round in circles, since every position counts as
/// reached once the store is closed.
#[tokio::test(start_paused = true)]
async fn whoever_waits_is_refused_when_the_store_closes() {
    // What the snapshot saw has not come with the stream.
    let story = TimelineScenario::begin("20:20:", 968);
    let readers = story.bench.store.clone();
    let (keys, until) = ([Key::integer(1)], Instant::now() + Duration::from_mins(1));
    let several = readers.rows(&story.tables[LAZY], &keys, until);
    let part = story.tables[PRELOADED].clone().into();
    let whole = readers.page(&part, None, 10, until);
    let closing = async {
        sleep(Duration::from_millis(50)).await;
        story.bench.store.close();
    };
    let (several, whole, ()) = tokio::join!(several, whole, closing);
    assert!(matches!(several, Err(RowsError::TemporarilyUnavailable(_))));
    assert!(matches!(whole, Err(RowsError::TemporarilyUnavailable(_))));
    // On its way for ever.
    story.server_says("", "20:20:", 960, Some(&Arc::new(Notify::new())));
    let one = readers.row(&story.tables[LAZY], &Key::integer(2), until).await;
    assert!(matches!(one, Err(RowsError::TemporarilyUnavailable(_))));
    assert!(Instant::now() < until - Duration::from_secs(50));
}
