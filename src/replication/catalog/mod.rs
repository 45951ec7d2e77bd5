//! What the catalog says about the publication, the slot and the server, read over an ordinary
//! SQL connection of our own.

mod held;
mod scope;

use std::collections::HashMap;

use super::announcement::PREFIX;
use super::form::{self, TypeRow};
use super::liveness::Walsender;
use crate::json_type::{JsonShape, JsonType};
use crate::lsn::Lsn;
use crate::snapshot::Snapshot;
use crate::table::{RowCaching, RowsConfig, ScopeConfig, Table, TableName, TableOid, Tracking};
use crate::wire::{WalsenderConnection, WireError};

/// The published tables, as seen by one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// Everything this look shows was committed at or before this position.
    pub seen_at: Lsn,
    /// The transactions that had ended by then, and those that had not.
    pub snapshot: Snapshot,
    /// The same, of the time when the look began: what had ended then is shown.
    pub began: Snapshot,
    /// The published tables, in order of their names.
    pub tables: Vec<CatalogTable>,
}

/// A published table, as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogTable {
    /// What readers know of it.
    pub table: Table,
    /// The key's columns, in key order; empty for reset-only tables.
    pub key: Vec<CatalogKeyColumn>,
    /// The scope columns, as far as each change of the table tells their values.
    pub scope: Vec<CatalogKeyColumn>,
    /// Why the scope columns that are wanted can't be had.
    pub scope_refused: Option<String>,
    /// What a Relation message must show for rows to be read by this look: every published column,
    /// in the table's order. Empty where no rows are held.
    pub published: Vec<PublishedColumn>,
    /// Differs when the table left the publication and joined it again, or when what is published
    /// of it changed.
    pub membership: String,
    /// Differs when its columns, their types, its key or its replica identity changed.
    pub definition: String,
    /// How many transactions have begun since membership or definition last changed.
    pub changed_transactions_ago: i64,
    /// Whether it is the root of partitions, of which some may go without a trace.
    pub is_partitioned: bool,
    /// The partitions of a root that hold rows.
    pub leaves: Vec<TableOid>,
}

/// A column of an identity key, or a scope column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogKeyColumn {
    /// Its name, as stored.
    pub name: String,
    /// Its declared type, as Relation messages name it.
    pub type_oid: u32,
    /// How its text becomes JSON.
    pub kind: JsonType,
}

/// A published column, as Relation messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedColumn {
    /// Its name, as stored.
    pub name: String,
    /// Its declared type.
    pub type_oid: u32,
    /// The declared type's modifier; -1 for none.
    pub type_modifier: i32,
}

/// The state of server and slot at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// End of the WAL.
    pub wal_end: Lsn,
    /// OID of the database.
    pub database_oid: u32,
    /// Whether the publication exists.
    pub publication_exists: bool,
    /// The transactions that had ended, and those that had not.
    pub snapshot: Snapshot,
    /// The slot, if it exists.
    pub slot: Option<SlotState>,
}

/// A replication slot, as `pg_replication_slots` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Output plugin; empty for a physical slot.
    pub plugin: String,
    /// Database it belongs to; empty for a physical slot.
    pub database: String,
    /// Process that streams from it now.
    pub active_pid: Option<i32>,
    /// Where a consumer continues.
    pub confirmed: Lsn,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Bytes of WAL it makes the server keep.
    pub retained_bytes: Option<u64>,
    /// Every transaction older than this many had ended before the slot's position.
    pub transactions_since: Option<i64>,
    /// Whether the process that streams from it waits for its client or for new WAL; false while it
    /// works, and when we may not see.
    pub walsender_waits: bool,
    /// Whether standbys may keep a copy of it (PostgreSQL 17 and newer).
    pub survives_failover: bool,
}

