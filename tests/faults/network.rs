//! Faults of the network between the service and the server.

use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{inserted, quiet};
use crate::support::{Highwater, PATIENCE, Proxy, SessionKind, TestPostgres};

async fn behind(proxy: &Proxy, pg: &TestPostgres) -> Highwater {
    Highwater::start_with(pg, &[("postgres.url", &proxy.url(pg.database()))]).await
}

/// Waits until the service has opened this many walsender connections; returns the time that took.
async fn until_connections(proxy: &Proxy, count: usize) -> Duration {
    let began = Instant::now();
    while proxy.replication_connections() < count {
        assert!(began.elapsed() < PATIENCE, "it did not reconnect");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_black_hole_is_detected_reported_and_survived() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    let start = hw.version().await;
    proxy.black_hole();
    let detected = hw.until_disconnected("has not responded").await;
    let abandoned = detected + hw.until_disconnected("the connection is dead").await;
    eprintln!("black hole: detected after {detected:?}, given up after {abandoned:?}");
    assert!(detected < Duration::from_secs(25) && abandoned < Duration::from_secs(45));
    pg.execute("INSERT INTO a VALUES (1)").await;
    assert_eq!(hw.poll(&format!("after={start}")).await.changes.len(), 0, "reads continue");
    proxy.heal();
    let healed = Instant::now();
    hw.ready().await;
    eprintln!("ready {:?} after the network healed", healed.elapsed());
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=1)));
}

#[tokio::test]
async fn a_silent_stream_is_replaced_and_its_walsender_terminated() {
    // The server would need a minute to detect it, and the slot would stay in use.
    let pg = quiet(TempPostgresOptions::default().setting("wal_sender_timeout", "60s")).await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    let start = hw.version().await;
    proxy.silence(SessionKind::Replication);
    pg.execute("INSERT INTO a VALUES (1)").await;
    let detected = until_connections(&proxy, 2).await;
    hw.ready().await;
    eprintln!("silent stream: replaced after {detected:?}");
    assert!(detected < Duration::from_secs(29), "{detected:?}");
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=1)));
}

#[tokio::test]
async fn catalog_refreshes_without_response_do_not_affect_the_stream() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    let start = hw.version().await;
    proxy.silence(SessionKind::Sql);
    for id in 1..=15 {
        pg.execute(&format!("INSERT INTO a VALUES ({id})")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(hw.disconnect_reason().await, None);
    }
    assert_eq!(hw.changes_since(&pg, "a", &start).await.changes, inserted(1..=15));
    assert_eq!(proxy.replication_connections(), 1);
}

/// Suspends the walsender while it decodes a transaction of 3 million unpublished rows.
async fn suspend_while_decoding(pg: &TestPostgres) -> Pid {
    let state = format!(
        "SELECT active_pid, coalesce(wait_event_type, '') FROM pg_replication_slots
         JOIN pg_stat_activity ON pid = active_pid WHERE slot_name = '{}'",
        pg.database()
    );
    for _ in 0..1000 {
        let pid = Pid::from_raw(pg.query_one(&state).await.get(0));
        kill(pid, Signal::SIGSTOP).expect("a process of the test's server");
        let waits: String = pg.query_one(&state).await.get(1);
        if !["Client", "Activity"].contains(&waits.as_str()) {
            return pid;
        }
        kill(pid, Signal::SIGCONT).expect("a process of the test's server");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the walsender was never seen at work");
}

#[tokio::test]
async fn a_silent_walsender_that_decodes_is_probed_and_not_disconnected() {
    let pg = quiet(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE noise (id int)").await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    let start = hw.version().await;
    let writer = pg.connect().await;
    let noise = writer.execute("INSERT INTO noise SELECT generate_series(1, 3000000)");
    let (walsender, ()) = tokio::join!(suspend_while_decoding(&pg), noise);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(25) {
        assert_eq!(hw.disconnect_reason().await, None, "after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(proxy.replication_connections(), 1, "it was disconnected");
    kill(walsender, Signal::SIGCONT).expect("a process of the test's server");
    pg.execute("INSERT INTO a VALUES (1)").await;
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=1)));
    assert_eq!(proxy.replication_connections(), 1);
}

#[tokio::test]
async fn reset_and_half_closed_connections_reset_no_client() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    let start = hw.version().await;
    for id in 1..=4 {
        pg.execute(&format!("INSERT INTO a VALUES ({id})")).await;
        if id % 2 == 0 {
            proxy.half_close();
        } else {
            proxy.reset();
        }
        until_connections(&proxy, usize::try_from(id).unwrap() + 1).await;
        hw.ready().await;
    }
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=4)));
}

