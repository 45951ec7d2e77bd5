//! Another server replaces the current one: a promoted standby, a restored backup.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};

use super::{inserted, quiet};
use crate::support::{Highwater, PATIENCE, Proxy, Slots, TestPostgres, position};

/// A server and its standby.
struct PrimaryAndStandby {
    primary: TestPostgres,
    standby: TestPostgres,
}

impl PrimaryAndStandby {
    /// The standby has the slot of a service that ran before its creation, or none.
    async fn start(slots: Slots) -> Self {
        let mut primary = quiet(TempPostgresOptions::default()).await;
        Highwater::start(&primary).await.stop().await.expect("a clean end");
        let standby = primary.standby(slots, TempPostgresOptions::default()).await;
        Self { primary, standby }
    }

    async fn highwater(&self) -> Highwater {
        let url = self.primary.url_of_either(&self.standby);
        Highwater::start_with(&self.primary, &[("postgres.url", &url)]).await
    }

    /// Kills the primary and promotes the standby.
    async fn fail_over(&self) -> Instant {
        let began = Instant::now();
        self.primary.server().kill().expect("killed");
        self.standby.promote().await;
        began
    }
}

fn epoch(version: &str) -> &str {
    &version[..8]
}

/// Waits until the service is on another timeline than `version`; returns its version.
pub(super) async fn until_another_epoch(hw: &Highwater, version: &str) -> String {
    let began = Instant::now();
    loop {
        let now = hw.version().await;
        if epoch(&now) != epoch(version) {
            return now;
        }
        assert!(began.elapsed() < PATIENCE, "it is still on the old timeline");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_promoted_standby_without_the_slot_resets_all_clients() {
    let pair = PrimaryAndStandby::start(Slots::None).await;
    let hw = pair.highwater().await;
    let start = hw.version().await;
    pair.primary.execute("INSERT INTO a VALUES (1)").await;
    let version = hw.changes_since(&pair.primary, "a", &start).await.version;
    pair.primary.replicated(&pair.standby).await;
    let began = pair.fail_over().await;
    pair.standby.execute("INSERT INTO a VALUES (2)").await;
    until_another_epoch(&hw, &version).await;
    eprintln!("failover without the slot: every client is reset after {:?}", began.elapsed());
    let poll = hw.changes_since(&pair.standby, "a", &version).await;
    assert_eq!((poll.reset.as_slice(), poll.changes.len()), (["a".to_owned()].as_slice(), 0));
    assert!(position(&poll.version) >= position(&version));
    pair.standby.execute("INSERT INTO a VALUES (3)").await;
    assert_eq!(hw.changes_since(&pair.standby, "a", &poll.version).await.changes, inserted(3..=3));
}

#[tokio::test]
async fn a_promoted_standby_with_the_slot_continues_without_a_reset() {
    let pair = PrimaryAndStandby::start(Slots::Copied).await;
    let hw = pair.highwater().await;
    let start = hw.version().await;
    pair.primary.execute("INSERT INTO a VALUES (1)").await;
    let version = hw.changes_since(&pair.primary, "a", &start).await.version;
    pair.primary.replicated(&pair.standby).await;
    let began = pair.fail_over().await;
    pair.standby.execute("INSERT INTO a VALUES (2)").await;
    until_another_epoch(&hw, &version).await;
    hw.ready().await;
    eprintln!("failover with the slot: ready after {:?}", began.elapsed());
    let poll = hw.changes_since(&pair.standby, "a", &version).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(2..=2)));
    assert_ne!(epoch(&poll.version), epoch(&version), "new versions belong to the new timeline");
    assert_eq!(hw.changes_since(&pair.standby, "a", &start).await.changes, inserted(1..=2));
    hw.stop().await.expect("a clean end");

    // An instance that never followed the old timeline reports the same.
    let hw = pair.highwater().await;
    for (version, expected) in [(&start, 1), (&version, 2), (&poll.version, 3)] {
        let later = hw.changes_since(&pair.standby, "a", version).await;
        assert_eq!((later.reset.len(), later.changes), (0, inserted(expected..=2)));
    }
    let beyond = format!("{}-{:016x}", epoch(&version), position(&poll.version) + 8);
    let poll = hw.changes_since(&pair.standby, "a", &beyond).await;
    assert_eq!(poll.reset, ["a"], "changes of the old timeline after the switch are unknown");
}

