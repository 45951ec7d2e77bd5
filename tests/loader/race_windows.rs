//! Loads that race with commits and changed definitions.

use std::time::Duration;

use highwater::key::Key;
use highwater::load::{LoadError, Loader, ReadPoint};
use highwater::lsn::Lsn;
use highwater::snapshot::Xid;
use tokio::time::sleep;

use super::{copied, described, error, load, loader};
use crate::support::{TestPostgres, TestSession};

async fn xid(session: &TestSession) -> Xid {
    let full: String = session.value("SELECT pg_current_xact_id()::text").await;
    let full: u64 = full.parse().unwrap();
    Xid(u32::try_from(full & u64::from(u32::MAX)).unwrap())
}

#[tokio::test]
async fn uncommitted_changes_are_invisible_until_the_commit() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)").await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let writer = pg.connect().await;
    writer.execute("BEGIN; UPDATE a SET v = 2").await;
    let xid = xid(&writer).await;
    let before = loader.load(&a, &[Key::integer(1)]).await.unwrap();
    let copied_before = copied(&loader, &a).await.at.unwrap();
    for ReadPoint { snapshot, .. } in
        [&before.at, &copied_before, &loader.snapshot().await.unwrap()]
    {
        assert!(!snapshot.sees(xid));
    }
    assert_eq!(
        format!("{:?}", before.rows[0].as_ref().unwrap().row.as_ref().unwrap()),
        r#"{"id":1,"v":1}"#
    );
    writer.execute("COMMIT").await;
    let committed: String = writer.value("SELECT pg_current_wal_insert_lsn()::text").await;
    let committed: Lsn = committed.parse().unwrap();
    let after = loader.load(&a, &[Key::integer(1)]).await.unwrap();
    let copied_after = copied(&loader, &a).await;
    for ReadPoint { snapshot, visible_up_to, .. } in
        [&after.at, copied_after.at.as_ref().unwrap(), &loader.snapshot().await.unwrap()]
    {
        assert!(snapshot.sees(xid));
        assert!(*visible_up_to >= committed || committed.bytes_since(*visible_up_to) <= 40);
    }
    assert_eq!(copied_after.rows[0].1, r#"{"id":1,"v":2}"#);
    assert_eq!(
        format!("{:?}", after.rows[0].as_ref().unwrap().row.as_ref().unwrap()),
        r#"{"id":1,"v":2}"#
    );
}

#[tokio::test]
async fn a_table_with_a_changed_definition_is_outdated() {
    for ddl in [
        "ALTER TABLE a RENAME TO b",
        "ALTER TABLE a RENAME COLUMN v TO w",
        "ALTER TABLE a ADD COLUMN w int DEFAULT 7",
        "ALTER TABLE a DROP COLUMN v",
        "ALTER TABLE a ALTER v TYPE bigint",
        "ALTER TABLE a ALTER id TYPE text",
        "ALTER TABLE a SET SCHEMA other",
        "ALTER TABLE a DROP CONSTRAINT a_pkey",
        "DROP TABLE a",
        "DROP TABLE a; CREATE TABLE a (id int PRIMARY KEY, v int)",
        "DROP TABLE a; CREATE VIEW a AS SELECT 1 AS id, 1 AS v",
    ] {
        let pg = TestPostgres::start().await;
        pg.execute("CREATE SCHEMA other; CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)").await;
        let (loader, a) = (loader(&pg), described(&pg, "a").await);
        load(&loader, &a, &["1"]).await;
        pg.execute(ddl).await;
        assert_eq!(error(&loader, &a, "1").await, LoadError::Outdated, "{ddl}");
        let copied = loader.copy(&a, &mut super::Received::default()).await;
        assert_eq!(copied, Err(LoadError::Outdated), "{ddl}");
    }
}

/// A rewritten table looks empty in an earlier snapshot, so the load must fail.
#[tokio::test]
async fn a_definition_that_changes_while_a_load_waits_is_detected() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)").await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let other = pg.connect().await;
    other.execute("BEGIN; ALTER TABLE a ALTER v TYPE bigint").await;
    let altering = async {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'a'::regclass";
        while other.value::<i64>(waiting).await == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        other.execute("COMMIT").await;
    };
    let (failure, ()) = tokio::join!(error(&loader, &a, "1"), altering);
    assert_eq!(failure, LoadError::Outdated);
}

#[tokio::test]
async fn a_locked_table_is_unavailable_until_the_lock_is_released() {
    let pg = TestPostgres::start().await;
    pg.execute("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)").await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let other = pg.connect().await;
    other.execute("BEGIN; LOCK TABLE a").await;
    let failure = error(&loader, &a, "1").await;
    assert!(
        matches!(&failure, LoadError::Unavailable(text) if text.contains("locked")),
        "{failure}"
    );
    other.execute("COMMIT").await;
    assert_eq!(load(&loader, &a, &["1"]).await[0].1, r#"{"id":1}"#);
}

#[tokio::test]
async fn no_lock_is_stronger_than_that_of_a_query() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 3000)",
    )
    .await;
    let a = described(&pg, "a").await;
    let other = pg.connect().await;
    // Conflicts with every lock but ACCESS SHARE.
    other.execute("BEGIN; LOCK TABLE a IN EXCLUSIVE MODE").await;
    let loader = loader(&pg);
    assert_eq!(load(&loader, &a, &["1"]).await[0].1, r#"{"id":1}"#);
    assert_eq!(copied(&loader, &a).await.rows.len(), 3_000);
    other.execute("COMMIT").await;
}
