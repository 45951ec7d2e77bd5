//! Tables that the role can't read: each refusal includes the statements that fix it.

use highwater::database::loader::PgLoader;
use highwater::load::LoadError;

use super::{copied, described, error, load, options};
use crate::support::TestPostgres;

/// A loader of a new role without any privilege on tables.
async fn as_role(pg: &TestPostgres, role: &str) -> PgLoader {
    pg.execute(&format!("CREATE ROLE {role} LOGIN REPLICATION")).await;
    PgLoader::new(options(&pg.server().socket_url_as(role, pg.database())))
}

fn refused(error: LoadError) -> String {
    let LoadError::Refused(text) = error else { panic!("{error:?}") };
    text
}

/// Runs the statements after "run".
async fn apply_fix(pg: &TestPostgres, text: &str) {
    let (_, sql) = text.split_once("; run ").unwrap();
    let sql = sql.split(", or ").next().unwrap();
    pg.execute(sql).await;
}

#[tokio::test]
async fn an_unreadable_table_is_refused_with_the_grant() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.a (id int PRIMARY KEY); INSERT INTO shop.a VALUES (1);
         CREATE TABLE part (id int PRIMARY KEY) PARTITION BY LIST (id);
         CREATE TABLE part1 PARTITION OF part DEFAULT; INSERT INTO part VALUES (1)",
    )
    .await;
    let loader = as_role(&pg, "loader_grant").await;
    for table in ["shop.a", "part"] {
        let table = described(&pg, table).await;
        apply_fix(&pg, &refused(error(&loader, &table, "1").await)).await;
        assert_eq!(load(&loader, &table, &["1"]).await[0].1, r#"{"id":1}"#);
        assert_eq!(copied(&loader, &table).await.rows.len(), 1);
    }
}

#[tokio::test]
async fn rows_hidden_by_row_level_security_are_refused_instead_of_missing() {
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);
         ALTER TABLE a ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON a USING (id > 1);
         GRANT SELECT ON a TO PUBLIC",
    )
    .await;
    let loader = as_role(&pg, "loader_rls").await;
    let a = described(&pg, "a").await;
    let text = refused(error(&loader, &a, "1").await);
    assert!(text.contains("row-level security"), "{text}");
    apply_fix(&pg, &text).await;
    assert_eq!(load(&loader, &a, &["1"]).await[0].1, r#"{"id":1}"#);
}
