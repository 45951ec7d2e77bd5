//! Tables that join, leave or change while the service runs.

use std::time::{Duration, Instant};

use highwater::temp_postgres::TempPostgresOptions;
use tokio::task::JoinSet;

use crate::support::{Highwater, PATIENCE, TestPostgres, installation};

/// Polls until `table` is reset after `version`; returns the version of that response.
async fn until_reset(hw: &Highwater, table: &str, version: &str) -> String {
    let began = Instant::now();
    loop {
        let reply = hw.fetch(&format!("/v1/changes?tables={table}&after={version}&wait=1s")).await;
        let reset = &reply.body["reset"];
        if reset.as_array().is_some_and(|tables| tables.iter().any(|name| name == table)) {
            return reply.body["version"].as_str().expect("a version").to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "{table} is not reset: {reply:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn changes_of_a_table_that_joins_are_reported_from_its_reset_on() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
         CREATE PUBLICATION highwater FOR TABLE a",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    assert_eq!(hw.fetch("/v1/changes?tables=b").await.status, 404);
    pg.execute("ALTER PUBLICATION highwater ADD TABLE b; INSERT INTO b VALUES (1)").await;
    let version = until_reset(&hw, "b", &start).await;
    pg.execute("INSERT INTO b VALUES (2)").await;
    assert_eq!(hw.changes_since(&pg, "b", &version).await.changes, ["insert b 2"]);
}

#[tokio::test]
async fn a_transaction_that_spans_the_joining_of_its_table_is_a_second_reset() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
         CREATE PUBLICATION highwater FOR TABLE a",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    let writer = pg.connect().await;
    writer.execute("BEGIN; INSERT INTO b VALUES (1)").await;
    pg.execute("ALTER PUBLICATION highwater ADD TABLE b").await;
    let version = until_reset(&hw, "b", &start).await;
    writer.execute("COMMIT").await;
    until_reset(&hw, "b", &version).await;
}

#[tokio::test]
async fn a_table_that_leaves_is_unknown_and_reset_when_it_returns() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
         CREATE PUBLICATION highwater FOR TABLE a, b",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("ALTER PUBLICATION highwater DROP TABLE b").await;
    let began = Instant::now();
    while hw.fetch("/v1/changes?tables=b").await.status != 404 {
        assert!(began.elapsed() < PATIENCE, "b has not left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pg.execute("INSERT INTO b VALUES (1); ALTER PUBLICATION highwater ADD TABLE b").await;
    until_reset(&hw, "b", &start).await;
}

#[tokio::test]
async fn leaving_and_joining_between_two_refreshes_is_a_reset() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a")
        .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute(
        "ALTER PUBLICATION highwater DROP TABLE a; INSERT INTO a VALUES (1);
         ALTER PUBLICATION highwater ADD TABLE a",
    )
    .await;
    until_reset(&hw, "a", &start).await;
}

#[tokio::test]
async fn a_table_dropped_and_created_again_is_a_reset() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a")
        .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute(
        "DROP TABLE a; CREATE TABLE a (id text PRIMARY KEY);
         ALTER PUBLICATION highwater ADD TABLE a; INSERT INTO a VALUES ('x')",
    )
    .await;
    let version = until_reset(&hw, "a", &start).await;
    pg.execute("INSERT INTO a VALUES ('y')").await;
    assert_eq!(hw.changes_since(&pg, "a", &version).await.changes, ["insert a \"y\""]);
}

#[tokio::test]
async fn a_new_table_of_a_publication_for_all_tables_is_reported() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE PUBLICATION highwater FOR ALL TABLES").await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("CREATE TABLE later (id int PRIMARY KEY); INSERT INTO later VALUES (1)").await;
    let began = Instant::now();
    while hw.fetch("/v1/changes?tables=later").await.status == 404 {
        assert!(began.elapsed() < PATIENCE, "the table does not appear");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hw.poll(&format!("after={start}")).await.reset, ["later"]);
}

