//! The catalog's state of the publication, the slot and the server, read over an ordinary SQL
//! connection.
//!
//! Rows are read by column name ([`as_json_rows`]), so that a query may gain a column, or change
//! their order, without a change here.

mod column_type;
mod row_caching;
mod scope;
mod table_row;

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::announcement::PREFIX;
use super::liveness::WalsenderActivity;
use crate::json_type::JsonType;
use crate::lsn::Lsn;
use crate::snapshot::Snapshot;
use crate::sql_text::{as_json_rows, fill};
use crate::table::{RowsConfig, ScopeConfig, Table, TableOid};
use crate::wire::{WalsenderConnection, WireError};
use table_row::{TableDraft, TableRow};

/// The published tables at one point of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// Everything the catalog contains was committed at or before this position.
    pub as_of: Lsn,
    /// Snapshot taken after the catalog was read.
    pub snapshot: Snapshot,
    /// Snapshot taken before the catalog was read: what it sees, the catalog contains.
    pub snapshot_before: Snapshot,
    /// The published tables, in order of their names.
    pub tables: Vec<CatalogTable>,
}

/// A published table, as the catalog describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogTable {
    /// The part that the store and its readers know.
    pub table: Table,
    /// The key's columns, in key order; empty for reset-only tables.
    pub key: Vec<CatalogKeyColumn>,
    /// The scope columns, if each change of the table carries their values.
    pub scope: Vec<CatalogKeyColumn>,
    /// Why the configured scope columns can't be used.
    pub scope_error: Option<String>,
    /// The columns that a Relation message must show for rows to be read: every published column, in
    /// the table's order. Empty for tables without cached rows.
    pub published: Vec<PublishedColumn>,
    /// Fingerprint that differs when the table left the publication and joined it again, or when what
    /// is published of it changed.
    pub membership: String,
    /// Fingerprint that differs when its columns, their types, its key or its replica identity changed.
    pub definition: String,
    /// Number of transactions begun since membership or definition last changed.
    pub changed_transactions_ago: i64,
    /// Whether it is the root of partitions. A partition may be dropped without a trace in the stream.
    pub is_partitioned: bool,
    /// The partitions of a root that hold rows.
    pub leaves: Vec<TableOid>,
}

/// A column of an identity key, or a scope column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogKeyColumn {
    /// Its name, as stored.
    pub name: String,
    /// OID of its declared type, as in Relation messages.
    pub type_oid: u32,
    /// How its text becomes JSON.
    pub kind: JsonType,
}

/// A published column, as Relation messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedColumn {
    /// Its name, as stored.
    pub name: String,
    /// OID of its declared type.
    pub type_oid: u32,
    /// The declared type's modifier; -1 for none.
    pub type_modifier: i32,
}

/// The state of server and slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// End of the WAL.
    pub wal_end: Lsn,
    /// OID of the database.
    pub database_oid: u32,
    /// Whether the publication exists.
    pub publication_exists: bool,
    /// Snapshot taken by the query.
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
    /// Position at which a consumer resumes.
    pub confirmed: Lsn,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// WAL it makes the server retain, in bytes.
    pub retained_bytes: Option<u64>,
    /// Every transaction older than this many had ended before the slot's position.
    pub transactions_since: Option<i64>,
    /// Whether the process that streams from it waits for its client or for new WAL; false while it
    /// works, and when its activity is not visible to the role.
    pub walsender_waits: bool,
    /// Whether standbys may keep a copy of it (PostgreSQL 17 and newer).
    pub survives_failover: bool,
}

impl SourceState {
    /// The activity of the walsender with this process id; `None` when it does not hold the slot.
    pub(super) fn walsender(&self, pid: i32) -> Option<WalsenderActivity> {
        let slot = self.slot.as_ref().filter(|slot| slot.active_pid == Some(pid))?;
        Some(if slot.walsender_waits {
            WalsenderActivity::Waiting
        } else {
            WalsenderActivity::Working
        })
    }
}

