//! The catalog snapshot of tables whose rows are cached.

use highwater::source::postgres::catalog::{CatalogTable, read_catalog};
use highwater::table::{RowCaching, RowMode, RowsConfig};
use highwater::wire::{ConnectOptions, LibpqEnvironment, WalsenderConnection};

use super::{has_lists_and_filters, lazy};
use crate::support::TestPostgres;

async fn connect(pg: &TestPostgres) -> WalsenderConnection {
    let target = ConnectOptions::parse(&pg.url(), &LibpqEnvironment::default()).unwrap();
    WalsenderConnection::connect_sql(&target).await.unwrap()
}

async fn read(pg: &TestPostgres, configs: &[RowsConfig]) -> Vec<CatalogTable> {
    read_catalog(&mut connect(pg).await, "highwater", configs, &[]).await.unwrap()
}

async fn read_table(pg: &TestPostgres, config: RowsConfig) -> CatalogTable {
    let name = config.table.replace("public.", "");
    let tables = read(pg, &[config]).await;
    tables.into_iter().find(|t| t.table.name.to_string() == name).expect("published")
}

fn preload(table: &str, columns: Option<&[&str]>) -> RowsConfig {
    let columns = columns.map(|names| names.iter().map(ToString::to_string).collect());
    RowsConfig { table: table.into(), mode: RowMode::Preload, columns }
}

const TABLES: &str = "
    CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('a', 'b'); CREATE DOMAIN s.d AS s.mood;
    CREATE TYPE pair AS (x int, m s.d); CREATE TYPE span AS RANGE (subtype = text);
    CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
    CREATE TABLE varied (id int PRIMARY KEY, gone int, v s.d, arr pair[], r span, g int GENERATED ALWAYS AS (1) STORED);
    ALTER TABLE varied DROP gone;
    CREATE TABLE nokey (v int);
    CREATE TABLE texts (a text, b text COLLATE loose, PRIMARY KEY (a, b));
    CREATE TABLE exact (a text, b uuid, c timestamptz, PRIMARY KEY (c, a, b));
    CREATE TABLE inexact (a numeric PRIMARY KEY);
    CREATE TABLE s.varied (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE PUBLICATION highwater FOR ALL TABLES WITH (publish_via_partition_root = true)";

#[tokio::test]
async fn columns_keys_and_names_have_the_form_that_sql_needs() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let table = read_table(&pg, lazy("public.varied")).await.table;
    let held = table.rows.held().expect("held");
    let columns: Vec<(&str, &str, bool)> = held
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.type_name.as_str(), c.form.is_some()))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", "integer", true),
            ("v", "s.d", true),
            ("arr", "public.pair[]", false),
            ("r", "public.span", true)
        ]
    );
    assert!(!held.partitioned && held.filter.is_none() && held.keys_are_exact);
    let partitioned = read_table(&pg, lazy("s.varied")).await.table;
    assert!(partitioned.rows.held().expect("held").partitioned);
    for (name, exact) in [("texts", false), ("exact", true), ("inexact", false)] {
        let table = read_table(&pg, lazy(name)).await.table;
        let held = table.rows.held().expect("held");
        assert_eq!(held.keys_are_exact, exact, "{name}");
        let key: Vec<String> = held.key.iter().map(|column| column.name.clone()).collect();
        assert_eq!(key, table.key_columns);
    }
    assert!(read(&pg, &[]).await.iter().all(|t| t.table.rows == RowCaching::Disabled));
}

#[tokio::test]
async fn tables_that_can_not_be_cached_are_refused_with_the_remedy() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    for (config, words) in [
        (lazy("nokey"), "add a primary key"),
        (preload("varied", None), "column arr has the type public.pair[]"),
        (
            preload("varied", Some(&["id", "nme"])),
            "no column nme; the published columns are id, v, arr, r",
        ),
        (preload("varied", Some(&[])), "leaves nothing"),
    ] {
        let RowCaching::Unavailable(reason) = read_table(&pg, config).await.table.rows else {
            panic!("{words}: not refused")
        };
        assert!(reason.contains(words), "{reason}");
    }
    let some = read_table(&pg, preload("varied", Some(&["v", "id"]))).await;
    let names: Vec<&str> =
        some.table.rows.held().unwrap().columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((names, some.published.len()), (vec!["id", "v"], 4));
}

#[tokio::test]
async fn every_change_of_rows_without_events_changes_the_definition() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let mut before = read_table(&pg, lazy("varied")).await.definition;
    for change in [
        "ALTER TABLE varied ALTER id TYPE int USING -id",
        "ALTER TABLE varied ADD x int DEFAULT 1",
        "ALTER TABLE varied DROP x; ALTER TABLE varied ADD x int DEFAULT 2",
        "ALTER TYPE s.mood RENAME VALUE 'a' TO 'z'",
        "ALTER TYPE pair RENAME ATTRIBUTE x TO y",
        "CREATE FUNCTION j(s.mood) RETURNS json LANGUAGE sql AS 'SELECT to_json(1)';
         CREATE CAST (s.mood AS json) WITH FUNCTION j(s.mood)",
        "ALTER TABLE varied REPLICA IDENTITY FULL",
    ] {
        let after = read_table(&pg, lazy("varied")).await.definition;
        assert_eq!(before, after, "nothing changed yet");
        // Other tests consume transaction ids of the same server meanwhile.
        let began: i64 = pg.value("SELECT txid_current()").await;
        pg.execute(change).await;
        let after = read_table(&pg, lazy("varied")).await;
        let ended: i64 = pg.value("SELECT txid_current()").await;
        assert_ne!(before, after.definition, "{change}");
        assert!(after.changed_transactions_ago <= ended - began, "{change}");
        before = after.definition;
    }
}

#[tokio::test]
async fn a_load_computes_the_same_definition() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLES).await;
    let query = include_str!("../../sql/table_definition.sql");
    let mut connection = connect(&pg).await;
    for table in read(&pg, &[]).await {
        let query = query.replace(":'oid'", &format!("'{}'", table.table.oid.0));
        let rows = connection.simple_query(&query).await.unwrap();
        assert_eq!(rows[0][0].as_deref(), Some(&*table.definition), "{}", table.table.name);
    }
}

#[tokio::test]
async fn the_published_part_of_a_table_is_part_of_its_membership() {
    if !has_lists_and_filters() {
        return;
    }
    let pg = TestPostgres::start().await;
    pg.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int);
         CREATE PUBLICATION highwater FOR TABLE t (id, a) WHERE (id > 1)",
    )
    .await;
    let mut before = read_table(&pg, lazy("t")).await;
    let held = before.table.rows.held().expect("held");
    assert_eq!(held.columns.len(), 2);
    assert_eq!(held.filter.as_deref(), Some("(id > 1)"));
    for change in ["t (id, b) WHERE (id > 1)", "t (id, b) WHERE (id > 2)", "t"] {
        pg.execute(&format!("ALTER PUBLICATION highwater SET TABLE {change}")).await;
        let after = read_table(&pg, lazy("t")).await;
        assert_ne!(before.membership, after.membership, "{change}");
        assert_ne!(before.table.rows, after.table.rows, "{change}");
        before = after;
    }
}
