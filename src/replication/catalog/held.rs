//! Which tables' rows are to be in memory, and whether they can be.

use std::sync::Arc;

use super::{CatalogTable, ColumnRow, ParsedTable, PublishedColumn};
use crate::table::{Column, RowCachePlan, RowCaching, RowMode, RowsConfig, Tracking};

/// Fills in the rows of the tables they are wanted of.
pub(super) fn hold(looked: &mut [ParsedTable], wanted: &[RowsConfig]) {
    for wanted in wanted {
        let Some(looked) = find(looked, &wanted.table) else { continue };
        match held(looked, wanted) {
            Ok(held) => {
                looked.table.published = looked.columns.iter().map(ColumnRow::published).collect();
                looked.table.table.rows = RowCaching::Enabled(Arc::new(held));
            }
            Err(reason) => looked.table.table.rows = RowCaching::Unavailable(reason),
        }
    }
}

/// The table that displays as `spelling`, else the only one that may be spelled so.
pub(super) fn find<'a>(
    looked: &'a mut [ParsedTable],
    spelling: &str,
) -> Option<&'a mut ParsedTable> {
    let named = |looked: &ParsedTable| looked.table.table.name.to_string() == spelling;
    let place = looked.iter().position(named).or_else(|| {
        let spelled = |looked: &ParsedTable| {
            looked.table.table.name.spellings().iter().any(|s| s == spelling)
        };
        let mut all = looked.iter().enumerate().filter(|(_, looked)| spelled(looked));
        let (place, _) = all.next()?;
        all.next().is_none().then_some(place)
    })?;
    looked.get_mut(place)
}

fn held(looked: &ParsedTable, wanted: &RowsConfig) -> Result<RowCachePlan, String> {
    let CatalogTable { table, definition, .. } = &looked.table;
    if let Tracking::ResetOnly(reason) = &table.tracking {
        return Err(format!("its rows can't be told apart: {reason}"));
    }
    let columns = served(&looked.columns, wanted.columns.as_deref())?;
    if wanted.mode == RowMode::Preload {
        columns.iter().try_for_each(refuse_unknown_form)?;
    }
    Ok(RowCachePlan {
        mode: wanted.mode,
        columns,
        key: looked.key.iter().map(ColumnRow::column).collect(),
        partitioned: looked.is_partitioned,
        filter: looked.row_filter.clone(),
        definition: definition.clone(),
        keys_are_exact: looked.key.iter().all(ColumnRow::is_exact),
    })
}

/// The published columns that are wanted, in the table's order.
fn served(published: &[ColumnRow], wanted: Option<&[String]>) -> Result<Vec<Column>, String> {
    let Some(wanted) = wanted else {
        return Ok(published.iter().map(ColumnRow::column).collect());
    };
    if wanted.is_empty() {
        return Err("columns = [] leaves nothing to serve; name some, or leave it out".into());
    }
    if let Some(unknown) = wanted.iter().find(|name| published.iter().all(|c| c.name != **name)) {
        let names: Vec<&str> = published.iter().map(|column| column.name.as_str()).collect();
        return Err(format!(
            "it publishes no column {unknown}; those it publishes are {}: mend columns = [...]",
            names.join(", ")
        ));
    }
    Ok(published.iter().filter(|c| wanted.contains(&c.name)).map(ColumnRow::column).collect())
}

/// A table that is complete in memory must be told completely by the stream.
fn refuse_unknown_form(column: &Column) -> Result<(), String> {
    let Column { name, type_name, form, .. } = column;
    match form {
        Some(_) => Ok(()),
        None => Err(format!(
            "column {name} has the type {type_name}, whose JSON only the database can tell; leave it out with columns = [...] or write rows = \"lazy\""
        )),
    }
}

impl ColumnRow {
    pub(super) fn column(&self) -> Column {
        Column {
            name: self.name.clone(),
            type_oid: self.type_oid,
            type_name: self.type_name.clone(),
            form: self.form(),
        }
    }

    fn published(&self) -> PublishedColumn {
        PublishedColumn {
            name: self.name.clone(),
            type_oid: self.type_oid,
            type_modifier: self.type_modifier,
        }
    }

    /// Whether values that differ as text differ as values. A list of what is known: `bpchar`,
    /// `numeric`, floats, `interval`, `timetz` and others have several texts for one value.
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
