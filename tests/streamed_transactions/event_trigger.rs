//! The event trigger that announces changed definitions.

use highwater::change::{Reset, ResetReason};
use highwater::database::sql::{DROP_EVENT_TRIGGER, EVENT_TRIGGER};

use super::follower::Follower;
use super::lazy;
use crate::support::TestPostgres;

const TABLES: &str = "
    CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN moods AS mood[]; CREATE TYPE pair AS (x int, m moods);
    CREATE TABLE deep (id int PRIMARY KEY, p pair);
    CREATE TABLE plain (id int PRIMARY KEY, v int);
    CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (1) TO (10);
    CREATE TABLE other (id int PRIMARY KEY);
    CREATE PUBLICATION highwater FOR TABLE deep, plain, root WITH (publish_via_partition_root = true)";

#[tokio::test]
async fn changed_definitions_reset_exactly_the_affected_tables_in_their_commit() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    pg.execute(EVENT_TRIGGER).await;
    pg.execute(EVENT_TRIGGER).await;
    let mut follower = Follower::start(&pg, ["deep", "plain", "root"].map(lazy).into()).await;
    for (change, table) in [
        ("ALTER TYPE mood RENAME VALUE 'a' TO 'z'", "deep"),
        ("ALTER TABLE plain ADD w int DEFAULT 7", "plain"),
        ("ALTER TABLE plain ALTER v TYPE int USING v + 1", "plain"),
        ("ALTER TABLE root ATTACH PARTITION other FOR VALUES FROM (10) TO (20)", "root"),
        ("ALTER TABLE root DETACH PARTITION other", "root"),
        ("ALTER TABLE leaf RENAME TO leaf_1", "root"),
        ("ALTER TYPE pair ADD ATTRIBUTE y int", "deep"),
        ("ALTER TYPE pair DROP ATTRIBUTE y", "deep"),
        ("ALTER PUBLICATION highwater DROP TABLE plain", "plain"),
        ("DROP DOMAIN moods CASCADE", "deep"),
    ] {
        let oid = follower.table(table).oid;
        follower.lost.clear();
        follower.resets.clear();
        pg.execute(change).await;
        follower.catch_up(&pg).await;
        assert_eq!(follower.lost, [oid], "{change}");
        let expected = Reset { table: oid, reason: ResetReason::Schema };
        assert_eq!(follower.resets, [expected], "{change}");
    }
    pg.execute(DROP_EVENT_TRIGGER).await;
    let left = "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'highwater%'";
    assert_eq!(pg.value::<i64>(left).await, 0);
    follower.stop().await;
}

#[tokio::test]
async fn temporary_tables_and_rolled_back_changes_announce_nothing_and_errors_fail_no_statement() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    pg.execute(EVENT_TRIGGER).await;
    let mut follower = Follower::start(&pg, vec![lazy("plain")]).await;
    pg.execute("CREATE TEMP TABLE t (id int); ALTER TABLE t ADD x int; DROP TABLE t").await;
    pg.execute("BEGIN; ALTER TABLE plain ADD x int; ROLLBACK").await;
    follower.catch_up(&pg).await;
    assert!(follower.lost.is_empty());
    // A broken trigger raises a warning and does not fail the statement.
    pg.execute("DROP FUNCTION public.highwater_tables_of(oid[], oid[])").await;
    pg.execute("ALTER TABLE plain ADD x int").await;
    follower.stop().await;
}
