//! Scopes: callers that see only some rows of a table.

mod identity;
mod push;
mod rows;

use highwater::temp_postgres::TempPostgresOptions;

use crate::support::{Highwater, Poll, TestPostgres};

/// A table of orders with replica identity FULL, each row with a value that is stored out of line.
const ORDERS: &str = "
    CREATE TABLE orders (
        id int PRIMARY KEY, owner_id int, land text NOT NULL, note text, big text
    );
    ALTER TABLE orders ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
    INSERT INTO orders
        SELECT g, 1 + g % 3, CASE WHEN g % 2 = 0 THEN 'fr' ELSE 'de' END, 'n' || g, repeat('x', 9000)
        FROM generate_series(1, 9) g;
    CREATE TABLE lands (code text PRIMARY KEY);
    CREATE PUBLICATION highwater FOR TABLE orders, lands;";

const SCOPE: (&str, &str) = ("tables.orders.scope", "owner_id, land");

/// A service on [`ORDERS`].
async fn orders(settings: &[(&'static str, &str)]) -> (TestPostgres, Highwater) {
    let pg = TestPostgres::start().await;
    pg.execute(ORDERS).await;
    let service = Highwater::start_with(&pg, &[&[SCOPE], settings].concat()).await;
    (pg, service)
}

/// The changes since `after` that match the `where` parameter `filter`.
async fn changes_where(service: &Highwater, pg: &TestPostgres, filter: &str, after: &str) -> Poll {
    service.applied(pg).await;
    service.poll(&format!("tables=orders&where={filter}&after={after}")).await
}

#[tokio::test]
async fn a_row_that_moves_is_deleted_in_one_scope_and_inserted_in_the_other() {
    let (pg, service) = orders(&[]).await;
    let start = service.version().await;
    pg.execute(
        "UPDATE orders SET owner_id = 2 WHERE id = 3;
         UPDATE orders SET note = 'x' WHERE id = 6;
         UPDATE orders SET note = 'y' WHERE id = 1;
         DELETE FROM orders WHERE id = 9;
         INSERT INTO orders VALUES (10, 1, 'de', '', ''), (11, NULL, 'de', '', '')",
    )
    .await;
    let one = changes_where(&service, &pg, "owner_id:1", &start).await;
    let all = ["delete orders 3", "update orders 6", "delete orders 9", "insert orders 10"];
    assert_eq!(one.changes, all);
    let two = changes_where(&service, &pg, "owner_id:2", &start).await;
    assert_eq!(two.changes, ["insert orders 3", "update orders 1"]);
    assert!(changes_where(&service, &pg, "owner_id:7", &start).await.changes.is_empty());
    // A caller that sees both scopes sees an update.
    let whole = service.poll(&format!("tables=orders&after={start}")).await;
    assert!(whole.set().contains("update orders 3") && whole.set().contains("insert orders 11"));
    let german = changes_where(&service, &pg, "land:de", &start).await;
    assert!(german.set().contains("update orders 3"), "{german:?}");
    let both = changes_where(&service, &pg, "owner_id:1,land:de", &start).await;
    assert_eq!(both.changes, ["delete orders 3", "delete orders 9", "insert orders 10"]);
    // A row that moved away and back is an update since before, and an insert since in between.
    let between = one.version;
    pg.execute("UPDATE orders SET owner_id = 1 WHERE id = 3").await;
    assert_eq!(
        changes_where(&service, &pg, "owner_id:1", &between).await.changes,
        ["insert orders 3"]
    );
    let back = changes_where(&service, &pg, "owner_id:1", &start).await;
    assert!(back.set().contains("update orders 3"), "{back:?}");
}

#[tokio::test]
async fn contradictory_conditions_and_invalid_values_match_nothing() {
    let (pg, service) = orders(&[]).await;
    let start = service.version().await;
    pg.execute("UPDATE orders SET note = 'x'; INSERT INTO lands VALUES ('it')").await;
    for filter in ["owner_id:1,owner_id:2", "owner_id:x", "owner_id:", "land:FR", "owner_id:null"] {
        let nothing = changes_where(&service, &pg, filter, &start).await;
        assert!(nothing.changes.is_empty() && nothing.reset.is_empty(), "{filter}: {nothing:?}");
    }
    // Equal conditions do not contradict each other, and tables without the column are not filtered.
    let path = format!("where=owner_id:1&where=orders.owner_id:01&after={start}");
    let poll = service.poll(&path).await;
    let expected = ["insert lands \"it\"", "update orders 3", "update orders 6", "update orders 9"];
    assert_eq!(poll.set().into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn other_columns_and_malformed_conditions_are_rejected_by_name() {
    let (_pg, service) = orders(&[]).await;
    let refused = async |query: &str| {
        let reply = service.fetch(&format!("/v1/changes?{query}")).await;
        assert_eq!(reply.status, 400, "{query}: {:?}", reply.body);
        reply.body["detail"].as_str().expect("a detail").to_owned()
    };
    let detail = refused("where=note:x").await;
    assert!(detail.contains("valid columns: orders.owner_id, orders.land"), "{detail}");
    assert!(refused("tables=lands&where=owner_id:1").await.contains("there are none"));
    assert!(refused("where=owner_id").await.contains("column:value"));
    for path in ["orders/rows/1?where=x:1", "orders/rows?where=x:1", "orders/changes?where=x:1"] {
        assert_eq!(service.fetch(&format!("/v1/tables/{path}")).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn pages_and_tags_depend_on_visible_changes_only() {
    let (pg, service) = orders(&[]).await;
    let start = service.version().await;
    pg.execute("UPDATE orders SET note = 'x'").await;
    service.applied(&pg).await;
    let first = service.poll(&format!("where=owner_id:1&limit=2&after={start}")).await;
    assert_eq!((first.changes.len(), first.more), (2, true));
    let rest = service.poll(&format!("where=owner_id:1&limit=2&after={}", first.version)).await;
    assert_eq!((rest.changes.as_slice(), rest.more), (&["update orders 9".to_owned()][..], false));
    let tag = async |filter: &str| {
        service.applied(&pg).await;
        let reply = service.fetch(&format!("/v1/changes?where={filter}&after={start}")).await;
        reply.headers["etag"].to_str().expect("ASCII").to_owned()
    };
    let (one, two) = (tag("owner_id:1").await, tag("owner_id:2").await);
    pg.execute("UPDATE orders SET note = 'y' WHERE owner_id = 2").await;
    assert_eq!(tag("owner_id:1").await, one);
    assert_ne!(tag("owner_id:2").await, two);
    let path = format!("/v1/changes?where=owner_id:1&after={start}");
    assert_eq!(service.fetch_with(&path, &[("if-none-match", &one)]).await.status, 304);
}

#[tokio::test]
async fn a_truncate_resets_every_scope_and_hides_earlier_changes() {
    let (pg, service) = orders(&[]).await;
    let start = service.version().await;
    pg.execute("UPDATE orders SET owner_id = 1; TRUNCATE orders").await;
    let truncated = changes_where(&service, &pg, "owner_id:1", &start).await;
    assert_eq!(
        (truncated.reset.as_slice(), truncated.changes.len()),
        (&["orders".to_owned()][..], 0)
    );
    pg.execute("INSERT INTO orders VALUES (3, 1, 'de', '', '')").await;
    let after = changes_where(&service, &pg, "owner_id:1", &truncated.version).await;
    assert_eq!(after.changes, ["insert orders 3"]);
}

#[tokio::test]
async fn scopes_are_exact_across_a_restart() {
    // A private server without other databases: see the tests of restarts.
    let pg = TestPostgres::private(TempPostgresOptions::default()).await;
    pg.execute(ORDERS).await;
    let service = Highwater::start_with(&pg, &[SCOPE]).await;
    let start = service.version().await;
    pg.execute("UPDATE orders SET owner_id = 2 WHERE id = 3").await;
    service.applied(&pg).await;
    service.stop().await.unwrap();
    pg.execute("UPDATE orders SET owner_id = 3 WHERE id = 6").await;
    let service = Highwater::start_with(&pg, &[SCOPE]).await;
    let one = changes_where(&service, &pg, "owner_id:1", &start).await;
    assert_eq!(one.changes, ["delete orders 3", "delete orders 6"]);
    assert_eq!(
        changes_where(&service, &pg, "owner_id:3", &start).await.changes,
        ["insert orders 6"]
    );
}
