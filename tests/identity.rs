//! Replica identities, and tables with and without keys.

use crate::support::{Highwater, TestPostgres};

#[tokio::test]
async fn every_replica_identity_with_a_key_yields_ids() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE d (id int PRIMARY KEY, v int);
         CREATE TABLE i (id int PRIMARY KEY, code text NOT NULL UNIQUE, v int);
         ALTER TABLE i REPLICA IDENTITY USING INDEX i_code_key;
         CREATE TABLE f (id int PRIMARY KEY, v int);
         ALTER TABLE f REPLICA IDENTITY FULL;
         INSERT INTO d VALUES (1, 1), (2, 1); INSERT INTO i VALUES (1, 'a', 1), (2, 'b', 1);
         INSERT INTO f VALUES (1, 1), (2, 1);
         CREATE PUBLICATION highwater FOR TABLE d, i, f",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    for table in ["d", "i", "f"] {
        pg.execute(&format!(
            "UPDATE {table} SET v = 2 WHERE id = 1; DELETE FROM {table} WHERE id = 2"
        ))
        .await;
    }
    pg.execute("UPDATE i SET id = 7 WHERE id = 1; UPDATE f SET id = 8 WHERE id = 1").await;
    assert_eq!(hw.changes_since(&pg, "d", &start).await.changes, ["update d 1", "delete d 2"]);
    assert_eq!(
        hw.changes_since(&pg, "i", &start).await.changes,
        ["delete i \"b\"", "update i \"a\""]
    );
    assert_eq!(
        hw.changes_since(&pg, "f", &start).await.changes,
        ["delete f 2", "delete f 1", "insert f 8"]
    );
}

#[tokio::test]
async fn tables_without_ids_are_listed_and_reset_by_every_change() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE nokey (v int); CREATE TABLE nothing (id int PRIMARY KEY);
         ALTER TABLE nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE full_nokey (v int); ALTER TABLE full_nokey REPLICA IDENTITY FULL;
         CREATE TABLE keyed (id int PRIMARY KEY);
         CREATE PUBLICATION highwater FOR TABLE nokey, nothing, full_nokey, keyed",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO nokey VALUES (1); INSERT INTO nothing VALUES (1); INSERT INTO keyed VALUES (1); INSERT INTO full_nokey VALUES (1)").await;
    let poll = hw.changes_since(&pg, "nokey,nothing,keyed,full_nokey", &start).await;
    assert_eq!(poll.reset.len(), 3, "{poll:?}");
    assert_eq!(poll.changes, ["insert keyed 1"]);
    pg.execute("UPDATE full_nokey SET v = 2").await;
    assert_eq!(
        hw.changes_since(&pg, "full_nokey,nokey", &poll.version).await.reset,
        ["full_nokey"]
    );
    let status = hw.fetch("/v1/status").await.body;
    let tables = status["tables"].as_array().expect("tables");
    let reset_only = tables.iter().filter(|t| t["tracking"] == "reset_only").count();
    assert_eq!(reset_only, 3, "{status}");
}

#[tokio::test]
async fn a_long_toasted_key_is_complete_in_changes() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE docs (path text PRIMARY KEY, v int, body text);
         ALTER TABLE docs ALTER path SET STORAGE EXTERNAL, ALTER body SET STORAGE EXTERNAL;
         CREATE PUBLICATION highwater FOR TABLE docs;
         INSERT INTO docs VALUES (repeat('k', 2500), 1, repeat('b', 9000))",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("UPDATE docs SET v = 2").await;
    let poll = hw.changes_since(&pg, "docs", &start).await;
    assert_eq!(poll.changes, [format!("update docs \"{}\"", "k".repeat(2500))]);
    pg.execute("DELETE FROM docs").await;
    let poll = hw.changes_since(&pg, "docs", &poll.version).await;
    assert_eq!(poll.changes, [format!("delete docs \"{}\"", "k".repeat(2500))]);
}

#[tokio::test]
async fn changes_of_partitions_are_reported_under_the_root() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE events (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (10);
         CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);
         CREATE PUBLICATION highwater FOR TABLE events WITH (publish_via_partition_root = true)",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute(
        "INSERT INTO events VALUES (1, 5), (2, 15); UPDATE events SET day = 16 WHERE id = 1",
    )
    .await;
    let poll = hw.changes_since(&pg, "events", &start).await;
    assert_eq!(
        poll.set(),
        ["delete events [1,5]", "insert events [1,16]", "insert events [2,15]"].into()
    );
}

#[tokio::test]
async fn leaves_are_separate_tables_if_not_published_via_the_root() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (1) TO (10);
         CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);
         CREATE PUBLICATION highwater FOR TABLE events WITH (publish_via_partition_root = false)",
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute("INSERT INTO events VALUES (1), (11)").await;
    let poll = hw.changes_since(&pg, "events_1,events_2", &start).await;
    assert_eq!(poll.changes, ["insert events_1 1", "insert events_2 11"]);
}

#[tokio::test]
async fn quoted_names_and_schemas_are_distinguished() {
    let pg = TestPostgres::start().await;
    pg.execute(
        r#"CREATE SCHEMA shop; CREATE SCHEMA "Up.per";
         CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE shop.items (id int PRIMARY KEY);
         CREATE TABLE "shop.items" (id int PRIMARY KEY);
         CREATE TABLE "Up.per"."it""s, Ünïcode" ("I d" int PRIMARY KEY);
         CREATE PUBLICATION highwater
           FOR TABLE items, shop.items, "shop.items", "Up.per"."it""s, Ünïcode""#,
    )
    .await;
    let hw = Highwater::start(&pg).await;
    let start = hw.version().await;
    pg.execute(
        r#"INSERT INTO items VALUES (1); INSERT INTO shop.items VALUES (2);
           INSERT INTO "shop.items" VALUES (3); INSERT INTO "Up.per"."it""s, Ünïcode" VALUES (4)"#,
    )
    .await;
    hw.applied(&pg).await;
    let all = hw.poll(&format!("after={start}")).await;
    let expected = [
        "insert items 1".to_owned(),
        "insert shop.items 2".to_owned(),
        "insert \"shop.items\" 3".to_owned(),
        "insert \"Up.per\".\"it\"\"s, Ünïcode\" 4".to_owned(),
    ];
    assert_eq!(all.changes, expected);
    for (spelling, id) in [
        ("items", 1),
        ("public.items", 1),
        ("shop.items", 2),
        ("%22shop.items%22", 3),
        ("%22Up.per%22.%22it%22%22s%2C%20%C3%9Cn%C3%AFcode%22", 4),
    ] {
        let poll = hw.poll(&format!("tables={spelling}&after={start}")).await;
        assert_eq!(poll.changes.len(), 1, "{spelling}: {poll:?}");
        assert!(poll.changes[0].ends_with(&format!(" {id}")), "{spelling}: {poll:?}");
    }
}
