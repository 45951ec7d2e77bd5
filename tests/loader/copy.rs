//! Copies of whole tables.

use highwater::key::Key;
use highwater::load::{CopySink, LoadError, Loader, ReadPoint};
use highwater::row::Row;

use super::{Received, copied, described, described_with, load, loader, options};
use crate::support::TestPostgres;

#[tokio::test]
async fn a_table_is_copied_completely_in_one_snapshot() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v text); ANALYZE a;
         INSERT INTO a SELECT n, 'row ' || n FROM generate_series(1, 12345) n; ANALYZE a;
         CREATE TABLE e (id int PRIMARY KEY)",
    )
    .await;
    let loader = loader(&pg);
    let received = copied(&loader, &described(&pg, "a").await).await;
    assert_eq!(received.rows.len(), 12_345);
    assert_eq!(received.estimate, 12_345);
    assert!(received.rows.contains(&("777".into(), r#"{"id":777,"v":"row 777"}"#.into())));
    assert!(received.at.is_some());
    let received = copied(&loader, &described(&pg, "e").await).await;
    assert_eq!((received.rows.len(), received.estimate), (0, 0));
}

#[tokio::test]
async fn a_declined_snapshot_is_followed_by_another() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let a = described(&pg, "a").await;
    let mut received = Received { declined: 3, ..Received::default() };
    loader(&pg).copy(&a, &mut received).await.unwrap();
    assert_eq!((received.declined, received.rows.len()), (0, 1));
    let mut limits = options(&pg.socket_url());
    limits.snapshot_timeout = std::time::Duration::from_millis(100);
    let mut received = Received { declined: usize::MAX, ..Received::default() };
    let copied = highwater::database::loader::PgLoader::new(limits).copy(&a, &mut received).await;
    assert!(matches!(copied, Err(LoadError::Unavailable(_))), "{copied:?}");
}

#[tokio::test]
async fn the_sink_can_stop_the_copy() {
    struct Stopping;
    impl CopySink for Stopping {
        fn begin(&mut self, _: &ReadPoint, _: u64) -> Result<bool, LoadError> {
            Ok(true)
        }
        fn rows(&mut self, _: Vec<(Key, Row)>) -> Result<(), LoadError> {
            Err(LoadError::Stopped)
        }
    }
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 5000)",
    )
    .await;
    let stopped = loader(&pg).copy(&described(&pg, "a").await, &mut Stopping).await;
    assert_eq!(stopped, Err(LoadError::Stopped));
}

#[tokio::test]
async fn rows_excluded_by_the_publications_filter_are_absent() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY, number int, k0 bool, v0 text);
         INSERT INTO a VALUES (1, 5, true, 'x'), (2, 50, true, 'x'), (3, 50, false, 'x')",
    )
    .await;
    let filtered = described_with(&pg, "a", |plan| {
        plan.filter = Some("((number > 9) AND k0 AND (v0 = 'x'::text))".into());
    })
    .await;
    let loader = loader(&pg);
    assert_eq!(copied(&loader, &filtered).await.rows.len(), 1);
    let found = load(&loader, &filtered, &["1", "2", "3"]).await;
    assert_eq!(
        found.iter().map(|(_, row)| row == "absent").collect::<Vec<_>>(),
        [true, false, true]
    );
}

#[tokio::test]
async fn a_partitioned_table_includes_its_partitions_and_a_parent_only_its_own_rows() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 (v int, x int, id int NOT NULL); ALTER TABLE p2 DROP COLUMN x;
         ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
         INSERT INTO p VALUES (1, 10), (11, 110); ANALYZE p1; ANALYZE p2;
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2)",
    )
    .await;
    let loader = loader(&pg);
    let (p, parent) = (described(&pg, "p").await, described(&pg, "parent").await);
    let received = copied(&loader, &p).await;
    assert_eq!(received.estimate, 2);
    assert_eq!(received.rows[1], ("11".into(), r#"{"id":11,"v":110}"#.into()));
    assert_eq!(load(&loader, &p, &["11", "1"]).await[0], received.rows[1]);
    assert_eq!(copied(&loader, &parent).await.rows.len(), 1);
    assert_eq!(load(&loader, &parent, &["2"]).await[0].1, "absent");
}
