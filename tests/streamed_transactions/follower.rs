//! A replication session whose events the test consumes.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::change::{Event, Reset};
use highwater::key::Key;
use highwater::lsn::Lsn;
use highwater::metrics::Metrics;
use highwater::row::{Row, RowAfter, RowChange};
use highwater::source::postgres::{
    PostgresSource, ReplicationOptions, ResumeWindow, SourceMetrics, Streaming, TransactionLimits,
};
use highwater::source::{ChangeSource, EventSink};
use highwater::source_status::StreamRequests;
use highwater::table::{RowsConfig, Table, TableOid};
use highwater::wire::{ConnectOptions, LibpqEnvironment};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, TestPostgres};

/// A running session and the result of its events.
pub(super) struct Follower {
    events: mpsc::Receiver<Vec<Event>>,
    applied: watch::Sender<Lsn>,
    shutdown: CancellationToken,
    session: JoinHandle<()>,
    pub(super) requests: StreamRequests,
    /// The published tables as of the latest event.
    pub(super) tables: Vec<Table>,
    /// The rows after all changes received so far.
    pub(super) rows: BTreeMap<TableOid, BTreeMap<String, Row>>,
    /// The resets of commits, in order.
    pub(super) resets: Vec<Reset>,
    /// Tables whose rows were invalidated, in order.
    pub(super) lost: Vec<TableOid>,
    /// Keys of rows that only the database can render.
    pub(super) unknown: Vec<String>,
    /// The position up to which events have been received.
    pub(super) position: Lsn,
}

impl Follower {
    /// Follows the publication `highwater` through a slot named after the database.
    #[allow(clippy::disallowed_methods, reason = "joined in stop")]
    pub(super) async fn start(pg: &TestPostgres, rows: Vec<RowsConfig>) -> Self {
        let options = ReplicationOptions {
            target: ConnectOptions::parse(&pg.url(), &LibpqEnvironment::default()).unwrap(),
            publication: "highwater".into(),
            slot: pg.database().into(),
            temporary_slot: false,
            failover_slot: false,
            resume_window: ResumeWindow::NONE,
            streaming: Streaming::Off,
            limits: TransactionLimits {
                max_changes: 1000,
                max_bytes: 1 << 20,
                max_streamed_bytes: 1 << 22,
            },
            rows,
            scopes: Vec::new(),
        };
        let (events_in, events) = mpsc::channel(4);
        let (applied_in, applied) = watch::channel(Lsn::ZERO);
        let (requests, shutdown) = (StreamRequests::default(), CancellationToken::new());
        let metrics = SourceMetrics::register(&Metrics::new().unwrap().registry).unwrap();
        let source = Box::new(PostgresSource::new(options, metrics));
        let sink = EventSink { batches: events_in, applied };
        let session = source.run(sink, requests.clone(), shutdown.clone());
        let session = tokio::spawn(async { session.await.expect("no failure") });
        let mut follower = Self {
            events,
            applied: applied_in,
            shutdown,
            session,
            requests,
            tables: Vec::new(),
            rows: BTreeMap::new(),
            resets: Vec::new(),
            lost: Vec::new(),
            unknown: Vec::new(),
            position: Lsn::ZERO,
        };
        follower.take().await;
        follower
    }

    /// Receives the next batch.
    pub(super) async fn take(&mut self) {
        let batch = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        for event in batch.expect("a batch in time").expect("the session runs") {
            self.apply(event);
        }
    }

    /// Receives events until everything committed so far is included.
    pub(super) async fn catch_up(&mut self, pg: &TestPostgres) {
        let now: String = pg.value("SELECT pg_current_wal_flush_lsn()::text").await;
        let now: Lsn = now.parse().unwrap();
        while self.position < now {
            self.requests.report_position.notify_one();
            let soon = tokio::time::timeout(Duration::from_millis(20), self.events.recv()).await;
            for event in soon.ok().flatten().unwrap_or_default() {
                self.apply(event);
            }
        }
    }

    /// A published table as of the latest event.
    pub(super) fn table(&self, name: &str) -> &Table {
        let found = self.tables.iter().find(|table| table.name.to_string() == name);
        found.unwrap_or_else(|| panic!("{name} is not published"))
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.session.await.expect("no panic");
    }

    fn apply(&mut self, event: Event) {
        if let Some(reached) = event.reaches() {
            self.position = reached;
            self.applied.send_replace(reached);
        }
        match event {
            Event::Started(started) => self.tables = started.tables,
            Event::Watermark(_) => {}
            Event::Tables { tables, .. } => self.tables = tables,
            Event::Commit(transaction) => {
                self.resets.extend(transaction.resets);
                transaction.rows.into_iter().for_each(|change| self.change(change));
            }
        }
    }

    fn change(&mut self, change: RowChange) {
        match change {
            RowChange::Truncate(table) => drop(self.rows.remove(&table)),
            RowChange::Invalidate(table) => self.lost.push(table),
            RowChange::Upsert { table, key, image } => self.set(table, &key, image),
        }
    }

    fn set(&mut self, table: TableOid, key: &Key, image: RowAfter) {
        let rows = self.rows.entry(table).or_default();
        let key = format!("{key:?}");
        match image {
            RowAfter::Full(row) => drop(rows.insert(key, row)),
            RowAfter::Deleted => drop(rows.remove(&key)),
            RowAfter::Unresolved => self.unknown.push(key),
            RowAfter::Partial { row, before } => {
                let before = before.map_or_else(|| key.clone(), |before| format!("{before:?}"));
                let whole = row.fill(&rows[&before]).expect("the previous row is complete");
                rows.insert(key, whole);
            }
        }
    }
}
