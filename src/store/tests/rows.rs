//! Rows through the store's interface, with a database of prepared results.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Registry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::change::{Event, Op, Transaction};
use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRow, LoadedRows, Loader, ReadPoint};
use crate::lsn::Lsn;

use crate::row::{Row, RowAfter, RowChange};
use crate::snapshot::Xid;
use crate::source_status::{PostmasterId, StreamRequests};
use crate::store::tests::{at, commit, now, started, table};
use crate::store::{
    ChangeQuery, Limits, Page, ReadRow, Resource, ResourceSelection, RowLimits, RowOrigin,
    RowsError, RowsState, Store, StoreMetrics, Writer, open,
};
use crate::table::{RowCachePlan, RowCaching, RowMode, Table, TableOid};

/// A database of prepared results.
#[derive(Default)]
struct Script {
    /// Requested key, canonical key, row.
    rows: Mutex<Vec<(Key, Key, Row)>>,
    error: Mutex<Option<LoadError>>,
    /// A key whose row can't be written as JSON.
    unencodable: Mutex<Option<Key>>,
    queries: Mutex<Vec<Vec<Key>>>,
}

impl Script {
    fn holds(&self, requested: Key, canonical: Key, row: &str) {
        self.rows.lock().push((requested, canonical, Row::new(row.as_bytes())));
    }

    fn at() -> ReadPoint {
        ReadPoint {
            snapshot: "50:50:".parse().unwrap(),
            visible_up_to: Lsn(800),
            server: PostmasterId::default(),
        }
    }
}

impl Loader for Script {
    fn load<'a>(
        &'a self,
        _: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>> {
        async move {
            self.queries.lock().push(keys.to_vec());
            if let Some(error) = &*self.error.lock() {
                return Err(error.clone());
            }
            let rows = self.rows.lock();
            let found =
                keys.iter().map(|key| match rows.iter().find(|(requested, ..)| requested == key) {
                    _ if self.unencodable.lock().as_ref() == Some(key) => {
                        Err(format!("row {key:?} is odd"))
                    }
                    Some((_, key, row)) => {
                        Ok(LoadedRow { key: key.clone(), row: Some(row.clone()) })
                    }
                    None => Ok(LoadedRow { key: key.clone(), row: None }),
                });
            Ok(LoadedRows { at: Self::at(), rows: found.collect() })
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        _: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        async move {
            let rows = self.rows.lock().clone();
            sink.begin(&Self::at(), rows.len() as u64)?;
            sink.rows(rows.into_iter().map(|(_, key, row)| (key, row)).collect())
        }
        .boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async { Ok(Self::at()) }.boxed()
    }
}

struct RowsHarness {
    writer: Writer,
    store: Store,
    script: Arc<Script>,
    tasks: JoinSet<()>,
    table: Arc<Resource>,
}

impl RowsHarness {
    fn new(mode: RowMode, limits: RowLimits, script: Script) -> Self {
        let held = RowCachePlan {
            mode,
            columns: vec![],
            key: vec![],
            partitioned: false,
            filter: None,
            definition: String::new(),
            keys_are_exact: true,
        };
        let limits = Limits { rows: limits, ..Limits::default() };
        let (mut writer, store) = open(
            limits,
            StreamRequests::default(),
            StoreMetrics::register(&Registry::default()).unwrap(),
        );
        let items = Table { rows: RowCaching::Enabled(held.into()), ..table(1, "items") };
        writer.apply(vec![started(800, vec![items], None)]);
        let table = store.directory().resolve("items").unwrap().clone();
        Self { writer, store, script: Arc::new(script), tasks: JoinSet::new(), table }
    }

    fn start(&mut self) {
        let never = CancellationToken::new();
        self.tasks.spawn(self.store.load_worker().run(self.script.clone(), never.clone()));
        self.tasks.spawn(self.store.preloader().run(self.script.clone(), never));
    }

    /// A preloaded table with rows under these ids.
    async fn preloaded(ids: &[i64]) -> Self {
        let script = Script::default();
        for id in ids {
            script.holds(Key::integer(*id), Key::integer(*id), "{}");
        }
        let mut harness = Self::new(RowMode::Preload, RowLimits::default(), script);
        harness.start();
        harness.pass().await;
        harness
    }

    /// Lets all tasks and the writer do their work.
    async fn pass(&mut self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.writer.serve_requests();
    }

