//! Scope columns: by which values a table's changes are partitioned, and why they can't be.

use super::row_caching::find;
use super::table_row::{ColumnRow, TableDraft};
use super::{CatalogKeyColumn, CatalogTable};
use crate::scope::SCOPE_COLUMNS_MAX;
use crate::table::{Column, ScopeConfig, Table, Tracking, quoted};

/// Fills in the scope columns of the configured tables. A table whose changes don't carry their values
/// becomes reset-only: a caller who may see some of its rows must not learn of others.
pub(super) fn apply(drafts: &mut [TableDraft], configs: &[ScopeConfig]) {
    for config in configs {
        let Some(draft) = find(drafts, &config.table) else { continue };
        match scope_columns(draft, config) {
            Ok(columns) => {
                (draft.table.table.scope, draft.table.scope) = columns.into_iter().unzip();
            }
            Err(reason) => {
                draft.table.scope_error = Some(reason.clone());
                draft.table.table.tracking = Tracking::ResetOnly(reason);
                draft.table.key.clear();
            }
        }
    }
}

fn scope_columns(
    draft: &TableDraft,
    config: &ScopeConfig,
) -> Result<Vec<(Column, CatalogKeyColumn)>, String> {
    let CatalogTable { table, .. } = &draft.table;
    if let Tracking::ResetOnly(reason) = &table.tracking {
        return Err(reason.clone());
    }
    if config.columns.len() > SCOPE_COLUMNS_MAX {
        return Err(format!(
            "it has {} scope columns, and {SCOPE_COLUMNS_MAX} are the most: fix scope = [...]",
            config.columns.len()
        ));
    }
    config.columns.iter().map(|name| scope_column(draft, name)).collect()
}

fn scope_column(draft: &TableDraft, name: &str) -> Result<(Column, CatalogKeyColumn), String> {
    let table = &draft.table.table;
    let Some(column) = draft.columns.iter().find(|column| column.name == name) else {
        let names: Vec<&str> = draft.columns.iter().map(|column| column.name.as_str()).collect();
        return Err(format!(
            "it publishes no column {name}, which is configured as a scope column; the published columns are {}: fix scope = [...]",
            names.join(", ")
        ));
    };
    if !table.key_columns.contains(&column.name) && !draft.sends_old_rows {
        return Err(format!(
            "its scope column {name} is not part of its replica identity, so a change does not carry the old value; fix it with {}",
            remedy(table, draft.table.is_partitioned)
        ));
    }
    let key_column = column.key_column().filter(|_| column.is_exact());
    let Some(key_column) = key_column else {
        return Err(format!(
            "its scope column {name} has the type {}, of which one value may have several texts; scope columns are integers, texts, UUIDs, booleans, dates, timestamps or enums",
            column.type_name
        ));
    };
    Ok((ColumnRow::column(column), key_column))
}

fn remedy(table: &Table, is_partitioned: bool) -> String {
    let name = format!("{}.{}", quoted(&table.name.schema), quoted(&table.name.name));
    let each = if is_partitioned { ", and the same for each of its partitions" } else { "" };
    format!("ALTER TABLE {name} REPLICA IDENTITY FULL;{each}")
}
