//! Processes are killed (SIGKILL): the server, and the service itself.

use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};

use super::{inserted, quiet};
use crate::support::Highwater;

#[tokio::test]
async fn a_killed_server_recovers_and_everything_is_told_once() {
    let mut pg = quiet(TempPostgresOptions::default()).await;
    let hw = Highwater::start_with(&pg, &[("postgres.resume_window", "0s")]).await;
    let start = hw.version().await;
    let mut version = start.clone();
    for id in 1..=3 {
        pg.execute(&format!("INSERT INTO a VALUES ({id})")).await;
        version = {
            let told = hw.told(&pg, "a", &version).await;
            assert_eq!((told.reset.len(), told.changes), (0, inserted(id..=id)));
            told.version
        };
        // Confirmed, but not yet durably: the slot's position is written at checkpoints.
        let began = Instant::now();
        pg.server().kill().expect("killed");
        pg.server().restart(ShutdownMode::Immediate).expect("recovered");
        pg.reconnect().await;
        let told = hw.told(&pg, "a", &version).await;
        eprintln!("server crash: answered as before {:?} after it", began.elapsed());
        assert_eq!((told.reset.len(), told.changes.len()), (0, 0), "told twice: {told:?}");
        version = told.version;
    }
    pg.execute("INSERT INTO a VALUES (4)").await;
    assert_eq!(hw.told(&pg, "a", &version).await.changes, inserted(4..=4));
    assert_eq!(hw.told(&pg, "a", &start).await.changes, inserted(1..=4));
}

/// A commit that nobody waits for (`synchronous_commit = off`) can be read before it is durable.
#[tokio::test]
async fn a_row_that_a_crash_took_back_is_read_again() {
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
        // Another row, so that it has to be read.
        let seen = hw.fetch("/v1/tables/r/rows/1?at_least=0/0").await.body["v"].clone();
        pg.server().kill().expect("killed");
        pg.server().restart(ShutdownMode::Immediate).expect("recovered");
        pg.reconnect().await;
        let now: String = pg.value("SELECT v FROM r").await;
        lost += usize::from(seen == "lost" && now == "kept");
        // The WAL passes the place of what was lost.
        for _ in 0..5 {
            pg.execute("INSERT INTO a SELECT max(id) + 1 FROM (SELECT id FROM a UNION SELECT 0) a")
                .await;
        }
        hw.applied(&pg).await;
        let row = hw.fetch("/v1/tables/r/rows/1").await;
        assert_eq!(row.body["v"], now.as_str(), "{row:?}");
        // Dropped from memory, so that the next round reads it from the database.
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
    assert!(began.elapsed() < Duration::from_secs(25), "pauses are capped");
    let told = hw.told(&pg, "a", &start).await;
    assert_eq!((told.reset.len(), told.changes), (0, inserted(1..=8)));
}

#[tokio::test]
async fn a_killed_service_takes_up_where_its_clients_are() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let (mut hw, mut program) = Highwater::program(&pg, &[]).await;
    let start = hw.version().await;
    let mut version = start.clone();
    for id in 1..=3 {
        pg.execute(&format!("INSERT INTO a VALUES ({id})")).await;
        version = hw.told(&pg, "a", &version).await.version;
        drop(program);
        pg.execute(&format!("UPDATE a SET id = -{id} WHERE id = {id}")).await;
        let began = Instant::now();
        (hw, program) = Highwater::program(&pg, &[]).await;
        eprintln!("ready {:?} after the start of the program", began.elapsed());
        let told = hw.told(&pg, "a", &version).await;
        assert_eq!(told.reset.len(), 0);
        assert_eq!(told.changes, [format!("delete a {id}"), format!("insert a -{id}")]);
        version = told.version;
        let all = hw.told(&pg, "a", &start).await;
        assert_eq!(all.reset.len(), 0, "the window is sent again");
    }
    drop(program);
}
