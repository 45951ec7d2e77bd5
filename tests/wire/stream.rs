//! Streaming from a real walsender.

use std::sync::Arc;
use std::time::Duration;

use highwater::lsn::Lsn;
use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use highwater::wire::{CopyBoth, Frame, StatusUpdate, WalsenderConnection, WireError};
use tokio::time::timeout;

use super::servers::{self, url};
use super::target;
use crate::support::{CertificateAuthority, TestPostgres};

/// Time limit of every wait, far above what any of them takes.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Starts a stream of publication `p` from a temporary slot.
async fn stream(url: &str, slot: &str) -> CopyBoth {
    let mut connection = WalsenderConnection::connect(&target(url)).await.unwrap();
    let create = format!("CREATE_REPLICATION_SLOT \"{slot}\" TEMPORARY LOGICAL pgoutput");
    let rows = connection.simple_query(&create).await.unwrap();
    assert_eq!(rows[0][0].as_deref(), Some(slot));
    let options = [("proto_version", "1"), ("publication_names", "\"p\"")];
    connection.start_replication(slot, Lsn::ZERO, &options).await.unwrap()
}

/// Reads until `wanted` returns true for a frame.
async fn read_until(copy: &mut CopyBoth, mut wanted: impl FnMut(&Frame<'_>) -> bool) {
    let reading = async {
        loop {
            while let Some(frame) = copy.next_frame().unwrap() {
                if wanted(&frame) {
                    return;
                }
            }
            copy.fill().await.unwrap();
        }
    };
    timeout(WAIT_MAX, reading).await.expect("the frame never came");
}

/// Reads to the end of the stream.
async fn read_to_end(copy: &mut CopyBoth) -> WireError {
    let reading = async {
        loop {
            match copy.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    if let Err(error) = copy.fill().await {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    };
    timeout(WAIT_MAX, reading).await.expect("the stream never ended")
}

fn is_insert(frame: &Frame<'_>) -> bool {
    matches!(frame, Frame::XLogData { data: [b'I', ..], .. })
}

const TABLE: &str =
    "CREATE TABLE items (id int PRIMARY KEY, t text); CREATE PUBLICATION p FOR TABLE items";

async fn stream_an_insert(pg: &TestPostgres, url: &str, slot: &str) -> CopyBoth {
    let mut copy = stream(url, slot).await;
    pg.execute("INSERT INTO items VALUES (1, 'one')").await;
    let mut tags = Vec::new();
    read_until(&mut copy, |frame| {
        if let Frame::XLogData { wal_start, wal_end, clock, data } = frame {
            assert_eq!(wal_start, wal_end);
            assert!(*clock > 0);
            assert!(data[0] != b'C' || *wal_end > Lsn::ZERO);
            tags.push(data[0]);
        }
        tags.last() == Some(&b'C')
    })
    .await;
    assert_eq!(tags, b"BRIC");
    pg.execute("DELETE FROM items").await;
    copy
}

#[tokio::test]
async fn changes_and_keepalives_arrive_and_status_updates_move_the_slot() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    for (url, is_socket) in [(pg.url(), false), (pg.socket_url(), true)] {
        let slot = format!("{}_{is_socket}", pg.database());
        let mut copy = stream_an_insert(&pg, &url, &slot).await;
        assert_eq!(copy.is_unix_socket(), is_socket);
        let position: String = pg.value("SELECT pg_current_wal_lsn()::text").await;
        let position: Lsn = position.parse().unwrap();
        let status = StatusUpdate {
            written: position,
            flushed: position,
            applied: position,
            clock: 1,
            reply_requested: true,
        };
        copy.send_status(status).await.unwrap();
        let mut reported = Lsn::ZERO;
        read_until(&mut copy, |frame| {
            if let Frame::Keepalive { wal_end, clock, .. } = frame {
                assert!(*clock > 0);
                reported = *wal_end;
            }
            reported >= position
        })
        .await;
        let confirmed = format!(
            "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{slot}'"
        );
        // The walsender replies before it moves the slot.
        let moved = async {
            while pg.value::<String>(&confirmed).await != position.to_string() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WAIT_MAX, moved).await.expect("the slot never moved");
        timeout(WAIT_MAX, copy.finish()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn changes_arrive_through_tls() {
    let authority = CertificateAuthority::new();
    let pg = servers::encrypted(&authority.sign("db", &[]), &authority).await;
    pg.execute(TABLE).await;
    let copy = stream_an_insert(&pg, &url(&pg, "trusted", "sslmode=require"), "tls").await;
    copy.finish().await.unwrap();
}

#[tokio::test]
async fn rows_larger_than_the_buffer_arrive_whole() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let slot = format!("{}_large", pg.database());
    let mut copy = stream(&pg.url(), &slot).await;
    pg.execute("INSERT INTO items SELECT n, repeat('x', 3000000) FROM generate_series(1, 5) n")
        .await;
    let mut sizes = Vec::new();
    read_until(&mut copy, |frame| {
        if let Frame::XLogData { data, .. } = frame
            && is_insert(frame)
        {
            sizes.push(data.len());
        }
        sizes.len() == 5
    })
    .await;
    assert!(sizes.iter().all(|size| (3_000_000..3_000_100).contains(size)), "{sizes:?}");
}

#[tokio::test]
async fn an_error_inside_the_stream_is_returned() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let slot = format!("{}_ended", pg.database());
    let mut copy = stream(&pg.url(), &slot).await;
    pg.query(&format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'"
    ))
    .await;
    let error = read_to_end(&mut copy).await;
    assert_eq!(error.sqlstate(), Some("57P01"), "{error}");

    let mut connection = WalsenderConnection::connect(&target(&pg.url())).await.unwrap();
    let error = connection.simple_query("SELECT no_such_column").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42703"));
    assert_eq!(connection.identify_system().await.unwrap().database, pg.database());
    let error = connection.start_replication("no slot", Lsn::ZERO, &[]).await.err().unwrap();
    assert_eq!(error.sqlstate(), Some("42704"), "{error}");
}

#[tokio::test]
async fn a_server_that_stops_ends_the_stream() {
    for (mode, expected) in [(ShutdownMode::Fast, "shutting down"), (ShutdownMode::Immediate, "")] {
        let pg = Arc::new(TestPostgres::private(TempPostgresOptions::default()).await);
        pg.execute(TABLE).await;
        let mut copy = stream_an_insert(&pg, &pg.url(), "stopped").await;
        let server = Arc::clone(&pg);
        let stopping = tokio::task::spawn_blocking(move || server.server().stop(mode).unwrap());
        let error = confirm_to_end(&mut copy).await;
        stopping.await.unwrap();
        assert!(error.to_string().contains(expected), "{mode:?}: {error}");
    }
}

/// Reads to the end, confirming everything: an orderly shutdown waits for that.
async fn confirm_to_end(copy: &mut CopyBoth) -> WireError {
    let reading = async {
        let mut position = Lsn::ZERO;
        loop {
            match copy.next_frame() {
                Ok(Some(Frame::Keepalive { wal_end, .. } | Frame::XLogData { wal_end, .. })) => {
                    position = position.max(wal_end);
                }
                Ok(None) => {
                    let (written, flushed, applied) = (position, position, position);
                    let status =
                        StatusUpdate { written, flushed, applied, ..StatusUpdate::default() };
                    // The server may have disconnected; reading returns the reason.
                    let _ = copy.send_status(status).await;
                    if let Err(error) = copy.fill().await {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    };
    timeout(WAIT_MAX, reading).await.expect("the stream never ended")
}

#[tokio::test]
async fn an_identity_names_the_cluster() {
    let pg = TestPostgres::start().await;
    let mut connection = WalsenderConnection::connect(&target(&pg.url())).await.unwrap();
    let identity = connection.identify_system().await.unwrap();
    let expected: String =
        pg.value("SELECT system_identifier::text FROM pg_control_system()").await;
    assert_eq!(identity.system_identifier.to_string(), expected);
    assert_eq!((identity.timeline, identity.database.as_str()), (1, pg.database()));
    assert!(identity.xlogpos > Lsn::ZERO);
    assert!(connection.parameter("server_version").is_some());
    connection.close().await;
}
