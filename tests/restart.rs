//! Restarts of the service and of the server, lost connections, the slot.

use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};

use crate::support::{Highwater, PATIENCE, TestPostgres};

const TABLE: &str = "CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a";

/// A server that no other test uses. While transactions of other tests are open, the slot starts before
/// the table was created, and a restart resets a table that may have changed since.
async fn private_server() -> TestPostgres {
    TestPostgres::private(TempPostgresOptions::default()).await
}

#[tokio::test]
async fn clients_continue_across_a_restart() {
    let pg = private_server().await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    let before = hw.changes_since(&pg, "a", &start).await;
    hw.stop().await.expect("a clean shutdown");
    pg.execute("INSERT INTO a VALUES (2)").await;
    let start_time = Instant::now();
    let hw = Highwater::start(&pg).await;
    eprintln!("service restarted: ready after {:?}", start_time.elapsed());
    let poll = hw.changes_since(&pg, "a", &before.version).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, vec!["insert a 2".to_owned()]));
    let all = hw.changes_since(&pg, "a", &start).await;
    assert_eq!(all.changes, ["insert a 1", "insert a 2"], "the resume window is sent again");
}

/// Rows of a COPY share WAL records, and all rows of a commit share its position.
#[tokio::test]
async fn a_client_with_a_part_of_a_commit_gets_the_rest_after_a_restart() {
    let pg = private_server().await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    let copy = pg.connect().await;
    let sink = copy.client().copy_in("COPY a FROM STDIN").await.expect("a COPY");
    let mut sink = std::pin::pin!(sink);
    let rows: Vec<String> = (1..=500).map(|id| id.to_string()).collect();
    sink.send(bytes::Bytes::from(rows.join("\n") + "\n")).await.expect("rows are accepted");
    assert_eq!(sink.finish().await.expect("it is committed"), 500);
    hw.applied(&pg).await;
    let part = hw.poll(&format!("after={start}&limit=123")).await;
    assert!(part.more && part.version.contains('.'), "{}", part.version);
    hw.stop().await.expect("a clean shutdown");
    let hw = Highwater::start(&pg).await;
    let rest = hw.changes_since(&pg, "a", &part.version).await;
    assert_eq!((rest.reset.len(), rest.more), (0, false));
    let poll: Vec<String> = part.changes.into_iter().chain(rest.changes).collect();
    assert_eq!(poll, (1..=500).map(|id| format!("insert a {id}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_definition_changed_while_the_service_was_down_is_a_reset() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    hw.stop().await.expect("a clean shutdown");
    pg.execute(
        "ALTER PUBLICATION highwater DROP TABLE a; INSERT INTO a VALUES (1);
         ALTER PUBLICATION highwater ADD TABLE a",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start_time = Instant::now();
    while hw.changes_since(&pg, "a", &start).await.reset != ["a"] {
        assert!(start_time.elapsed() < PATIENCE, "the change was not noticed");
    }
}

/// `change` removes or empties one of two partitions while the service is down: the root is reset.
async fn assert_reset_after_partition_change(change: &str, with_trigger: bool) {
    let pg = private_server().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM (0) TO (100);
         CREATE TABLE a_2 PARTITION OF a FOR VALUES FROM (100) TO (200);
         INSERT INTO a VALUES (1), (150);
         CREATE PUBLICATION highwater FOR TABLE a WITH (publish_via_partition_root)",
    )
    .await;
    if with_trigger {
        pg.execute(include_str!("../sql/event_trigger.sql")).await;
    }
    // Makes the catalog's rows older than the start of the slot.
    pg.execute("CREATE TABLE other (id int)").await;
    for id in 0..50 {
        pg.execute(&format!("INSERT INTO other VALUES ({id})")).await;
    }
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    hw.stop().await.expect("a clean shutdown");
    pg.execute(change).await;
    let hw = Highwater::start(&pg).await;
    let start_time = Instant::now();
    while hw.changes_since(&pg, "a", &start).await.reset != ["a"] {
        assert!(start_time.elapsed() < PATIENCE, "{change}: not noticed");
    }
    hw.stop().await.expect("a clean shutdown");
}

#[tokio::test]
async fn partitions_detached_dropped_or_truncated_while_the_service_was_down_cause_a_reset() {
    for with_trigger in [false, true] {
        assert_reset_after_partition_change("ALTER TABLE a DETACH PARTITION a_2", with_trigger)
            .await;
        assert_reset_after_partition_change("DROP TABLE a_2", with_trigger).await;
        assert_reset_after_partition_change("TRUNCATE a_2", with_trigger).await;
    }
}

#[tokio::test]
async fn with_the_event_trigger_a_restart_does_not_reset_a_partitioned_table() {
    let pg = private_server().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM (0) TO (100);
         CREATE PUBLICATION highwater FOR TABLE a WITH (publish_via_partition_root)",
    )
    .await;
    pg.execute(include_str!("../sql/event_trigger.sql")).await;
    pg.execute("CREATE TABLE other (id int)").await;
    for id in 0..50 {
        pg.execute(&format!("INSERT INTO other VALUES ({id})")).await;
    }
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    hw.stop().await.expect("a clean shutdown");
    pg.execute("INSERT INTO a VALUES (1)").await;
    let hw = Highwater::start(&pg).await;
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!((poll.reset.len(), poll.changes), (0, vec!["insert a 1".to_owned()]));
}

#[tokio::test]
async fn two_instances_accept_each_others_versions() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let one = Highwater::start(&pg).await;
    let slot = format!("{}_other", pg.database());
    let other = Highwater::start_with(&pg, &[("postgres.slot", &slot)]).await;
    let start = other.version().await;
    pg.execute("INSERT INTO a SELECT generate_series(1, 6)").await;
    one.applied(&pg).await;
    other.applied(&pg).await;
    let first = one.poll(&format!("after={start}&limit=4")).await;
    assert!(first.more && first.changes.len() == 4);
    let rest = other.poll(&format!("after={}", first.version)).await;
    assert_eq!(rest.changes, ["insert a 5", "insert a 6"]);
    other.stop().await.expect("a clean shutdown");
    pg.query(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
}

#[tokio::test]
async fn a_killed_walsender_is_replaced_and_nothing_is_missed() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    for id in 0..5 {
        pg.execute(&format!(
            "INSERT INTO a VALUES ({id});
             SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
             WHERE slot_name = '{}' AND active_pid IS NOT NULL",
            pg.database()
        ))
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let start_time = Instant::now();
    hw.applied(&pg).await;
    eprintln!("killed walsender: the next change is reported after {:?}", start_time.elapsed());
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!(poll.reset.len(), 0);
    assert_eq!(poll.changes.len(), 5);
}

#[tokio::test]
async fn a_lost_slot_is_replaced_and_every_client_is_reset() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    let slot = pg.database();
    // Terminated and dropped in one transaction, before the service reconnects.
    pg.execute(&format!(
        "DO $$BEGIN
           PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}';
           FOR i IN 1..1000 LOOP
             BEGIN PERFORM pg_drop_replication_slot('{slot}'); RETURN;
             EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.005); END;
           END LOOP;
         END$$; INSERT INTO a VALUES (1)"
    ))
    .await;
    let start_time = Instant::now();
    loop {
        let poll = hw.changes_since(&pg, "a", &start).await;
        if poll.reset == ["a"] {
            break;
        }
        assert!(start_time.elapsed() < PATIENCE, "{poll:?}");
    }
}

