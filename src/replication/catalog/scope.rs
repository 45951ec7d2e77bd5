//! By which columns it is told who may see which rows of a table, and whether that can be told.

use super::held::find;
use super::{CatalogKeyColumn, CatalogTable, ColumnRow, ParsedTable};
use crate::json_type::JsonShape;
use crate::scope::SCOPE_COLUMNS_MAX;
use crate::table::{Column, ScopeConfig, Table, Tracking, quoted};

/// Fills in the scope columns of the tables they are wanted of. Of a table whose changes don't tell
/// them nothing is told but that it changed: whoever sees a part of it must be told of no more.
pub(super) fn apply(looked: &mut [ParsedTable], wanted: &[ScopeConfig]) {
    for wanted in wanted {
        let Some(looked) = find(looked, &wanted.table) else { continue };
        match columns(looked, wanted) {
            Ok(columns) => {
                (looked.table.table.scope, looked.table.scope) = columns.into_iter().unzip();
            }
            Err(reason) => {
                looked.table.scope_refused = Some(reason.clone());
                looked.table.table.tracking = Tracking::ResetOnly(reason);
                looked.table.key.clear();
            }
        }
    }
}

fn columns(
    looked: &ParsedTable,
    wanted: &ScopeConfig,
) -> Result<Vec<(Column, CatalogKeyColumn)>, String> {
    let CatalogTable { table, .. } = &looked.table;
    if let Tracking::ResetOnly(reason) = &table.tracking {
        return Err(reason.clone());
    }
    if wanted.columns.len() > SCOPE_COLUMNS_MAX {
        return Err(format!(
            "it has {} scope columns, and {SCOPE_COLUMNS_MAX} are the most: mend scope = [...]",
            wanted.columns.len()
        ));
    }
    wanted.columns.iter().map(|name| column(looked, name)).collect()
}

fn column(looked: &ParsedTable, name: &str) -> Result<(Column, CatalogKeyColumn), String> {
    let table = &looked.table.table;
    let published = looked.columns.iter().find(|column| column.name == name);
    let Some(column) = published else {
        let names: Vec<&str> = looked.columns.iter().map(|column| column.name.as_str()).collect();
        return Err(format!(
            "it publishes no column {name}, which is to be a scope column; those it publishes are {}: mend scope = [...]",
            names.join(", ")
        ));
    };
    if !table.key_columns.contains(&column.name) && !looked.tells_old_rows {
        return Err(format!(
            "its scope column {name} is not part of its replica identity, so a change does not tell whose row it was; mend it with {}",
            remedy(table, looked.is_partitioned)
        ));
    }
    match column.form() {
        Some(JsonShape::Scalar(kind)) if column.is_exact() => {
            let ColumnRow { name, type_oid, .. } = column;
            Ok((
                column.column(),
                CatalogKeyColumn { name: name.clone(), type_oid: *type_oid, kind },
            ))
        }
        _ => Err(format!(
            "its scope column {name} has the type {}, of which one value may have several texts; scope columns are integers, texts, UUIDs, booleans, dates, timestamps or enums",
            column.type_name
        )),
    }
}

fn remedy(table: &Table, is_partitioned: bool) -> String {
    let name = format!("{}.{}", quoted(&table.name.schema), quoted(&table.name.name));
    let each = if is_partitioned { ", and the same of each of its partitions" } else { "" };
    format!("ALTER TABLE {name} REPLICA IDENTITY FULL;{each}")
}
