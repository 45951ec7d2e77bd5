//! Slots that are lost, moved or older than the publication, and the release of retained WAL.

use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;

use super::{inserted, quiet};
use crate::support::{Highwater, PATIENCE, Proxy, SessionKind, TestPostgres};

/// A server that invalidates slots that retain more than one WAL segment.
async fn with_small_slot_limit() -> TestPostgres {
    let options = TempPostgresOptions::default()
        .setting("max_slot_wal_keep_size", "16MB")
        .setting("wal_sender_timeout", "60s");
    quiet(options).await
}

/// Writes WAL until the slot is invalidated.
async fn until_lost(pg: &TestPostgres) {
    let began = Instant::now();
    let lost = format!(
        "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = '{}'",
        pg.database()
    );
    // The service may replace the slot before the test sees it lost.
    while pg.query(&lost).await.first().is_some_and(|row| !row.get::<_, bool>(0)) {
        assert!(began.elapsed() < PATIENCE, "the slot is not invalidated");
        for _ in 0..4 {
            pg.execute("SELECT pg_logical_emit_message(true, 'test', ''), pg_switch_wal()").await;
        }
        pg.execute("CHECKPOINT").await;
    }
}

async fn until_reset(hw: &Highwater, after: &str) -> String {
    let began = Instant::now();
    loop {
        let poll = hw.poll(&format!("tables=a&after={after}")).await;
        if poll.reset == ["a"] {
            return poll.version;
        }
        assert!(began.elapsed() < PATIENCE, "{poll:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asserts that changes after a reset are reported again.
async fn assert_reports(hw: &Highwater, pg: &TestPostgres, after: &str) {
    pg.execute("INSERT INTO a VALUES (1000)").await;
    let poll = hw.changes_since(pg, "a", after).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1000..=1000)));
}

#[tokio::test]
async fn a_slot_invalidated_while_its_connection_hangs_is_replaced() {
    let pg = with_small_slot_limit().await;
    let proxy = Proxy::start(&pg).await;
    let hw = Highwater::start_with(&pg, &[("postgres.url", &proxy.url(pg.database()))]).await;
    let start = hw.version().await;
    proxy.silence(SessionKind::Replication);
    pg.execute("INSERT INTO a VALUES (1)").await;
    until_lost(&pg).await;
    let began = Instant::now();
    let version = until_reset(&hw, &start).await;
    eprintln!("invalidated slot: reset after {:?}", began.elapsed());
    assert_reports(&hw, &pg, &version).await;
    let status = hw.fetch("/v1/status").await.body;
    assert_ne!(status["source"]["slot_wal_status"], "lost", "{status}");
}

#[tokio::test]
async fn a_slot_invalidated_while_the_service_streams_is_replaced() {
    // The resume window alone exceeds the server's limit.
    let pg = with_small_slot_limit().await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    until_lost(&pg).await;
    let version = until_reset(&hw, &start).await;
    assert_reports(&hw, &pg, &version).await;
}

#[tokio::test]
async fn a_slot_invalidated_while_the_service_is_down_is_replaced() {
    let pg = with_small_slot_limit().await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    hw.stop().await.expect("a clean end");
    pg.execute("INSERT INTO a VALUES (1)").await;
    until_lost(&pg).await;
    let hw = Highwater::start(&pg).await;
    let version = until_reset(&hw, &start).await;
    assert_reports(&hw, &pg, &version).await;
}

#[tokio::test]
async fn a_slot_recreated_or_moved_while_the_service_is_down_is_a_reset() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let slot = pg.database();
    for tampering in [
        format!(
            "SELECT pg_drop_replication_slot('{slot}'), pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ),
        format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"),
    ] {
        let hw = Highwater::start(&pg).await;
        let start = hw.version().await;
        hw.stop().await.expect("a clean end");
        pg.execute("DELETE FROM a; INSERT INTO a VALUES (1)").await;
        pg.query(&tampering).await;
        let hw = Highwater::start(&pg).await;
        let version = until_reset(&hw, &start).await;
        assert_reports(&hw, &pg, &version).await;
        hw.stop().await.expect("a clean end");
    }
}

#[tokio::test]
async fn a_slot_recreated_or_moved_while_the_connection_was_lost_is_a_reset() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = Highwater::start_with(&pg, &[("postgres.url", &proxy.url(pg.database()))]).await;
    let slot = pg.database();
    let free = format!("SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{slot}'");
    for tampering in [
        format!(
            "SELECT pg_drop_replication_slot('{slot}'), pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ),
        format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"),
    ] {
        let start = hw.version().await;
        proxy.cut();
        hw.until_disconnected("not connected").await;
        while !pg.value::<bool>(&free).await {}
        pg.execute("DELETE FROM a; INSERT INTO a VALUES (1)").await;
        pg.query(&tampering).await;
        proxy.heal();
        let version = until_reset(&hw, &start).await;
        assert_reports(&hw, &pg, &version).await;
    }
}