#[tokio::test]
async fn a_renamed_table_is_known_under_its_new_name() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE PUBLICATION highwater FOR TABLE a")
        .await;
    let hw = Highwater::start(&pg).await;
    pg.execute("ALTER TABLE a RENAME TO b; INSERT INTO b VALUES (1)").await;
    let began = Instant::now();
    while hw.fetch("/v1/changes?tables=b").await.status == 404 {
        assert!(began.elapsed() < PATIENCE, "the new name is not known");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hw.fetch("/v1/changes?tables=a").await.status, 404);
    let version = hw.version().await;
    pg.execute("INSERT INTO b VALUES (2)").await;
    assert_eq!(hw.changes_since(&pg, "b", &version).await.changes, ["insert b 2"]);
}

#[tokio::test]
async fn a_changed_definition_resets_and_a_changed_key_yields_new_ids() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY, code text NOT NULL); INSERT INTO a VALUES (1, 'x');
         CREATE PUBLICATION highwater FOR TABLE a",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    // No row event arrives for this one.
    pg.execute("ALTER TABLE a ADD COLUMN more int DEFAULT 7").await;
    let version = until_reset(&hw, "a", &start).await;
    pg.execute(
        "ALTER TABLE a DROP CONSTRAINT a_pkey, ADD PRIMARY KEY (code); UPDATE a SET more = 8",
    )
    .await;
    let mut version = until_reset(&hw, "a", &version).await;
    // The catalog refresh may follow the change with a delay.
    let began = Instant::now();
    loop {
        pg.execute("UPDATE a SET more = more + 1").await;
        let poll = hw.changes_since(&pg, "a", &version).await;
        if poll.changes == ["update a \"x\""] {
            return;
        }
        assert!(poll.reset == ["a"] && began.elapsed() < PATIENCE, "{poll:?}");
        version = poll.version;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_attached_partition_resets_its_root() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (10);
         CREATE TABLE loose (id int PRIMARY KEY); INSERT INTO loose VALUES (11);
         CREATE PUBLICATION highwater FOR TABLE events WITH (publish_via_partition_root = true)",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("ALTER TABLE events ATTACH PARTITION loose FOR VALUES FROM (10) TO (20)").await;
    let version = until_reset(&hw, "events", &start).await;
    pg.execute("ALTER TABLE events DETACH PARTITION events_1").await;
    until_reset(&hw, "events", &version).await;
}

/// Without the event trigger, and faster than the catalog refreshes.
#[tokio::test]
async fn a_partition_attached_and_detached_or_detached_and_attached_resets_its_root() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE events (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
         CREATE TABLE kept PARTITION OF events FOR VALUES FROM (1) TO (10);
         CREATE TABLE loose (id int PRIMARY KEY, n int);
         INSERT INTO kept VALUES (1, 0); INSERT INTO loose VALUES (11, 0);
         CREATE PUBLICATION highwater FOR TABLE events WITH (publish_via_partition_root = true)",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    // The change is reported under the root; no message reports that the row has left it.
    pg.execute("ALTER TABLE events ATTACH PARTITION loose FOR VALUES FROM (10) TO (20)").await;
    pg.execute("UPDATE events SET n = 1 WHERE id = 11").await;
    pg.execute("ALTER TABLE events DETACH PARTITION loose").await;
    let version = until_reset(&hw, "events", &start).await;
    // The change is not published.
    pg.execute("ALTER TABLE events DETACH PARTITION kept").await;
    pg.execute("UPDATE kept SET n = 1").await;
    pg.execute("ALTER TABLE events ATTACH PARTITION kept FOR VALUES FROM (1) TO (10)").await;
    until_reset(&hw, "events", &version).await;
}

/// PostgreSQL 14 caches whether it publishes a table whose changes it has decoded before.
#[tokio::test]
async fn a_leaf_with_earlier_changes_is_followed_once_attached_and_not_after_detaching() {
    let mut cases = JoinSet::new();
    for publication in [
        "FOR TABLE events WITH (publish_via_partition_root = true)",
        "FOR ALL TABLES WITH (publish_via_partition_root = true)",
        "FOR TABLE events",
    ] {
        cases.spawn(attached_and_detached(publication, "loose", ""));
        let leaf = "CREATE TABLE leaf PARTITION OF loose FOR VALUES FROM (10) TO (20)";
        cases.spawn(attached_and_detached(publication, "leaf", leaf));
    }
    cases.join_all().await;
}

