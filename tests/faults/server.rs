//! Orderly shutdowns of the server.

use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};

use super::{inserted, quiet};
use crate::support::Highwater;

#[tokio::test]
async fn a_fast_shutdown_does_not_wait_for_unconfirmed_changes() {
    let mut pg = quiet(TempPostgresOptions::default()).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a SELECT generate_series(1, 100)").await;
    hw.applied(&pg).await;
    let unconfirmed = format!(
        "SELECT pg_current_wal_lsn() > confirmed_flush_lsn FROM pg_replication_slots
         WHERE slot_name = '{}'",
        pg.database()
    );
    assert!(pg.value::<bool>(&unconfirmed).await, "the resume window is not empty");
    let began = Instant::now();
    pg.server().stop(ShutdownMode::Fast).expect("it stops");
    let took = began.elapsed();
    eprintln!("fast shutdown: {took:?}");
    assert!(took < Duration::from_secs(30), "the server waited {took:?} for the service");
    pg.server().restart(ShutdownMode::Fast).expect("it starts");
    pg.reconnect().await;
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(1..=100)));
}