    async fn row(&self, key: &Key) -> Result<ReadRow, RowsError> {
        self.store.row(&self.table, key, soon()).await
    }

    fn change(&mut self, end: u64, key: Key, image: RowAfter) {
        self.commit(end, RowChange::Upsert { table: TableOid(1), key, image });
    }

    fn commit(&mut self, end: u64, change: RowChange) {
        self.writer.apply(vec![Event::Commit(Transaction {
            end_lsn: Lsn(end),
            committed_at: now(),
            xid: Xid(40),
            changes: vec![],
            resets: vec![],
            rows: vec![change],
        })]);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

fn text(text: &str) -> Key {
    Key::json(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_row_requested_in_another_spelling_is_cached_under_its_canonical_key_only() {
    let script = Script::default();
    let (odd, own) = (text("\"AB\""), text("\"ab\""));
    script.holds(odd.clone(), own.clone(), "{}");
    script.holds(own.clone(), own.clone(), "{}");
    let mut harness = RowsHarness::new(RowMode::Lazy, RowLimits::default(), script);
    harness.start();
    assert_eq!(harness.row(&odd).await.unwrap().row, Some(Row::new(b"{}")));
    assert_eq!(harness.row(&own).await.unwrap().origin, RowOrigin::Memory);
    harness.change(808, own.clone(), RowAfter::Deleted);
    harness.script.rows.lock().clear();
    for key in [own, odd] {
        assert_eq!(harness.row(&key).await.unwrap().row, None);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_requested_together_are_one_query_whatever_the_number_of_requests() {
    let mut harness = RowsHarness::new(RowMode::Lazy, RowLimits::default(), Script::default());
    let keys = [Key::integer(1), Key::integer(2)];
    let read = || harness.store.rows(&harness.table, &keys, soon());
    let (first, second) = (read(), read());
    let both = async { tokio::join!(first, second) };
    let worker = harness.store.load_worker().run(harness.script.clone(), CancellationToken::new());
    let (first, second) = tokio::select! {
        () = worker => unreachable!("it works for ever"),
        both = both => both,
    };
    assert_eq!(first.unwrap().rows, [None, None]);
    assert_eq!(second.unwrap().rows, [None, None]);
    assert_eq!(*harness.script.queries.lock(), [keys.to_vec()]);
    harness.start();
    assert_eq!(harness.row(&keys[0]).await.unwrap().origin, RowOrigin::Memory);
}

#[tokio::test(start_paused = true)]
async fn an_unencodable_row_fails_alone() {
    let script = Script::default();
    *script.unencodable.lock() = Some(Key::integer(2));
    for id in 1..=3 {
        script.holds(Key::integer(id), Key::integer(id), "{}");
    }
    let mut harness = RowsHarness::new(RowMode::Lazy, RowLimits::default(), script);
    harness.start();
    let keys = [1, 2, 3].map(Key::integer);
    let [one, two, three] = [0, 1, 2].map(|n| harness.store.row(&harness.table, &keys[n], soon()));
    let (one, two, three) = tokio::join!(one, two, three);
    assert_eq!(harness.script.queries.lock().len(), 1, "they are asked for together");
    assert!(one.unwrap().row.is_some() && three.unwrap().row.is_some());
    assert_eq!(two.unwrap_err(), RowsError::Unencodable("row 2 is odd".into()));
    let several = harness.store.rows(&harness.table, &keys, soon()).await;
    assert_eq!(several.unwrap_err(), RowsError::Unencodable("row 2 is odd".into()));
    assert!(
        harness
            .store
            .rows(&harness.table, &[keys[0].clone(), keys[2].clone()], soon())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_preloaded_table_reports_an_unencodable_row_until_it_changes() {
    let mut harness = RowsHarness::preloaded(&[1, 2]).await;
    let all = harness.table.clone().into();
    *harness.script.unencodable.lock() = Some(Key::integer(2));
    harness.change(808, Key::integer(2), RowAfter::Unresolved);
    harness.pass().await;
    let refused = harness.store.page(&all, None, 9, soon()).await.unwrap_err();
    assert_eq!(refused, RowsError::Unencodable("row 2 is odd".into()));
    assert!(harness.row(&Key::integer(1)).await.unwrap().row.is_some(), "others are served on");
    harness.change(816, Key::integer(2), RowAfter::Full(Row::new(b"{\"id\":2}")));
    assert_eq!(harness.store.page(&all, None, 9, soon()).await.unwrap().rows.len(), 2);
    // Likewise once the database writes it after all.
    harness.change(824, Key::integer(2), RowAfter::Unresolved);
    harness.pass().await;
    *harness.script.unencodable.lock() = None;
    tokio::time::sleep(Duration::from_secs(1)).await;
    harness.pass().await;
    assert_eq!(harness.store.page(&all, None, 9, soon()).await.unwrap().rows.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_database_is_reported_and_not_cached() {
    let mut harness = RowsHarness::new(RowMode::Lazy, RowLimits::default(), Script::default());
    harness.start();
    let cases = [
        (LoadError::BadKey("no number".into()), "no number"),
        (LoadError::Unavailable("down".into()), "the row is not in memory, and rows can't be read"),
        (LoadError::Refused("grant it".into()), "the rows of items can't be cached: grant it"),
    ];
    for (error, reported) in cases {
        *harness.script.error.lock() = Some(error);
        let error = harness.row(&Key::integer(1)).await.unwrap_err().to_string();
        assert!(error.starts_with(reported), "{error}");
    }
    *harness.script.error.lock() = Some(LoadError::Outdated);
    let refresh = harness.store.requests.refresh_catalog.clone();
    assert!(matches!(
        harness.row(&Key::integer(1)).await,
        Err(RowsError::TemporarilyUnavailable(_))
    ));
    assert!(refresh.notified().now_or_never().is_some());
    *harness.script.error.lock() = None;
    assert_eq!(harness.row(&Key::integer(1)).await.unwrap().row, None);
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_queue_limit_fail() {
    let limits = RowLimits { max_pending_loads: 1, ..RowLimits::default() };
    let harness = RowsHarness::new(RowMode::Lazy, limits, Script::default());
    let (first, second) = (Key::integer(1), Key::integer(2));
    let mut waiting = std::pin::pin!(harness.row(&first));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let error = harness.row(&second).now_or_never().unwrap().unwrap_err().to_string();
    assert!(error.contains("cache.max_pending_loads"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_request_for_many_rows_loads_some_at_a_time() {
    let limits = RowLimits { max_pending_loads: 250, ..RowLimits::default() };
    let mut harness = RowsHarness::new(RowMode::Lazy, limits, Script::default());
    harness.start();
    let keys: Vec<Key> = (0..900).map(Key::integer).collect();
    let read = harness.store.rows(&harness.table, &keys, soon()).await.unwrap();
    assert_eq!(read.rows.len(), 900);
}

/// Otherwise a poll with rows could never continue.
#[tokio::test(start_paused = true)]
async fn an_unencodable_row_is_left_out_of_changes() {
    for mode in [RowMode::Lazy, RowMode::Preload] {
        let script = Script::default();
        for id in 1..=3 {
            script.holds(Key::integer(id), Key::integer(id), "{}");
        }
        let mut harness = RowsHarness::new(mode, RowLimits::default(), script);
        harness.start();
        harness.pass().await;
        *harness.script.unencodable.lock() = Some(Key::integer(2));
        harness.change(808, Key::integer(2), RowAfter::Unresolved);
        harness.writer.apply(vec![commit(880, &[1, 2, 3].map(|id| (1, id, Op::Update)))]);
        let query =
            ChangeQuery { resources: &ResourceSelection::All, after: Some(at(800)), limit: 10 };
        let until = Instant::now() + Duration::from_secs(5);
        let (answer, rows) = harness.store.changes_with_rows(&query, until).await.unwrap().unwrap();
        assert_eq!((answer.version, answer.changes.len()), (at(880), 3));
        assert_eq!(rows.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    }
}

#[tokio::test(start_paused = true)]
async fn large_rows_end_a_change_set_before_its_limit() {
    let script = Script::default();
    let row = Row::new(format!("{{\"text\":\"{}\"}}", "x".repeat(1 << 20)).as_bytes());
    for id in 1..=20 {
        script.rows.lock().push((Key::integer(id), Key::integer(id), row.clone()));
    }
    let mut harness = RowsHarness::new(RowMode::Lazy, RowLimits::default(), script);
    harness.start();
    // Updates of rows that are not cached, with deletes between them.
    let ops = (1..=20).flat_map(|id| [(1, id, Op::Update), (1, 100 + id, Op::Delete)]);
    harness.writer.apply(vec![commit(880, &ops.collect::<Vec<_>>())]);
    let (mut after, mut reported) = (at(800), Vec::new());
    let tables = ResourceSelection::All;
    loop {
        let query = ChangeQuery { resources: &tables, after: Some(after), limit: 1000 };
        let found = harness.store.changes_with_rows(&query, soon()).await.unwrap();
        let (answer, rows) = found.unwrap();
        assert_eq!(answer.changes.len(), rows.len());
        let bytes: usize = rows.iter().flatten().map(|row| row.json().len()).sum();
        assert!(bytes > 0 && bytes < 10 << 20, "{bytes}");
        for (change, has_row) in answer.changes.iter().zip(rows.iter().map(Option::is_some)) {
            assert_eq!(has_row, change.op != Op::Delete);
            reported.push(change.key.clone());
        }
        after = answer.version;
        if !answer.more {
            break;
        }
    }
    let expected = (1..=20).flat_map(|id| [Key::integer(id), Key::integer(100 + id)]);
    assert_eq!(reported, expected.collect::<Vec<_>>());
    assert_eq!(after, at(880));
}

#[tokio::test(start_paused = true)]
async fn a_preloaded_table_is_paged_and_a_lazy_one_is_not() {
    let script = Script::default();
    for id in [3, 1, 2] {
        script.holds(Key::integer(id), Key::integer(id), "{}");
    }
    let mut harness = RowsHarness::new(RowMode::Preload, RowLimits::default(), script);
    let early =
        harness.store.page(&harness.table.clone().into(), None, 2, soon()).await.unwrap_err();
    assert!(matches!(early, RowsError::TemporarilyUnavailable(_)), "{early}");
    harness.start();
    tokio::time::sleep(Duration::from_millis(1)).await;
    harness.writer.serve_requests();
    let ids = |page: &Page| page.rows.iter().map(|(key, _)| format!("{key:?}")).collect::<Vec<_>>();
    let page = harness.store.page(&harness.table.clone().into(), None, 2, soon()).await.unwrap();
    assert_eq!((ids(&page), page.more), (vec!["1".to_owned(), "2".to_owned()], true));
    let page = harness
        .store
        .page(&harness.table.clone().into(), Some(&Key::integer(2)), 2, soon())
        .await
        .unwrap();
    assert_eq!((ids(&page), page.more), (vec!["3".to_owned()], false));
    let [status] = &harness.store.rows_status()[..] else { panic!("one table") };
    assert_eq!((&status.state, status.entries), (&RowsState::Complete, 3));

    let lazy = RowsHarness::new(RowMode::Lazy, RowLimits::default(), Script::default());
    let page = lazy.store.page(&lazy.table.clone().into(), None, 2, soon()).await.unwrap_err();
    assert_eq!(page, RowsError::NotPreloaded("items".into()));
}

#[tokio::test(start_paused = true)]
async fn a_preload_beyond_its_memory_limit_is_refused() {
    for copied in [0, 10] {
        let script = Script::default();
        for id in 0..copied {
            script.holds(Key::integer(id), Key::integer(id), "{}");
        }
        let limits = RowLimits { max_preload_bytes: 500, ..RowLimits::default() };
        let mut harness = RowsHarness::new(RowMode::Preload, limits, script);
        harness.start();
        tokio::time::sleep(Duration::from_millis(1)).await;
        harness.writer.serve_requests();
        for id in copied..10 {
            let end = 808 + 8 * u64::try_from(id).unwrap();
            harness.change(end, Key::integer(id), RowAfter::Full(Row::new(b"{}")));
        }
        let error = harness.row(&Key::integer(1)).await.unwrap_err().to_string();
        assert!(error.contains("cache.max_preload_bytes"), "{error}");
        assert_eq!(harness.store.rows_status()[0].bytes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_serves_the_old_rows_until_the_new_ones_are_loaded() {
    let script = Script::default();
    script.holds(Key::integer(1), Key::integer(1), "{\"old\":1}");
    let mut harness = RowsHarness::new(RowMode::Preload, RowLimits::default(), script);
    harness.start();
    tokio::time::sleep(Duration::from_millis(1)).await;
    harness.writer.serve_requests();
    let before = harness.store.applied().unwrap();
    harness.script.rows.lock().clear();
    harness.script.holds(Key::integer(1), Key::integer(1), "{\"new\":1}");
    harness.store.reload(std::slice::from_ref(&harness.table));
    harness.writer.requested().now_or_never().unwrap();
    harness.writer.serve_requests();
    let row = harness.row(&Key::integer(1)).now_or_never().unwrap().unwrap().row;
    assert_eq!(row, Some(Row::new(b"{\"old\":1}")));
    assert_eq!(harness.store.applied(), Some(before));
    tokio::time::sleep(Duration::from_millis(1)).await;
    harness.writer.serve_requests();
    let read = harness.row(&Key::integer(1)).await.unwrap();
    assert_eq!(read.row, Some(Row::new(b"{\"new\":1}")));
    assert!(read.version.position > before.position, "every client gets a reset");
}

/// A subscriber that collects the lines of the row cache's trace.
#[derive(Clone, Default)]
struct TraceCollector(Arc<Mutex<Vec<String>>>);

impl TraceCollector {
    /// Collects the lines of this thread while the returned guards live.
    /// With a single one of its kind, `tracing` would take a line that another thread comes upon first
    ///
    /// With a single one of its kind, `tracing` would take a line that another thread comes upon first
    /// With a single subscriber `tracing` would disable a line for ever if another thread, which has
    /// none, reached it first. So there are two.
    fn begin() -> (Self, (tracing::Dispatch, tracing::subscriber::DefaultGuard)) {
        let other = tracing::Dispatch::new(Self::default());
        let collector = Self::default();
        let guard = tracing::subscriber::set_default(collector.clone());
        (collector, (other, guard))
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl tracing::Subscriber for TraceCollector {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().ends_with("::rows::trace")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().push(line.0.join(" "));
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[derive(Default)]
struct Line(Vec<String>);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push(match field.name() {
            "message" => format!("{value:?}"),
            name => format!("{name}={value:?}"),
        });
    }
}

#[tokio::test(start_paused = true)]
async fn preloaded_rows_are_traced() {
    let (collector, _kept) = TraceCollector::begin();
    let mut harness = RowsHarness::preloaded(&[1, 2]).await;
    assert_eq!(collector.lines(), [r#"POPULATE table="items" rows=2"#]);
    harness.row(&Key::integer(1)).await.unwrap();
    harness.store.rows(&harness.table, &[1, 2].map(Key::integer), soon()).await.unwrap();
    let hit = |id| format!(r#"HIT table="items" id={id}"#);
    assert_eq!(collector.lines(), [hit(1), hit(1), hit(2)]);
    let all = harness.table.clone().into();
    harness.store.page(&all, None, 1, soon()).await.unwrap();
    harness.store.image(&[all], soon()).await.unwrap();
    assert_eq!(collector.lines(), [1, 2].map(|n| format!(r#"HIT table="items" rows={n}"#)));
    harness.change(808, Key::integer(1), RowAfter::Unresolved);
    assert_eq!(collector.lines(), [r#"INVALIDATE table="items" id=1"#]);
    harness.store.rows(&harness.table, &[1, 2].map(Key::integer), soon()).await.unwrap();
    assert_eq!(collector.lines(), [r#"MISS table="items" id=1"#.to_owned(), hit(2)]);
    harness.pass().await;
    assert_eq!(collector.lines(), [r#"POPULATE table="items" id=1"#]);
    harness.commit(816, RowChange::Invalidate(TableOid(1)));
    assert_eq!(collector.lines(), [r#"INVALIDATE table="items" rows=2"#]);
}

#[tokio::test(start_paused = true)]
async fn lazy_rows_are_traced() {
    let (collector, _kept) = TraceCollector::begin();
    let script = Script::default();
    script.holds(Key::integer(1), Key::integer(1), "{}");
    let mut harness = RowsHarness::new(RowMode::Lazy, RowLimits::default(), script);
    harness.start();
    for events in [&["MISS", "POPULATE"][..], &["HIT"]] {
        harness.row(&Key::integer(1)).await.unwrap();
        let line = |what: &&str| format!(r#"{what} table="items" id=1"#);
        assert_eq!(collector.lines(), events.iter().map(line).collect::<Vec<_>>());
    }
    harness.change(808, Key::integer(1), RowAfter::Unresolved);
    assert_eq!(collector.lines(), [r#"INVALIDATE table="items" id=1"#]);
}