/// Attaches `loose` to `events` and detaches it. Its rows are in itself or in the leaf that the
/// statement `create_leaf` creates.
async fn attached_and_detached(
    publication: &'static str,
    leaf: &'static str,
    create_leaf: &'static str,
) {
    let by = if create_leaf.is_empty() { "" } else { "PARTITION BY RANGE (id)" };
    let pg = TestPostgres::start().await;
    pg.execute(&format!(
        "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (10);
         CREATE TABLE loose (id int PRIMARY KEY) {by}; {create_leaf};
         CREATE PUBLICATION highwater {publication}"
    ))
    .await;
    let reported_as = if publication.contains("root") { "events" } else { leaf };
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO loose VALUES (11)").await;
    hw.applied(&pg).await;
    pg.execute("ALTER TABLE events ATTACH PARTITION loose FOR VALUES FROM (10) TO (20)").await;
    let version = until_reset(&hw, reported_as, &start).await;
    pg.execute("INSERT INTO loose VALUES (12)").await;
    let poll = hw.changes_since(&pg, reported_as, &version).await;
    assert_eq!(poll.changes, [format!("insert {reported_as} 12")], "{publication}");
    pg.execute("ALTER TABLE events DETACH PARTITION loose").await;
    if reported_as == "events" {
        let version = until_reset(&hw, "events", &poll.version).await;
        pg.execute("INSERT INTO loose VALUES (13); INSERT INTO events VALUES (1)").await;
        let poll = hw.changes_since(&pg, "events", &version).await;
        assert_eq!(poll.changes, ["insert events 1"], "{publication}");
    }
}

#[tokio::test]
async fn with_the_event_trigger_a_leaf_is_followed_from_the_commit_that_attached_it() {
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(
        "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE loose (id int PRIMARY KEY);
         CREATE PUBLICATION highwater FOR TABLE events WITH (publish_via_partition_root = true)",
    )
    .await;
    pg.execute(include_str!("../sql/event_trigger.sql")).await;
    let hw = Highwater::start(&pg).await;
    let mut version = hw.version().await;
    for id in 0..10 {
        pg.execute("INSERT INTO loose VALUES (100) ON CONFLICT (id) DO UPDATE SET id = 100").await;
        hw.applied(&pg).await;
        pg.execute("ALTER TABLE events ATTACH PARTITION loose FOR VALUES FROM (0) TO (1000)").await;
        version = until_reset(&hw, "events", &version).await;
        pg.execute(&format!("INSERT INTO loose VALUES ({id})")).await;
        let poll = hw.changes_since(&pg, "events", &version).await;
        let is_reported = poll.changes == [format!("insert events {id}")];
        assert!(is_reported || poll.reset == ["events"], "{id}: {poll:?}");
        pg.execute("ALTER TABLE events DETACH PARTITION loose").await;
        version = until_reset(&hw, "events", &poll.version).await;
    }
}

#[tokio::test]
async fn a_row_that_leaves_the_filter_is_deleted_and_one_that_enters_is_inserted() {
    if installation().major() < 15 {
        // Row filters and column lists exist since PostgreSQL 15.
        return;
    }
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int, state int, secret text, PRIMARY KEY (id, state));
         CREATE PUBLICATION highwater FOR TABLE a (id, state) WHERE (state > 0);
         INSERT INTO a VALUES (1, 1, 's'), (2, 0, 's')",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("UPDATE a SET state = 0 WHERE id = 1; UPDATE a SET state = 5 WHERE id = 2; INSERT INTO a VALUES (3, 0, 's')").await;
    let poll = hw.changes_since(&pg, "a", &start).await;
    assert_eq!(poll.changes, ["delete a [1,1]", "insert a [2,5]"]);
}
