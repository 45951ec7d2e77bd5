//! Two instances of one database, each with its own slot, accept each other's versions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;

use super::quiet;
use crate::support::{
    Highwater, LocalCopy, PATIENCE, Proxy, SessionKind, TestPostgres, TestSession,
};

/// The duration of the writes.
const WRITE_DURATION: Duration = Duration::from_secs(8);
/// Interval between restarts of an instance or terminations of walsenders.
const DISTURBANCE_INTERVAL: Duration = Duration::from_millis(700);

const TRANSACTIONS: &str = "CREATE PROCEDURE transactions() LANGUAGE plpgsql AS $$BEGIN
    FOR i IN 1..20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END$$";

async fn instance(pg: &TestPostgres, number: usize) -> Highwater {
    instance_behind(&pg.url(), pg, number).await
}

async fn instance_behind(url: &str, pg: &TestPostgres, number: usize) -> Highwater {
    let slot = format!("{}_{number}", pg.database());
    Highwater::start_with(pg, &[("postgres.slot", &slot), ("postgres.url", url)]).await
}

async fn write(session: &TestSession, stop: &AtomicBool) -> usize {
    let mut commits = 0;
    while !stop.load(Ordering::Relaxed) {
        let (id, other) = (fastrand::i32(0..300), fastrand::i32(0..300));
        let sql = match fastrand::u32(0..4) {
            0 => format!("DELETE FROM a WHERE id BETWEEN {id} AND {id} + 5"),
            1 => format!(
                "UPDATE a SET id = 1000 + {id} WHERE id = {id} AND NOT EXISTS (SELECT FROM a WHERE id = 1000 + {id})"
            ),
            _ => format!(
                "INSERT INTO a SELECT generate_series({other}, {other} + 3) ON CONFLICT DO NOTHING"
            ),
        };
        session.execute(&sql).await;
        commits += 1;
    }
    commits
}

/// Alternately restarts an instance and terminates the walsenders, until `stop` is set.
async fn disturb(
    pg: &TestPostgres,
    instances: &mut [Option<Highwater>; 2],
    copies: &mut [LocalCopy],
    stop: &AtomicBool,
) -> usize {
    let mut disturbances = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = disturbances / 2 % 2;
        if disturbances % 2 == 0 {
            pg.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active",
            )
            .await;
        } else {
            let one = instances[number].take().expect("both are up");
            one.stop().await.expect("a clean end");
            let other = instances[1 - number].as_ref().expect("one is up");
            for copy in copies.iter_mut() {
                copy.catch_up(other).await;
            }
            instances[number] = Some(instance(pg, number).await);
        }
        disturbances += 1;
        let began = Instant::now();
        while began.elapsed() < DISTURBANCE_INTERVAL {
            for copy in copies.iter_mut() {
                let any = instances[fastrand::usize(0..2)].as_ref().expect("both are up");
                copy.poll(any, "").await;
            }
        }
    }
    disturbances
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_switch_between_instances_at_every_poll_miss_nothing_and_are_never_reset() {
    let pg = quiet(TempPostgresOptions::default()).await;
    // Transactions between the creation of the table and of the slot: otherwise a restart during writes
    // could not prove that the table is older than the slot, and would reset it.
    pg.execute(TRANSACTIONS).await;
    pg.execute("CALL transactions()").await;
    let mut instances = [Some(instance(&pg, 0).await), Some(instance(&pg, 1).await)];
    let mut copies = Vec::new();
    for limit in [3, 10_000] {
        let mut copy = LocalCopy::new(&pg, &["a"], limit).await;
        copy.catch_up(instances[0].as_ref().expect("it is up")).await;
        copies.push(copy);
    }
    let writer = pg.connect().await;
    let stop = AtomicBool::new(false);
    let clock = async {
        tokio::time::sleep(WRITE_DURATION).await;
        stop.store(true, Ordering::Relaxed);
    };
    let disturbing = disturb(&pg, &mut instances, &mut copies, &stop);
    let (commits, disturbances, ()) = tokio::join!(write(&writer, &stop), disturbing, clock);
    for (copy, instance) in copies.iter_mut().zip(instances.iter().flatten()) {
        instance.applied(&pg).await;
        copy.catch_up(instance).await;
        copy.assert_equals_database().await;
        eprintln!("{} polls, {} changes", copy.polls, copy.changes);
        let metrics = instance.fetch("/metrics").await.body;
        let why = metrics.as_str().expect("text").lines();
        let why: Vec<&str> =
            why.filter(|line| line.starts_with("highwater_resets_total")).collect();
        assert_eq!(copy.resets, 1, "the first response only; {why:?}");
        assert!(copy.changes > 100);
    }
    eprintln!("{commits} commits, {disturbances} disturbances");
    assert!(commits > 100 && disturbances > 4);
}