#[tokio::test]
async fn a_restart_of_the_server_is_neither_delayed_nor_visible_to_clients() {
    let mut pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(TABLE).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1)").await;
    hw.applied(&pg).await;
    let start_time = Instant::now();
    pg.server().restart(ShutdownMode::Fast).expect("the server restarts");
    assert!(start_time.elapsed() < Duration::from_secs(40), "the server waited for its walsender");
    pg.reconnect().await;
    assert_eq!(hw.poll(&format!("after={start}")).await.changes, ["insert a 1"], "polls continue");
    pg.execute("INSERT INTO a VALUES (2)").await;
    let poll = hw.changes_since(&pg, "a", &start).await;
    eprintln!(
        "server restart: the next change is reported {:?} after its start",
        start_time.elapsed()
    );
    assert_eq!((poll.reset.len(), poll.changes.len()), (0, 2), "{poll:?}");
}

#[tokio::test]
async fn an_instance_waits_for_a_busy_slot_and_takes_it_over() {
    let pg = private_server().await;
    pg.execute(TABLE).await;
    let first = Highwater::start(&pg).await;
    let start = first.version().await;
    let second = Highwater::launch(&pg, &[]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let reply = second.fetch("/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.to_string().contains("holds the replication slot"), "{:?}", reply.body);
    pg.execute("INSERT INTO a VALUES (1)").await;
    first.stop().await.expect("a clean shutdown");
    let freed = Instant::now();
    second.ready().await;
    let took = freed.elapsed();
    eprintln!("slot taken over {took:?} after its holder stopped");
    assert!(took < Duration::from_secs(15), "the takeover took {took:?}");
    assert_eq!(second.changes_since(&pg, "a", &start).await.changes, ["insert a 1"]);
}

#[tokio::test]
async fn an_idle_publication_on_a_busy_server_does_not_retain_wal() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(TABLE).await;
    pg.execute("CREATE TABLE noise (id int)").await;
    let hw = Highwater::start_with(&pg, &[("postgres.resume_max_wal", "1MiB")]).await;
    let confirmed = format!(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
         FROM pg_replication_slots WHERE slot_name = '{}'",
        pg.database()
    );
    for _ in 0..10 {
        pg.execute("INSERT INTO noise SELECT generate_series(1, 20000)").await;
    }
    let start_time = Instant::now();
    while pg.value::<i64>(&confirmed).await > 2 << 20 {
        assert!(start_time.elapsed() < PATIENCE, "the slot retains WAL without need");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(hw);
}