#[tokio::test]
async fn a_slot_recreated_during_the_start_of_streaming_is_a_reset() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = Highwater::start_with(&pg, &[("postgres.url", &proxy.url(pg.database()))]).await;
    let start = hw.version().await;
    // The slot has been assessed and the command sent: the server would silently start at the new slot's
    // position.
    proxy.hold_next_start().await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    let slot = pg.database();
    pg.query(&format!(
        "SELECT pg_drop_replication_slot('{slot}'), pg_create_logical_replication_slot('{slot}', 'pgoutput')"
    ))
    .await;
    proxy.heal();
    let version = until_reset(&hw, &start).await;
    assert_reports(&hw, &pg, &version).await;
}

#[tokio::test]
async fn a_slot_older_than_the_publication_is_made_usable() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    let slot = pg.database();
    pg.query(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    pg.execute("CREATE PUBLICATION highwater FOR TABLE a; INSERT INTO a VALUES (2)").await;
    let began = Instant::now();
    let hw = Highwater::start(&pg).await;
    eprintln!("old slot: ready after {:?}", began.elapsed());
    let version = hw.version().await;
    assert_reports(&hw, &pg, &version).await;
}

#[tokio::test]
async fn a_publication_dropped_and_recreated_is_a_reset_and_retains_no_wal_meanwhile() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("DROP PUBLICATION highwater; INSERT INTO a VALUES (1)").await;
    hw.until_disconnected("publication \"highwater\" does not exist").await;
    let slots =
        format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'", pg.database());
    let began = Instant::now();
    while pg.value::<i64>(&slots).await > 0 {
        assert!(began.elapsed() < PATIENCE, "the slot retains WAL that can't be decoded");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pg.execute("INSERT INTO a VALUES (2); CREATE PUBLICATION highwater FOR TABLE a").await;
    hw.ready().await;
    let version = until_reset(&hw, &start).await;
    assert_reports(&hw, &pg, &version).await;
}

#[tokio::test]
async fn an_idle_publication_in_a_busy_database_releases_wal() {
    let pg = quiet(TempPostgresOptions::default()).await;
    pg.execute("CREATE DATABASE busy").await;
    let busy = crate::support::TestSession::open(&pg.server().socket_url("busy")).await;
    busy.execute("CREATE TABLE noise (id int)").await;
    let window = [("postgres.resume_max_wal", "1MiB"), ("postgres.resume_window", "1s")];
    let hw = Highwater::start_with(&pg, &window).await;
    let start = hw.version().await;
    let kept = format!(
        "SELECT greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn),
                         pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::bigint
         FROM pg_replication_slots WHERE slot_name = '{}'",
        pg.database()
    );
    let began = Instant::now();
    let mut peak = 0;
    for _ in 0..10 {
        busy.execute("INSERT INTO noise SELECT generate_series(1, 100000)").await;
        // A checkpoint logs the running transactions: `restart_lsn` can only advance to such a record.
        busy.execute("CHECKPOINT").await;
        peak = peak.max(pg.value::<i64>(&kept).await);
    }
    while pg.value::<i64>(&kept).await > 2 << 20 {
        assert!(began.elapsed() < PATIENCE, "the slot retains unneeded WAL");
        busy.execute("CHECKPOINT").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("kept at most {} MiB of 60", peak >> 20);
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes.len()), (0, 0));
}

#[tokio::test]
async fn the_blocker_of_the_slots_creation_is_reported() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let other = pg.connect().await;
    other.execute("SET application_name = 'forgotten'; BEGIN; INSERT INTO a VALUES (1)").await;
    let hw = Highwater::launch(&pg, &[]).await;
    let elapsed = hw.until_disconnected("application \"forgotten\", idle in transaction").await;
    eprintln!("the blocker is reported after {elapsed:?}");
    other.execute("COMMIT").await;
    let began = Instant::now();
    hw.ready().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let version = hw.version().await;
    assert_reports(&hw, &pg, &version).await;
}

#[tokio::test]
async fn definitions_changed_during_the_slots_creation_are_known_when_ready() {
    let pg = quiet(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE b (id int PRIMARY KEY); ALTER PUBLICATION highwater ADD TABLE b")
        .await;
    let other = pg.connect().await;
    other.execute("BEGIN; INSERT INTO a VALUES (1)").await;
    let hw = Highwater::launch(&pg, &[]).await;
    hw.until_disconnected("creation of the replication slot is waiting").await;
    pg.execute("ALTER TABLE b RENAME TO renamed").await;
    other.execute("COMMIT").await;
    hw.ready().await;
    for (name, status) in [("renamed", 200), ("b", 404)] {
        let answer = hw.fetch(&format!("/v1/changes?tables={name}")).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_standby_takes_over_from_a_killed_instance() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let (first, program) = Highwater::program(&pg, &[]).await;
    let start = first.version().await;
    let second = Highwater::launch(&pg, &[]).await;
    second.until_disconnected("holds the replication slot").await;
    assert!(stands_by(&second).await);
    pg.execute("INSERT INTO a VALUES (1)").await;
    drop(program);
    let began = Instant::now();
    second.ready().await;
    eprintln!("takeover after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!stands_by(&second).await);
    let poll = second.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=1)));
}

async fn stands_by(hw: &Highwater) -> bool {
    let metrics = hw.fetch("/metrics").await.body;
    metrics.as_str().expect("text").contains("\nhighwater_replication_standby 1\n")
}
