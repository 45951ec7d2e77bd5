//! Rows that share a WAL record, truncated tables, partitions published on their own.

use highwater::temp_postgres::TempPostgresOptions;

use super::{inserted, quiet};
use crate::support::{Highwater, TestPostgres};

#[tokio::test]
async fn a_client_in_the_middle_of_a_large_commit_continues_after_a_restart() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    // COPY writes many rows with one WAL record.
    let sql = "COPY a FROM PROGRAM 'seq 1 1000'";
    pg.execute(sql).await;
    hw.applied(&pg).await;
    let first = hw.poll(&format!("after={start}&limit=400")).await;
    assert!(first.more);
    hw.stop().await.expect("a clean end");
    let hw = Highwater::start(&pg).await;
    let rest = hw.changes_since(&pg, "a", &first.version).await;
    assert_eq!((rest.reset.len(), rest.more), (0, false));
    let all: Vec<String> = first.changes.into_iter().chain(rest.changes).collect();
    assert_eq!(all, inserted(1..=1000));
}

#[tokio::test]
async fn a_truncated_table_stays_published() {
    let pg = quiet(TempPostgresOptions::default()).await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO a VALUES (1); TRUNCATE a").await;
    let reset = hw.changes_since(&pg, "a", &start).await;
    assert_eq!(reset.reset, ["a"]);
    pg.execute("INSERT INTO a VALUES (2)").await;
    assert_eq!(hw.changes_since(&pg, "a", &reset.version).await.changes, inserted(2..=2));
    // Truncated and refilled in one transaction.
    pg.execute("BEGIN; TRUNCATE a; INSERT INTO a VALUES (3); COMMIT").await;
    let reset = hw.changes_since(&pg, "a", &reset.version).await;
    assert_eq!((reset.reset, reset.changes.len()), (vec!["a".to_owned()], 0));
    pg.execute("INSERT INTO a VALUES (4)").await;
    assert_eq!(hw.changes_since(&pg, "a", &reset.version).await.changes, inserted(4..=4));
}

#[tokio::test]
async fn leaves_published_on_their_own_report_every_row() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(
        "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF events FOR VALUES FROM (1) TO (10);
         CREATE TABLE high PARTITION OF events FOR VALUES FROM (10) TO (20);
         CREATE PUBLICATION highwater FOR TABLE events WITH (publish_via_partition_root = false)",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO events VALUES (1), (11); UPDATE events SET id = 12 WHERE id = 1").await;
    let poll = hw.changes_since(&pg, "low,high", &start).await;
    assert_eq!(poll.reset.len(), 0);
    assert_eq!(poll.changes, ["insert high 11", "delete low 1", "insert high 12"]);
    pg.execute("TRUNCATE events").await;
    let poll = hw.changes_since(&pg, "low,high", &poll.version).await;
    assert_eq!(poll.reset, ["low", "high"]);
    // The changes of a leaf that joins unobserved are reported from its first row on.
    pg.execute(
        "CREATE TABLE top PARTITION OF events FOR VALUES FROM (20) TO (30);
         INSERT INTO events VALUES (21), (2)",
    )
    .await;
    hw.applied(&pg).await;
    assert_eq!(hw.changes_since(&pg, "low", &poll.version).await.changes, ["insert low 2"]);
    let began = std::time::Instant::now();
    while hw.fetch("/v1/changes?tables=top").await.status != 200 {
        assert!(began.elapsed() < crate::support::PATIENCE, "the new leaf is unknown");
    }
    assert_eq!(hw.changes_since(&pg, "top", &poll.version).await.reset, ["top"]);
}
