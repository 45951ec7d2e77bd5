//! Which tables' rows are cached, and why those of a configured table can't be.

use std::sync::Arc;

use super::CatalogTable;
use super::table_row::{ColumnRow, TableDraft};
use crate::table::{Column, RowCachePlan, RowCaching, RowMode, RowsConfig, Tracking};

/// Fills in the row caching of the configured tables.
pub(super) fn apply(drafts: &mut [TableDraft], configs: &[RowsConfig]) {
    for config in configs {
        let Some(draft) = find(drafts, &config.table) else { continue };
        match cache_plan(draft, config) {
            Ok(plan) => {
                draft.table.published = draft.columns.iter().map(ColumnRow::published).collect();
                draft.table.table.rows = RowCaching::Enabled(Arc::new(plan));
            }
            Err(reason) => draft.table.table.rows = RowCaching::Unavailable(reason),
        }
    }
}

/// The table that displays as `spelling`, else the only one with that spelling.
pub(super) fn find<'a>(drafts: &'a mut [TableDraft], spelling: &str) -> Option<&'a mut TableDraft> {
    let displays_so = |draft: &TableDraft| draft.table.table.name.to_string() == spelling;
    let index = drafts.iter().position(displays_so).or_else(|| {
        let is_spelled_so =
            |draft: &TableDraft| draft.table.table.name.spellings().iter().any(|s| s == spelling);
        let mut matches = drafts.iter().enumerate().filter(|(_, draft)| is_spelled_so(draft));
        let (index, _) = matches.next()?;
        matches.next().is_none().then_some(index)
    })?;
    drafts.get_mut(index)
}

fn cache_plan(draft: &TableDraft, config: &RowsConfig) -> Result<RowCachePlan, String> {
    let CatalogTable { table, definition, is_partitioned, .. } = &draft.table;
    if let Tracking::ResetOnly(reason) = &table.tracking {
        return Err(format!("its rows have no usable key: {reason}"));
    }
    let columns = served_columns(&draft.columns, config.columns.as_deref())?;
    if config.mode == RowMode::Preload {
        columns.iter().try_for_each(require_json_shape)?;
    }
    Ok(RowCachePlan {
        mode: config.mode,
        columns,
        key: draft.key.iter().map(ColumnRow::column).collect(),
        partitioned: *is_partitioned,
        filter: draft.row_filter.clone(),
        definition: definition.clone(),
        keys_are_exact: draft.key.iter().all(ColumnRow::is_exact),
    })
}

/// The published columns that are configured, in the table's order.
fn served_columns(
    published: &[ColumnRow],
    configured: Option<&[String]>,
) -> Result<Vec<Column>, String> {
    let Some(configured) = configured else {
        return Ok(published.iter().map(ColumnRow::column).collect());
    };
    if configured.is_empty() {
        return Err("columns = [] leaves nothing to serve; name some, or leave it out".into());
    }
    let is_published = |name: &String| published.iter().any(|column| column.name == *name);
    if let Some(unknown) = configured.iter().find(|name| !is_published(name)) {
        let names: Vec<&str> = published.iter().map(|column| column.name.as_str()).collect();
        return Err(format!(
            "it publishes no column {unknown}; the published columns are {}: fix columns = [...]",
            names.join(", ")
        ));
    }
    let served = published.iter().filter(|column| configured.contains(&column.name));
    Ok(served.map(ColumnRow::column).collect())
}

/// The stream must carry every value of a table that is complete in memory.
fn require_json_shape(column: &Column) -> Result<(), String> {
    let Column { name, type_name, form, .. } = column;
    match form {
        Some(_) => Ok(()),
        None => Err(format!(
            "column {name} has the type {type_name}, whose JSON only the database can render; leave it out with columns = [...] or write rows = \"lazy\""
        )),
    }
}
