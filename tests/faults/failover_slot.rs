//! Failover slots (PostgreSQL 17 and newer): the standby keeps a copy of the slot by itself.

use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;

use super::failover::until_another_epoch;
use super::{inserted, quiet};
use crate::support::{Highwater, Slots, TestPostgres, installation};

/// The standby looks for slots to copy every 30 s at the latest.
const COPY_PATIENCE: Duration = Duration::from_secs(90);

/// Waits until the standby has a copy of the slot that outlives a promotion.
async fn until_copied(primary: &TestPostgres, standby: &TestPostgres) -> Duration {
    let copied = format!(
        "SELECT EXISTS (SELECT FROM pg_replication_slots
         WHERE slot_name = '{}' AND synced AND NOT temporary)",
        primary.database()
    );
    let began = Instant::now();
    while !standby.value::<bool>(&copied).await {
        assert!(began.elapsed() < COPY_PATIENCE, "{}", standby.server().log());
        // What a busy server writes by itself: without it the slot has nothing to advance by.
        primary.execute("SELECT pg_log_standby_snapshot()").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    began.elapsed()
}

#[tokio::test]
async fn a_standby_that_copies_the_slot_goes_on_without_a_reset() {
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
    // A slot that somebody made before, as one is made: it becomes one that can be copied.
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
    let version = hw.told(&primary, "a", &start).await.version;

    let began = Instant::now();
    primary.server().kill().expect("killed");
    standby.promote().await;
    standby.execute("INSERT INTO a VALUES (2)").await;
    until_another_epoch(&hw, &version).await;
    hw.ready().await;
    eprintln!("failover with a failover slot: ready after {:?}", began.elapsed());
    let told = hw.told(&standby, "a", &version).await;
    assert_eq!((told.reset.len(), told.changes), (0, inserted(2..=2)));
    assert_eq!(hw.told(&standby, "a", &start).await.changes, inserted(1..=2));
}

#[tokio::test]
async fn a_slot_is_not_made_one_that_standbys_copy_where_that_is_not_wanted() {
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
