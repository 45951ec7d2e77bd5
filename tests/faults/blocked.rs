//! A consumer that does not take the session's events.

use std::time::Duration;

use highwater::change::Event;
use highwater::lsn::Lsn;
use highwater::metrics::Metrics;
use highwater::source::postgres::{
    PostgresSource, ReplicationOptions, ResumeWindow, SourceMetrics, Streaming, TransactionLimits,
};
use highwater::source::{ChangeSource, EventSink};
use highwater::source_status::StreamRequests;
use highwater::temp_postgres::TempPostgresOptions;
use highwater::wire::{ConnectOptions, LibpqEnvironment};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::quiet;
use crate::support::PATIENCE;

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "joined at the end")]
async fn a_stalled_consumer_does_not_end_the_connection() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let pg = quiet(TempPostgresOptions::default().setting("wal_sender_timeout", "2s")).await;
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
        rows: Vec::new(),
        scopes: Vec::new(),
    };
    let (events, mut incoming) = mpsc::channel(1);
    let (applied_in, applied) = watch::channel(Lsn::ZERO);
    let shutdown = CancellationToken::new();
    let metrics = SourceMetrics::register(&Metrics::new().unwrap().registry).unwrap();
    let source = Box::new(PostgresSource::new(options, metrics));
    let sink = EventSink { batches: events, applied };
    let session = tokio::spawn(source.run(sink, StreamRequests::default(), shutdown.clone()));

    let first = incoming.recv().await.expect("the start");
    applied_in.send_replace(first[0].reaches().expect("a start has a position"));
    let walsender = format!(
        "SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE slot_name = '{}'",
        pg.database()
    );
    let mut before: i32 = 0;
    while before == 0 {
        before = pg.value(&walsender).await;
    }
    // More commits than all buffers hold, so that the walsender blocks as well.
    pg.execute(
        "CREATE PROCEDURE many() LANGUAGE plpgsql AS $$BEGIN
          FOR i IN 1..20000 LOOP INSERT INTO a VALUES (i); COMMIT; END LOOP; END$$",
    )
    .await;
    pg.execute("CALL many()").await;
    tokio::time::sleep(TIMEOUT * 4).await;
    let after: i32 = pg.value(&walsender).await;
    assert_eq!(before, after, "the server ended the connection");

    let mut received = 0;
    let taking = async {
        while received < 20_000 {
            for event in incoming.recv().await.expect("the session runs") {
                if let Event::Commit(transaction) = &event {
                    received += transaction.changes.len();
                }
                if let Some(lsn) = event.reaches() {
                    applied_in.send_replace(lsn);
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, taking).await.expect("every change arrives");
    assert_eq!(received, 20_000);
    assert_eq!(pg.value::<i32>(&walsender).await, before);
    shutdown.cancel();
    session.await.expect("no panic").expect("a clean end");
}