#[tokio::test]
async fn a_damaged_message_is_an_error_and_a_reconnect() {
    let pg = quiet(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE t (id text PRIMARY KEY); ALTER PUBLICATION highwater ADD TABLE t")
        .await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    let start = hw.version().await;
    proxy.damage(Some(b"poison"));
    // While the first message is delayed, the second and the damaged one accumulate and arrive in one read:
    // changes before the damage are reported, although their stream failed.
    proxy.delay(Duration::from_millis(500));
    for sql in ["a VALUES (1)", "a VALUES (2)", "t VALUES ('poison')"] {
        pg.execute(&format!("INSERT INTO {sql}")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hw.until_disconnected("decode the change stream").await;
    assert!(proxy.has_damaged());
    assert_eq!(hw.poll(&format!("after={start}")).await.changes, inserted(1..=2));
    proxy.heal();
    proxy.damage(None);
    let poll = hw.changes_since(&pg, "a,t", &start).await;
    assert_eq!(poll.reset.len(), 0);
    assert_eq!(poll.changes, ["insert a 1", "insert a 2", "insert t \"poison\""]);
}

#[tokio::test]
async fn a_stream_that_always_fails_at_one_position_is_skipped_with_a_reset() {
    let pg = quiet(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE t (id text PRIMARY KEY); ALTER PUBLICATION highwater ADD TABLE t")
        .await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    let start = hw.version().await;
    proxy.damage(Some(b"poison"));
    pg.execute("INSERT INTO t VALUES ('poison')").await;
    hw.until_disconnected("decode the change stream").await;
    let began = Instant::now();
    while proxy.replication_connections() < 11 || hw.disconnect_reason().await.is_some() {
        assert!(began.elapsed() < Duration::from_mins(1), "the service is stuck");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("given up after {:?}", began.elapsed());
    let poll = hw.changes_since(&pg, "t", &start).await;
    assert_eq!(poll.reset, ["t"]);
    pg.execute("INSERT INTO t VALUES ('well')").await;
    assert_eq!(hw.changes_since(&pg, "t", &poll.version).await.changes, ["insert t \"well\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_shutdown_is_not_delayed_by_latency() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    hw.applied(&pg).await;
    // A round trip of 160 ms: the server's requests are too rare to reveal the shutdown by themselves.
    proxy.delay(Duration::from_millis(80));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    tokio::task::block_in_place(|| pg.server().stop(ShutdownMode::Fast)).expect("it stops");
    let took = began.elapsed();
    eprintln!("fast shutdown over 160 ms: {took:?}");
    assert!(took < Duration::from_secs(30), "the server waited {took:?} for the service");
    hw.until_disconnected("").await;
}

#[tokio::test]
async fn another_system_behind_the_same_address_resets_all_clients() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = behind(&proxy, &pg).await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    let before = hw.changes_since(&pg, "a", &hw.version().await).await.version;

    // The same tables, OIDs and amount of WAL: only the system identifier differs.
    let other = TestPostgres::unrelated(TempPostgresOptions::default()).await;
    other.execute(&format!("CREATE DATABASE {}", pg.database())).await;
    let there = crate::support::TestSession::open(&other.server().socket_url(pg.database())).await;
    there.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a; INSERT INTO a VALUES (7)").await;
    proxy.switch(&other);
    until_connections(&proxy, 2).await;
    hw.ready().await;
    let poll = hw.poll(&format!("after={before}")).await;
    assert_eq!(poll.reset, ["a"]);
    assert_ne!(poll.version[..8], before[..8], "another history");
    there.execute("INSERT INTO a VALUES (8)").await;
    let began = Instant::now();
    loop {
        let later = hw.poll(&format!("after={}", poll.version)).await;
        if later.changes == ["insert a 8"] {
            break;
        }
        assert!(later.reset.is_empty() && began.elapsed() < PATIENCE, "{later:?}");
    }
    drop(hw);
}

#[tokio::test]
async fn an_unreachable_server_is_reported_before_the_publication_is_created() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY)").await;
    let proxy = Proxy::start(&pg).await;
    proxy.cut();
    let url = proxy.url(pg.database());
    let hw = Highwater::launch(&pg, &[("postgres.url", &url), ("postgres.setup", "auto")]).await;
    hw.until_disconnected("the connection was lost before the session began").await;
    proxy.heal();
    hw.ready().await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    assert_eq!(hw.changes_since(&pg, "a", &start).await.changes, inserted(1..=1));
}
