//! Processes are killed (SIGKILL): the server, and the service itself.

use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};

use super::{inserted, quiet};
use crate::support::Highwater;

#[tokio::test]
async fn a_killed_server_recovers_and_every_change_is_reported_once() {
    let mut pg = quiet(TempPostgresOptions::default()).await;
    let hw = Highwater::start_with(&pg, &[("postgres.resume_window", "0s")]).await;
    let start = hw.version().await;
    let mut version = start.clone();
    for id in 1..=3 {
        pg.execute(&format!("INSERT INTO a VALUES ({id})")).await;
        version = {
            let poll = hw.changes_since(&pg, "a", &version).await;
            assert_eq!((poll.reset.len(), poll.changes), (0, inserted(id..=id)));
            poll.version
        };
        // Confirmed, but not yet durably: the slot's position is written at checkpoints.
        let began = Instant::now();
        pg.server().kill().expect("killed");
        pg.server().restart(ShutdownMode::Immediate).expect("recovered");
        pg.reconnect().await;
        let poll = hw.changes_since(&pg, "a", &version).await;
        eprintln!("server crash: answered as before {:?} after it", began.elapsed());
        assert_eq!((poll.reset.len(), poll.changes.len()), (0, 0), "reported twice: {poll:?}");
        version = poll.version;
    }
    pg.execute("INSERT INTO a VALUES (4)").await;
    assert_eq!(hw.changes_since(&pg, "a", &version).await.changes, inserted(4..=4));
    assert_eq!(hw.changes_since(&pg, "a", &start).await.changes, inserted(1..=4));
}

/// An asynchronous commit (`synchronous_commit = off`) is visible before it is durable.
#[tokio::test]
async fn a_row_that_a_crash_reverted_is_reloaded() {
    let options = TempPostgresOptions::default().setting("wal_writer_delay", "10s");
    let mut pg = quiet(options).await;
    pg.execute(
        "CREATE TABLE r (id int PRIMARY KEY, v text); ALTER PUBLICATION highwater ADD TABLE r",
    )
    .await;
    pg.execute("INSERT INTO r VALUES (1, 'kept')").await;
    let hw = Highwater::start_with(&pg, &[("tables.r.rows", "lazy")]).await;
    let mut lost = 0;
    for _ in 0..10 {
        hw.applied(&pg).await;
        let writer = pg.connect().await;
        writer.execute("SET synchronous_commit = off; UPDATE r SET v = 'lost'").await;
        // A different row, so that it must be loaded.
        let seen = hw.fetch("/v1/tables/r/rows/1?at_least=0/0").await.body["v"].clone();
        pg.server().kill().expect("killed");
        pg.server().restart(ShutdownMode::Immediate).expect("recovered");
        pg.reconnect().await;
        let now: String = pg.value("SELECT v FROM r").await;
        lost += usize::from(seen == "lost" && now == "kept");
        // The WAL grows past the position of the lost commit.
        for _ in 0..5 {
            pg.execute("INSERT INTO a SELECT max(id) + 1 FROM (SELECT id FROM a UNION SELECT 0) a")
                .await;
        }
        hw.applied(&pg).await;
        let row = hw.fetch("/v1/tables/r/rows/1").await;
        assert_eq!(row.body["v"], now.as_str(), "{row:?}");
        // Evicts the row, so that the next round loads it from the database.
        pg.execute("UPDATE r SET v = 'kept'").await;
        hw.applied(&pg).await;
        assert_eq!(hw.post("/admin/reload?table=r").await.status, 202);
        if lost == 2 {
            return;
        }
    }
    panic!("no commit was lost by any crash");
}

#[tokio::test]
async fn a_server_that_restarts_in_a_loop_is_followed() {
    let mut pg = quiet(TempPostgresOptions::default()).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    for id in 1..=8 {
        pg.execute(&format!("INSERT INTO a VALUES ({id})")).await;
        let mode = if id % 2 == 0 { ShutdownMode::Fast } else { ShutdownMode::Immediate };
        let began = Instant::now();
        pg.server().restart(mode).expect("the server restarts");
        assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
        pg.reconnect().await;
    }
    let began = Instant::now();
    hw.ready().await;
    eprintln!("ready {:?} after the last of 8 restarts", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(25), "the backoff is bounded");
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=8)));
}

#[tokio::test]
async fn a_killed_service_continues_from_its_clients_versions() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let (mut hw, mut program) = Highwater::program(&pg, &[]).await;
    let start = hw.version().await;
    let mut version = start.clone();
    for id in 1..=3 {
        pg.execute(&format!("INSERT INTO a VALUES ({id})")).await;
        version = hw.changes_since(&pg, "a", &version).await.version;
        drop(program);
        pg.execute(&format!("UPDATE a SET id = -{id} WHERE id = {id}")).await;
        let began = Instant::now();
        (hw, program) = Highwater::program(&pg, &[]).await;
        eprintln!("ready {:?} after the start of the program", began.elapsed());
        let poll = hw.changes_since(&pg, "a", &version).await;
        assert_eq!(poll.reset.len(), 0);
        assert_eq!(poll.changes, [format!("delete a {id}"), format!("insert a -{id}")]);
        version = poll.version;
        let all = hw.changes_since(&pg, "a", &start).await;
        assert_eq!(all.reset.len(), 0, "the window is sent again");
    }
    drop(program);
}