/// Why the catalog could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The query failed.
    #[error("read the catalog: {0}")]
    Query(#[from] WireError),
    /// The server returned a row of another shape.
    #[error("read the catalog: the row is not what this version of Highwater expects: {0}")]
    UnexpectedRow(#[from] serde_json::Error),
}

/// SQLSTATE `insufficient_privilege`.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

impl CatalogError {
    pub(super) fn is_permission_denied(&self) -> bool {
        matches!(self, Self::Query(error) if error.sqlstate() == Some(INSUFFICIENT_PRIVILEGE))
    }
}

/// The first major version that publishes whole schemas.
const SCHEMAS_SINCE: u32 = 15;

/// A snapshot of the server.
pub(super) async fn read_snapshot(
    connection: &mut WalsenderConnection,
) -> Result<Snapshot, CatalogError> {
    #[derive(Deserialize)]
    struct SnapshotRow {
        #[serde(deserialize_with = "from_text")]
        snapshot: Snapshot,
    }
    let row: SnapshotRow =
        query_one(connection, "SELECT pg_current_snapshot() AS snapshot").await?;
    Ok(row.snapshot)
}

/// Reads the publication's tables, with the columns of those that are configured for row caching or
/// scope.
pub async fn read_catalog(
    connection: &mut WalsenderConnection,
    publication: &str,
    rows: &[RowsConfig],
    scopes: &[ScopeConfig],
) -> Result<Vec<CatalogTable>, CatalogError> {
    let table_rows: Vec<TableRow> =
        query(connection, &tables_query(publication, rows, scopes)).await?;
    let mut drafts: Vec<TableDraft> = table_rows.into_iter().map(TableDraft::from).collect();
    scope::apply(&mut drafts, scopes);
    row_caching::apply(&mut drafts, rows);
    let mut tables: Vec<CatalogTable> = drafts.into_iter().map(|draft| draft.table).collect();
    if server_major(connection) >= SCHEMAS_SINCE {
        let sql = include_str!("../../../../sql/catalog_schemas.sql");
        let sql = fill(sql, &[("publication", publication)]);
        add_schema_membership(&mut tables, query(connection, &sql).await?);
    }
    Ok(tables)
}

fn tables_query(publication: &str, rows: &[RowsConfig], scopes: &[ScopeConfig]) -> String {
    let definition =
        include_str!("../../../../sql/table_definition.sql").trim_end().trim_end_matches(';');
    let definition = definition.replace(":'oid'", "published.oid");
    let configured = rows.iter().map(|rows| &rows.table);
    let configured = configured.chain(scopes.iter().map(|scope| &scope.table));
    let names: Vec<String> = configured.map(|table| table.replace('"', "")).collect();
    let names = serde_json::Value::from(names).to_string();
    let values =
        [("publication", publication), ("configured", &names), ("definition", &definition)];
    fill(include_str!("../../../../sql/catalog_tables.sql"), &values)
}

/// Reads the server's position and the slot.
pub async fn read_source(
    connection: &mut WalsenderConnection,
    publication: &str,
    slot: &str,
) -> Result<SourceState, CatalogError> {
    let values = [("publication", publication), ("slot", slot)];
    let sql = fill(include_str!("../../../../sql/source_state.sql"), &values);
    let row: SourceRow = query_one(connection, &sql).await?;
    Ok(row.into())
}

/// A row of `sql/source_state.sql`, by column name. The columns of the slot are NULL without one.
#[derive(Deserialize)]
struct SourceRow {
    #[serde(deserialize_with = "from_text")]
    wal_end: Lsn,
    database_oid: u32,
    publication_exists: bool,
    slot_exists: bool,
    plugin: Option<String>,
    database: Option<String>,
    active_pid: Option<i32>,
    #[serde(deserialize_with = "from_optional_text")]
    confirmed_flush_lsn: Option<Lsn>,
    wal_status: Option<String>,
    retained_bytes: Option<i64>,
    transactions_since_slot: Option<i64>,
    walsender_waits: Option<bool>,
    survives_failover: bool,
    #[serde(deserialize_with = "from_text")]
    snapshot: Snapshot,
}

impl From<SourceRow> for SourceState {
    fn from(row: SourceRow) -> Self {
        let slot = SlotState {
            plugin: row.plugin.unwrap_or_default(),
            database: row.database.unwrap_or_default(),
            active_pid: row.active_pid,
            confirmed: row.confirmed_flush_lsn.unwrap_or(Lsn::ZERO),
            wal_status: row.wal_status,
            retained_bytes: row.retained_bytes.and_then(|bytes| bytes.try_into().ok()),
            transactions_since: row.transactions_since_slot,
            walsender_waits: row.walsender_waits.unwrap_or(false),
            survives_failover: row.survives_failover,
        };
        Self {
            wal_end: row.wal_end,
            database_oid: row.database_oid,
            publication_exists: row.publication_exists,
            snapshot: row.snapshot,
            slot: row.slot_exists.then_some(slot),
        }
    }
}

/// The transaction that slot creation waits for, as a phrase; `None` when there is none.
pub async fn slot_blocker(
    connection: &mut WalsenderConnection,
) -> Result<Option<String>, CatalogError> {
    #[derive(Deserialize)]
    struct BlockerRow {
        blocker: String,
    }
    let rows: Vec<BlockerRow> =
        query(connection, include_str!("../../../../sql/slot_blockers.sql")).await?;
    Ok(rows.into_iter().next().map(|row| row.blocker))
}

/// Emits the logical message that announces changed definitions to other instances, if there may be
/// any and the server is writable.
pub(super) async fn announce(
    connection: &mut WalsenderConnection,
    slot: &str,
    content: &str,
) -> Result<(), CatalogError> {
    let values = [("prefix", PREFIX), ("content", content), ("slot", slot)];
    let sql = fill(include_str!("../../../../sql/announce.sql"), &values);
    connection.simple_query(&sql).await?;
    Ok(())
}

/// The major version of the connection's server; 0 if it is not known.
pub(super) fn server_major(connection: &WalsenderConnection) -> u32 {
    let version = connection.parameter("server_version").unwrap_or_default();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// The rows of a query, read by column name.
async fn query<T: DeserializeOwned>(
    connection: &mut WalsenderConnection,
    sql: &str,
) -> Result<Vec<T>, CatalogError> {
    let rows = connection.simple_query(&as_json_rows(sql)).await?;
    let documents = rows.iter().filter_map(|row| row.first()?.as_deref());
    Ok(documents.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// The only row of a query, read by column name.
pub(super) async fn query_one<T: DeserializeOwned>(
    connection: &mut WalsenderConnection,
    sql: &str,
) -> Result<T, CatalogError> {
    let row = query(connection, sql).await?.into_iter().next();
    row.ok_or_else(|| CatalogError::UnexpectedRow(serde_json::Error::custom("there is none")))
}

/// A value from its PostgreSQL text, for types that `to_jsonb` writes as strings.
fn from_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn from_optional_text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// A row of `sql/catalog_schemas.sql`, by column name.
#[derive(Deserialize)]
struct SchemaRow {
    nspname: String,
    membership: String,
}

fn add_schema_membership(tables: &mut [CatalogTable], rows: Vec<SchemaRow>) {
    let schemas: HashMap<String, String> =
        rows.into_iter().map(|row| (row.nspname, row.membership)).collect();
    for table in tables {
        if let Some(membership) = schemas.get(table.table.name.schema.as_str()) {
            table.membership.push_str(" schema ");
            table.membership.push_str(membership);
        }
    }
}
