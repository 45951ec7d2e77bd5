//! Failover slots (PostgreSQL 17 and newer): the standby synchronizes the slot.

use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;

use super::failover::until_another_epoch;
use super::{inserted, quiet};
use crate::support::{Highwater, Slots, TestPostgres, installation};

/// Upper bound for the synchronization, which the standby starts every 30 s at the latest.
const MAX_SYNC_TIME: Duration = Duration::from_secs(90);

/// Waits until the standby has a synchronized slot that survives a promotion.
async fn until_copied(primary: &TestPostgres, standby: &TestPostgres) -> Duration {
    let copied = format!(
        "SELECT EXISTS (SELECT FROM pg_replication_slots
         WHERE slot_name = '{}' AND synced AND NOT temporary)",
        primary.database()
    );
    let began = Instant::now();
    while !standby.value::<bool>(&copied).await {
        assert!(began.elapsed() < MAX_SYNC_TIME, "{}", standby.server().log());
        // Writes WAL as a busy server does: without it the slot cannot advance.
        primary.execute("SELECT pg_log_standby_snapshot()").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_standby_with_the_synchronized_slot_continues_without_a_reset() {
    if installation().major() < 17 {
        return;
    }
    let mut primary = quiet(TempPostgresOptions::default()).await;
    primary.execute("SELECT pg_create_physical_replication_slot('standby', true)").await;
    let options = TempPostgresOptions::default()
        .setting("primary_slot_name", "standby")
        .setting("hot_standby_feedback", "on")
        .setting("sync_replication_slots", "on");
    let standby = primary.standby(Slots::None, options).await;
    primary.execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby'").await;
    primary.execute("SELECT pg_reload_conf()").await;
    let url = primary.url_of_either(&standby);
    let settings = [("postgres.url", url.as_str()), ("postgres.resume_window", "1s")];
    // An existing slot without the failover flag: the service enables it.
    let slot = primary.database();
    primary
        .query(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"))
        .await;
    let hw = Highwater::start_with(&primary, &settings).await;
    primary
        .until(&format!("SELECT failover FROM pg_replication_slots WHERE slot_name = '{slot}'"))
        .await;
    let start = hw.version().await;
    eprintln!("failover slot: copied after {:?}", until_copied(&primary, &standby).await);
    primary.execute("INSERT INTO a VALUES (1)").await;
    let version = hw.changes_since(&primary, "a", &start).await.version;

    let began = Instant::now();
    primary.server().kill().expect("killed");
    standby.promote().await;
    standby.execute("INSERT INTO a VALUES (2)").await;
    until_another_epoch(&hw, &version).await;
    hw.ready().await;
    eprintln!("failover with a failover slot: ready after {:?}", began.elapsed());
    let poll = hw.changes_since(&standby, "a", &version).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(2..=2)));
    assert_eq!(hw.changes_since(&standby, "a", &start).await.changes, inserted(1..=2));
}

#[tokio::test]
async fn the_failover_flag_is_not_set_where_it_is_disabled() {
    if installation().major() < 17 {
        return;
    }
    let pg = quiet(TempPostgresOptions::default()).await;
    let failover = "SELECT failover FROM pg_replication_slots";
    for (settings, expected) in [
        (&[("postgres.temporary_slot", "true")][..], false),
        (&[("postgres.failover_slot", "false")][..], false),
        (&[][..], true),
    ] {
        let hw = Highwater::start_with(&pg, settings).await;
        assert_eq!(pg.value::<bool>(failover).await, expected, "{settings:?}");
        hw.stop().await.expect("a clean end");
    }
}
