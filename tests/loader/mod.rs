//! The loader: rows by key, and copies of whole tables.

mod copy;
mod keys;
mod pool;
mod race_windows;
mod refusals;
mod values;

use std::sync::Arc;

use highwater::database::loader::{LoaderOptions, PgLoader};
use highwater::json_type::{JsonShape, TypeClass, TypeFacts};
use highwater::key::Key;
use highwater::load::{CopySink, LoadError, LoadedRow, Loader, ReadPoint};
use highwater::row::Row;
use highwater::table::{
    Column, RowCachePlan, RowCaching, RowMode, Table, TableName, TableOid, Tracking,
};
use highwater::wire::{ConnectOptions, LibpqEnvironment};

use crate::support::TestPostgres;

fn options(url: &str) -> LoaderOptions {
    LoaderOptions::new(ConnectOptions::parse(url, &LibpqEnvironment::default()).unwrap())
}

fn loader(pg: &TestPostgres) -> PgLoader {
    PgLoader::new(options(&pg.socket_url()))
}

/// The table's current definition, as a catalog snapshot has it.
async fn described(pg: &TestPostgres, name: &str) -> Arc<Table> {
    described_with(pg, name, |_| {}).await
}

/// The table's current definition after `change`.
async fn described_with(
    pg: &TestPostgres,
    name: &str,
    change: impl FnOnce(&mut RowCachePlan),
) -> Arc<Table> {
    let row = pg
        .query_one(&format!(
            "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p'
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = '{name}'::regclass"
        ))
        .await;
    let oid: u32 = row.get(0);
    let columns = columns(pg, oid).await;
    let key = key(pg, oid).await;
    let key: Vec<Column> = key
        .iter()
        .map(|name| columns.iter().find(|column| column.name == *name).unwrap().clone())
        .collect();
    let key_columns = key.iter().map(|column| column.name.clone()).collect();
    let definition =
        include_str!("../../sql/table_definition.sql").replace(":'oid'", &oid.to_string());
    let mut plan = RowCachePlan {
        mode: RowMode::Lazy,
        columns,
        key,
        partitioned: row.get(3),
        filter: None,
        definition: pg.value(definition.trim().trim_end_matches(';')).await,
        keys_are_exact: true,
    };
    change(&mut plan);
    Arc::new(Table {
        oid: TableOid(oid),
        name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        key_columns,
        tracking: Tracking::Ids,
        rows: RowCaching::Enabled(Arc::new(plan)),
        scope: vec![],
    })
}

async fn columns(pg: &TestPostgres, table: u32) -> Vec<Column> {
    pg.execute("SET search_path = ''").await;
    let rows = pg
        .query(&format!(
            "WITH RECURSIVE base (oid, base, typtype) AS (
               SELECT oid, oid, typtype FROM pg_type WHERE typtype <> 'd'
               UNION ALL
               SELECT d.oid, b.base, b.typtype FROM pg_type d JOIN base b ON d.typbasetype = b.oid
               WHERE d.typtype = 'd')
             SELECT a.attname::text, a.atttypid, format_type(a.atttypid, NULL), b.base,
                    b.typtype::text
             FROM pg_attribute a JOIN base b ON b.oid = a.atttypid
             WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ))
        .await;
    pg.execute("RESET search_path").await;
    let column = |row: &tokio_postgres::Row| {
        let class = row.get::<_, String>(4).parse().ok().and_then(TypeClass::from_typtype).unwrap();
        Column {
            name: row.get(0),
            type_oid: row.get(1),
            type_name: row.get(2),
            form: JsonShape::of(&TypeFacts {
                oid: row.get(3),
                class,
                has_json_cast: class != TypeClass::Enum,
                delimiter: b',',
                element: None,
            }),
        }
    };
    rows.iter().map(column).collect()
}

async fn key(pg: &TestPostgres, table: u32) -> Vec<String> {
    let rows = pg
        .query(&format!(
            "SELECT a.attname::text FROM pg_index i,
                    unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
             JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.attnum
             WHERE i.indrelid = {table} AND i.indisprimary ORDER BY k.position"
        ))
        .await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// A key from JSON, as clients send it.
fn json_key(json: &str) -> Key {
    json.parse().map_or_else(|_| Key::json(json.as_bytes()), Key::integer)
}

/// The loaded keys and their rows, as JSON.
async fn load(loader: &PgLoader, table: &Arc<Table>, keys: &[&str]) -> Vec<(String, String)> {
    let keys: Vec<Key> = keys.iter().map(|json| json_key(json)).collect();
    let rows = loader.load(table, &keys).await.unwrap_or_else(|error| panic!("{error}"));
    rows.rows.iter().map(shown).collect()
}

fn shown(loaded: &Result<LoadedRow, String>) -> (String, String) {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(reason) => return (String::new(), reason.clone()),
    };
    let row = loaded.row.as_ref().map_or("absent".into(), |row| format!("{row:?}"));
    (format!("{:?}", loaded.key), row)
}

/// The error of loading one row.
async fn error(loader: &PgLoader, table: &Arc<Table>, key: &str) -> LoadError {
    match loader.load(table, &[json_key(key)]).await {
        Ok(rows) => panic!("loaded {rows:?}"),
        Err(error) => error,
    }
}

/// A sink that collects a copy.
#[derive(Default)]
struct Received {
    at: Option<ReadPoint>,
    estimate: u64,
    rows: Vec<(String, String)>,
    /// The number of snapshots still to decline.
    declined: usize,
}

impl CopySink for Received {
    fn begin(&mut self, at: &ReadPoint, rows_estimate: u64) -> Result<bool, LoadError> {
        if self.declined > 0 {
            self.declined -= 1;
            return Ok(false);
        }
        self.at = Some(at.clone());
        self.estimate = rows_estimate;
        Ok(true)
    }

    fn rows(&mut self, rows: Vec<(Key, Row)>) -> Result<(), LoadError> {
        self.rows.extend(rows.iter().map(|(key, row)| (format!("{key:?}"), format!("{row:?}"))));
        Ok(())
    }
}

/// A copy of the table, sorted by the keys' JSON.
async fn copied(loader: &PgLoader, table: &Arc<Table>) -> Received {
    let mut received = Received::default();
    loader.copy(table, &mut received).await.unwrap_or_else(|error| panic!("{error}"));
    received.rows.sort();
    received
}