#[tokio::test]
async fn commits_that_a_failover_loses_reset_all_clients() {
    let pair = PrimaryAndStandby::start(Slots::Copied).await;
    let hw = pair.highwater().await;
    let start = hw.version().await;
    pair.primary.execute("INSERT INTO a VALUES (1)").await;
    let shared = hw.changes_since(&pair.primary, "a", &start).await.version;
    pair.primary.replicated(&pair.standby).await;
    pair.standby.stop_receiving().await;
    pair.primary.execute("INSERT INTO a VALUES (100)").await;
    let phantom = hw.changes_since(&pair.primary, "a", &shared).await;
    assert_eq!(phantom.changes, inserted(100..=100));
    pair.fail_over().await;
    // At the WAL positions of the lost commits, and beyond.
    pair.standby.execute("INSERT INTO a SELECT generate_series(2, 50)").await;
    until_another_epoch(&hw, &shared).await;
    for version in [&start, &shared, &phantom.version] {
        assert_eq!(hw.changes_since(&pair.standby, "a", version).await.reset, ["a"], "{version}");
    }
    let version = hw.version().await;
    pair.standby.execute("INSERT INTO a VALUES (51)").await;
    assert_eq!(hw.changes_since(&pair.standby, "a", &version).await.changes, inserted(51..=51));
    hw.stop().await.expect("a clean end");

    // An instance that never reported them accepts the versions of clients that never received them.
    let hw = pair.highwater().await;
    let poll = hw.changes_since(&pair.standby, "a", &shared).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(2..=51)));
    assert_eq!(hw.changes_since(&pair.standby, "a", &phantom.version).await.reset, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_restored_behind_the_same_address_resets_all_clients() {
    let mut pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let hw = Highwater::start_with(&pg, &[("postgres.url", &proxy.url(pg.database()))]).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    let before = hw.changes_since(&pg, "a", &start).await.version;
    let restored = pg.restored(Slots::None).await;
    pg.execute("INSERT INTO a VALUES (2)").await;
    let lost = hw.changes_since(&pg, "a", &before).await.version;
    restored.execute("INSERT INTO a VALUES (3)").await;
    proxy.switch(&restored);
    until_another_epoch(&hw, &before).await;
    for version in [&start, &before, &lost] {
        assert_eq!(hw.changes_since(&restored, "a", version).await.reset, ["a"]);
    }
    let version = hw.version().await;
    restored.execute("INSERT INTO a VALUES (4)").await;
    assert_eq!(hw.changes_since(&restored, "a", &version).await.changes, inserted(4..=4));

    // Restored again to another point: that timeline has the same number.
    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    assert_eq!(restored.value::<i32>(timeline).await, 2);
    let again = pg.restored(Slots::None).await;
    assert_eq!(again.value::<i32>(timeline).await, 2);
    again.execute("INSERT INTO a VALUES (5)").await;
    proxy.switch(&again);
    until_another_epoch(&hw, &version).await;
    assert_eq!(hw.changes_since(&again, "a", &version).await.reset, ["a"]);
}

/// The disk is reverted to a snapshot: the same server, the same timeline, different commits.
#[tokio::test]
async fn reverted_storage_is_detected_and_resets_all_clients() {
    let mut pg = quiet(TempPostgresOptions::default()).await;
    pg.execute(
        "CREATE TABLE r (id int PRIMARY KEY, v text); ALTER PUBLICATION highwater ADD TABLE r",
    )
    .await;
    let hw = Highwater::start_with(&pg, &[("tables.r.rows", "preload")]).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1); INSERT INTO r VALUES (1, 'before')").await;
    hw.applied(&pg).await;
    let backup = tempfile::tempdir().expect("a temporary directory");
    let backup = backup.path().join("data");
    pg.server().stop(ShutdownMode::Fast).expect("it stops");
    copy_data(&pg.server().data_dir(), &backup);
    pg.server().restart(ShutdownMode::Fast).expect("it starts");
    pg.reconnect().await;
    pg.execute("INSERT INTO a SELECT generate_series(100, 5000); UPDATE r SET v = 'phantom'").await;
    let phantom = hw.changes_since(&pg, "a,r", &start).await;
    assert_eq!((phantom.reset.len(), phantom.more), (0, false));

    pg.server().stop(ShutdownMode::Fast).expect("it stops");
    std::fs::remove_dir_all(pg.server().data_dir()).expect("a directory");
    copy_data(&backup, &pg.server().data_dir());
    let began = Instant::now();
    pg.server().restart(ShutdownMode::Fast).expect("it starts");
    pg.reconnect().await;
    pg.execute("INSERT INTO a VALUES (2)").await;
    until_another_epoch(&hw, &phantom.version).await;
    hw.ready().await;
    eprintln!("storage set back: every client is reset after {:?}", began.elapsed());
    for version in [&start, &phantom.version] {
        let poll = hw.changes_since(&pg, "a,r", version).await;
        assert_eq!(
            (poll.reset.as_slice(), poll.changes.len()),
            (["a", "r"].map(str::to_owned).as_slice(), 0)
        );
    }
    assert_eq!(hw.fetch("/v1/tables/r/rows/1").await.body["v"], "before");
    let version = hw.version().await;
    pg.execute("INSERT INTO a VALUES (3)").await;
    // Another connection to the same server is still on the same history.
    pg.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
        .await;
    let poll = hw.changes_since(&pg, "a", &version).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, inserted(3..=3)));
}

fn copy_data(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp is installed").success());
}
