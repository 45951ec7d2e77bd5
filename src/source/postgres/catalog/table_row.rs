//! Rows of `sql/catalog_tables.sql`.

use serde::Deserialize;

use super::column_type::{TypeRow, json_shape};
use super::{CatalogKeyColumn, CatalogTable, PublishedColumn};
use crate::json_type::JsonShape;
use crate::table::{Column, RowCaching, Table, TableName, TableOid, Tracking};

/// A row of `sql/catalog_tables.sql`, by column name.
#[derive(Debug, Deserialize)]
pub(super) struct TableRow {
    oid: u32,
    nspname: String,
    relname: String,
    relreplident: String,
    key: Vec<ColumnRow>,
    membership: String,
    definition: String,
    changed_transactions_ago: i64,
    columns: Vec<ColumnRow>,
    is_partitioned: bool,
    row_filter: Option<String>,
    sends_old_rows: bool,
    leaves: Vec<u32>,
}

/// A published table while its row caching and scope are worked out.
pub(super) struct TableDraft {
    pub(super) table: CatalogTable,
    pub(super) key: Vec<ColumnRow>,
    /// Published columns; only of tables that are configured for row caching or scope.
    pub(super) columns: Vec<ColumnRow>,
    pub(super) row_filter: Option<String>,
    /// Whether every change carries the whole old row.
    pub(super) sends_old_rows: bool,
}

/// A column as `sql/catalog_tables.sql` describes it.
#[derive(Debug, Deserialize)]
pub(super) struct ColumnRow {
    pub(super) name: String,
    type_oid: u32,
    type_modifier: i32,
    pub(super) type_name: String,
    has_exact_collation: bool,
    /// The type beneath all domains.
    value: TypeRow,
    /// The element type of an array.
    element: Option<TypeRow>,
}

impl ColumnRow {
    /// How the column's values become JSON; `None` if only the database can render them.
    pub(super) fn json_shape(&self) -> Option<JsonShape> {
        json_shape(&self.value, self.element.as_ref())
    }

    pub(super) fn column(&self) -> Column {
        Column {
            name: self.name.clone(),
            type_oid: self.type_oid,
            type_name: self.type_name.clone(),
            form: self.json_shape(),
        }
    }

    pub(super) fn published(&self) -> PublishedColumn {
        PublishedColumn {
            name: self.name.clone(),
            type_oid: self.type_oid,
            type_modifier: self.type_modifier,
        }
    }

    /// The column as part of a key or scope, if its values are rendered from the change stream.
    pub(super) fn key_column(&self) -> Option<CatalogKeyColumn> {
        let Some(JsonShape::Scalar(kind)) = self.json_shape() else { return None };
        Some(CatalogKeyColumn { name: self.name.clone(), type_oid: self.type_oid, kind })
    }

    /// Whether values that differ as text differ as values. An allow list: `bpchar`, `numeric`,
    /// floats, `interval`, `timetz` and others have several texts for one value.
    pub(super) fn is_exact(&self) -> bool {
        match self.value.base {
            _ if self.value.is_enum() => true,
            // bool, int8, int2, int4, oid, date, timestamp, timestamptz, uuid
            16 | 20 | 21 | 23 | 26 | 1082 | 1114 | 1184 | 2950 => true,
            // name, text, varchar
            19 | 25 | 1043 => self.has_exact_collation,
            _ => false,
        }
    }
}

impl From<TableRow> for TableDraft {
    fn from(row: TableRow) -> Self {
        let (tracking, key) = match tracked_key(&row.relreplident, &row.key) {
            Ok(key) => (Tracking::Ids, key),
            Err(reason) => (Tracking::ResetOnly(reason), Vec::new()),
        };
        let table = Table {
            oid: TableOid(row.oid),
            name: TableName::new(row.nspname, row.relname),
            key_columns: row.key.iter().map(|column| column.name.clone()).collect(),
            tracking,
            rows: RowCaching::Disabled,
            scope: Vec::new(),
        };
        let table = CatalogTable {
            table,
            key,
            scope: Vec::new(),
            scope_error: None,
            published: Vec::new(),
            membership: row.membership,
            definition: row.definition,
            changed_transactions_ago: row.changed_transactions_ago,
            is_partitioned: row.is_partitioned,
            leaves: row.leaves.into_iter().map(TableOid).collect(),
        };
        Self {
            table,
            key: row.key,
            columns: row.columns,
            row_filter: row.row_filter,
            sends_old_rows: row.sends_old_rows,
        }
    }
}

/// The key whose values are the ids of a table, or the reason why the table has none.
fn tracked_key(identity: &str, columns: &[ColumnRow]) -> Result<Vec<CatalogKeyColumn>, String> {
    if identity == "n" {
        return Err(
            "its replica identity is NOTHING; fix it with ALTER TABLE … REPLICA IDENTITY DEFAULT"
                .into(),
        );
    }
    if columns.is_empty() {
        return Err(
            "it has no primary key and no REPLICA IDENTITY USING INDEX; add a primary key".into()
        );
    }
    let key_column = |column: &ColumnRow| {
        column.key_column().ok_or_else(|| {
            let ColumnRow { name, type_name, .. } = column;
            format!(
                "its key column {name} has the type {type_name}, which can't be rendered as JSON from the change stream"
            )
        })
    };
    columns.iter().map(key_column).collect()
}