impl SourceState {
    /// What the walsender with this process id does; `None` when the slot is not its own.
    pub(super) fn walsender(&self, pid: i32) -> Option<Walsender> {
        let slot = self.slot.as_ref().filter(|slot| slot.active_pid == Some(pid))?;
        Some(if slot.walsender_waits { Walsender::Waiting } else { Walsender::Working })
    }
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The query failed.
    #[error("read the catalog: {0}")]
    Query(#[from] WireError),
    /// The server answered with rows we can't read.
    #[error("read the catalog: the column {0} is not what this version of Highwater expects")]
    Unexpected(&'static str),
}

/// SQLSTATE `insufficient_privilege`.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

impl CatalogError {
    pub(super) fn says_forbidden(&self) -> bool {
        matches!(self, Self::Query(error) if error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE))
    }
}

/// The first major version that publishes whole schemas.
const SCHEMAS_SINCE: u32 = 15;

/// Which transactions have ended.
pub(super) async fn read_snapshot(
    connection: &mut WalsenderConnection,
) -> Result<Snapshot, CatalogError> {
    let rows = connection.simple_query("SELECT pg_current_snapshot()").await?;
    parse(rows.first().map_or(&[], Vec::as_slice), 0, "pg_current_snapshot")
}

/// Looks at the publication's tables, and more closely at those whose rows are wanted.
pub async fn read_catalog(
    connection: &mut WalsenderConnection,
    publication: &str,
    wanted: &[RowsConfig],
    scopes: &[ScopeConfig],
) -> Result<Vec<CatalogTable>, CatalogError> {
    let variables = [("publication", publication)];
    let mut looked = Vec::new();
    for row in connection.simple_query(&tables_query(publication, wanted, scopes)).await? {
        looked.push(parse_table(&row)?);
    }
    scope::apply(&mut looked, scopes);
    held::hold(&mut looked, wanted);
    let mut tables: Vec<CatalogTable> = looked.into_iter().map(|looked| looked.table).collect();
    if server_major(connection) >= SCHEMAS_SINCE {
        let sql = bind(include_str!("../../../sql/catalog_schemas.sql"), &variables);
        add_schema_membership(&mut tables, &connection.simple_query(&sql).await?)?;
    }
    Ok(tables)
}

fn tables_query(publication: &str, wanted: &[RowsConfig], scopes: &[ScopeConfig]) -> String {
    let definition =
        include_str!("../../../sql/table_definition.sql").trim_end().trim_end_matches(';');
    let definition = definition.replace(":'oid'", "published.oid");
    // The file's head explains what is put in here.
    let sql = include_str!("../../../sql/catalog_tables.sql");
    let sql = sql.replace("(:definition)", &format!("({definition})"));
    let wanted = wanted.iter().map(|wanted| &wanted.table);
    let all = wanted.chain(scopes.iter().map(|scope| &scope.table));
    let names: Vec<String> = all.map(|table| table.replace('"', "")).collect();
    let names = serde_json::Value::from(names).to_string();
    bind(&sql, &[("publication", publication), ("wanted", &names)])
}

/// Looks at the server's position and the slot.
pub async fn read_source(
    connection: &mut WalsenderConnection,
    publication: &str,
    slot: &str,
) -> Result<SourceState, CatalogError> {
    let variables = [("publication", publication), ("slot", slot)];
    let sql = bind(include_str!("../../../sql/source_state.sql"), &variables);
    let rows = connection.simple_query(&sql).await?;
    let row = rows.first().ok_or(CatalogError::Unexpected("wal_end"))?;
    let slot = (text(row, 3, "slot_exists")? == "t").then(|| parse_slot(row)).transpose()?;
    Ok(SourceState {
        wal_end: parse(row, 0, "wal_end")?,
        database_oid: parse(row, 1, "database_oid")?,
        publication_exists: text(row, 2, "publication_exists")? == "t",
        snapshot: parse(row, 13, "snapshot")?,
        slot,
    })
}

/// The transaction that slot creation waits for, as a phrase; `None` when nothing is in the way.
pub async fn slot_blocker(
    connection: &mut WalsenderConnection,
) -> Result<Option<String>, CatalogError> {
    let rows = connection.simple_query(include_str!("../../../sql/slot_blockers.sql")).await?;
    rows.first().map(|row| text(row, 0, "blocker").map(str::to_owned)).transpose()
}

/// Announces changed definitions to the other instances, if there may be any and the server can be written to.
pub(super) async fn announce(
    connection: &mut WalsenderConnection,
    slot: &str,
    content: &str,
) -> Result<(), CatalogError> {
    let variables = [("prefix", PREFIX), ("content", content), ("slot", slot)];
    let sql = bind(include_str!("../../../sql/announce.sql"), &variables);
    connection.simple_query(&sql).await?;
    Ok(())
}

/// Replaces psql's `:'name'` by the value as an SQL literal.
pub(super) fn bind(sql: &str, variables: &[(&str, &str)]) -> String {
    variables.iter().fold(sql.to_owned(), |sql, (name, value)| {
        sql.replace(&format!(":'{name}'"), &postgres_protocol::escape::escape_literal(value))
    })
}

pub(super) fn server_major(connection: &WalsenderConnection) -> u32 {
    let version = connection.parameter("server_version").unwrap_or_default();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

type Row = [Option<String>];

fn text<'a>(row: &'a Row, index: usize, name: &'static str) -> Result<&'a str, CatalogError> {
    optional(row, index).ok_or(CatalogError::Unexpected(name))
}

fn optional(row: &Row, index: usize) -> Option<&str> {
    row.get(index).and_then(Option::as_deref)
}

fn parse<T: std::str::FromStr>(
    row: &Row,
    index: usize,
    name: &'static str,
) -> Result<T, CatalogError> {
    text(row, index, name)?.parse().map_err(|_| CatalogError::Unexpected(name))
}

fn parse_slot(row: &Row) -> Result<SlotState, CatalogError> {
    Ok(SlotState {
        plugin: optional(row, 4).unwrap_or_default().to_owned(),
        database: optional(row, 5).unwrap_or_default().to_owned(),
        active_pid: optional(row, 6).and_then(|pid| pid.parse().ok()),
        confirmed: optional(row, 7).map_or(Ok(Lsn::ZERO), |lsn| {
            lsn.parse().map_err(|_| CatalogError::Unexpected("confirmed_flush_lsn"))
        })?,
        wal_status: optional(row, 8).map(str::to_owned),
        retained_bytes: optional(row, 9).and_then(|bytes| bytes.parse().ok()),
        transactions_since: optional(row, 10).and_then(|count| count.parse().ok()),
        walsender_waits: optional(row, 11) == Some("t"),
        survives_failover: optional(row, 12) == Some("true"),
    })
}

/// A row of `sql/catalog_tables.sql`.
struct ParsedTable {
    table: CatalogTable,
    key: Vec<ColumnRow>,
    /// Published ones; only of tables whose rows may be wanted.
    columns: Vec<ColumnRow>,
    is_partitioned: bool,
    row_filter: Option<String>,
    /// Whether every change tells the whole old row.
    tells_old_rows: bool,
}

/// A column as `sql/catalog_tables.sql` describes it.
#[derive(Debug, serde::Deserialize)]
struct ColumnRow {
    name: String,
    type_oid: u32,
    type_modifier: i32,
    type_name: String,
    has_exact_collation: bool,
    /// The type beneath all domains.
    value: TypeRow,
    /// That of an array's elements.
    element: Option<TypeRow>,
}

impl ColumnRow {
    fn form(&self) -> Option<JsonShape> {
        form::of(&self.value, self.element.as_ref())
    }
}

fn parse_table(row: &Row) -> Result<ParsedTable, CatalogError> {
    let columns = |index, name| {
        serde_json::from_str::<Vec<ColumnRow>>(text(row, index, name)?)
            .map_err(|_| CatalogError::Unexpected(name))
    };
    let key_rows = columns(4, "key")?;
    let (tracking, key) = match tracked_key(text(row, 3, "relreplident")?, &key_rows) {
        Ok(key) => (Tracking::Ids, key),
        Err(reason) => (Tracking::ResetOnly(reason), Vec::new()),
    };
    let table = Table {
        oid: TableOid(parse(row, 0, "oid")?),
        name: TableName::new(text(row, 1, "nspname")?, text(row, 2, "relname")?),
        key_columns: key_rows.iter().map(|column| column.name.clone()).collect(),
        tracking,
        rows: RowCaching::Disabled,
        scope: Vec::new(),
    };
    let is_partitioned = text(row, 9, "is_partitioned")? == "t";
    let leaves: Vec<u32> = serde_json::from_str(text(row, 12, "leaves")?)
        .map_err(|_| CatalogError::Unexpected("leaves"))?;
    let table = CatalogTable {
        table,
        key,
        scope: Vec::new(),
        scope_refused: None,
        published: Vec::new(),
        membership: text(row, 5, "membership")?.to_owned(),
        definition: text(row, 6, "definition")?.to_owned(),
        changed_transactions_ago: parse(row, 7, "changed_transactions_ago")?,
        is_partitioned,
        leaves: leaves.into_iter().map(TableOid).collect(),
    };
    Ok(ParsedTable {
        table,
        key: key_rows,
        columns: columns(8, "columns")?,
        is_partitioned,
        row_filter: optional(row, 10).map(str::to_owned),
        tells_old_rows: text(row, 11, "tells_old_rows")? == "t",
    })
}

/// The key whose values are the ids of a table, or why it has none.
fn tracked_key(identity: &str, rows: &[ColumnRow]) -> Result<Vec<CatalogKeyColumn>, String> {
    if identity == "n" {
        return Err(
            "its replica identity is NOTHING; mend it with ALTER TABLE … REPLICA IDENTITY DEFAULT"
                .into(),
        );
    }
    if rows.is_empty() {
        return Err(
            "it has no primary key and no REPLICA IDENTITY USING INDEX; add a primary key".into()
        );
    }
    rows.iter().map(key_column).collect()
}

fn key_column(column: &ColumnRow) -> Result<CatalogKeyColumn, String> {
    let ColumnRow { name, type_oid, type_name, .. } = column;
    match column.form() {
        Some(JsonShape::Scalar(kind)) => {
            Ok(CatalogKeyColumn { name: name.clone(), type_oid: *type_oid, kind })
        }
        _ => Err(format!(
            "its key column {name} has the type {type_name}, which can't be rendered as JSON from the change stream"
        )),
    }
}

fn add_schema_membership(
    tables: &mut [CatalogTable],
    rows: &[Vec<Option<String>>],
) -> Result<(), CatalogError> {
    let mut schemas = HashMap::new();
    for row in rows {
        schemas.insert(text(row, 0, "nspname")?, text(row, 1, "membership")?);
    }
    for table in tables {
        if let Some(membership) = schemas.get(table.table.name.schema.as_str()) {
            table.membership.push_str(" schema ");
            table.membership.push_str(membership);
        }
    }
    Ok(())
}