/// With the event trigger, an instance that does not know yet which table joined does not advance past
/// that commit.
#[tokio::test]
async fn a_table_that_joins_is_not_missed_at_an_instance_that_does_not_know_it_yet() {
    let pg = quiet(TempPostgresOptions::default()).await;
    pg.execute(include_str!("../../sql/event_trigger.sql")).await;
    pg.execute("CREATE TABLE b (id int PRIMARY KEY)").await;
    let proxy = Proxy::start(&pg).await;
    let quick = instance(&pg, 0).await;
    let slow = instance_behind(&proxy.url(pg.database()), &pg, 1).await;
    let start = quick.version().await;
    slow.applied(&pg).await;

    proxy.silence(SessionKind::Sql);
    pg.execute("ALTER PUBLICATION highwater ADD TABLE b").await;
    let mut joined = quick.poll(&format!("after={start}&wait=5s")).await;
    while joined.reset != ["b"] {
        joined = quick.poll(&format!("after={}&wait=5s", joined.version)).await;
    }
    pg.execute("INSERT INTO b VALUES (1)").await;
    quick.applied(&pg).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(slow.version().await < joined.version, "it reports a version that it can't know");

    proxy.heal();
    let poll = slow.changes_since(&pg, "b", &joined.version).await;
    assert!(poll.reset == ["b"] || poll.changes == ["insert b 1"], "{poll:?}");
}

/// Without the event trigger each instance detects a changed definition at a different time: the first one
/// announces it to the others.
#[tokio::test]
async fn a_changed_definition_that_one_instance_detects_resets_at_the_others() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let proxy = Proxy::start(&pg).await;
    let quick = instance(&pg, 0).await;
    let slow = instance_behind(&proxy.url(pg.database()), &pg, 1).await;
    let start = quick.version().await;
    slow.applied(&pg).await;

    proxy.silence(SessionKind::Sql);
    // No row is written, so the stream does not contain the new definition.
    pg.execute("ALTER TABLE a ADD COLUMN found int DEFAULT 1").await;
    let mut found = quick.poll(&format!("after={start}&wait=10s")).await;
    while found.reset != ["a"] {
        found = quick.poll(&format!("after={}&wait=10s", found.version)).await;
    }
    // The announcement is a transaction of its own, which follows the first instance's own reset.
    let began = Instant::now();
    while slow.changes_since(&pg, "a", &start).await.reset != ["a"] {
        assert!(began.elapsed() < PATIENCE, "the announcement did not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    proxy.heal();
}

/// A single instance does not write into the database.
#[tokio::test]
async fn a_changed_definition_is_not_announced_where_there_is_no_other_slot() {
    let pg = quiet(TempPostgresOptions::default()).await;
    pg.execute("SELECT pg_create_logical_replication_slot('peek', 'test_decoding')").await;
    let messages = async || {
        let sql = "SELECT count(*) FROM pg_logical_slot_peek_changes('peek', NULL, NULL)
            WHERE data LIKE '%prefix: highwater%'";
        pg.value::<i64>(sql).await
    };
    let alone = instance(&pg, 0).await;
    let find = async |column| {
        let start = alone.version().await;
        pg.execute(&format!("ALTER TABLE a ADD COLUMN {column} int")).await;
        let mut found = alone.poll(&format!("after={start}&wait=10s")).await;
        while found.reset != ["a"] {
            found = alone.poll(&format!("after={}&wait=10s", found.version)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    find("one").await;
    assert_eq!(messages().await, 0);
    pg.execute("SELECT pg_create_logical_replication_slot('another', 'pgoutput')").await;
    find("two").await;
    assert_eq!(messages().await, 1);
}
