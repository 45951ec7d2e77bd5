//! Sections `[tables.NAME]`: which rows are held, and by which columns callers see them.

use super::entry::RawSetting;
use super::reader::{self, SettingsReader};
use super::{settings, value};
use crate::table::{RowMode, RowsConfig, ScopeConfig};

/// What is wanted of tables' rows (a table that is not named, or `off`, has none in memory), and by
/// which columns callers see them.
pub(super) fn wanted(reader: &mut SettingsReader<'_>) -> (Vec<RowsConfig>, Vec<ScopeConfig>) {
    let modes = [("off", None), ("lazy", Some(RowMode::Lazy)), ("preload", Some(RowMode::Preload))];
    let (mut wanted, mut scopes) = (Vec::new(), Vec::new());
    for (table, entries) in &reader.layers.tables {
        let mode = reader.of_named(table, &settings::TABLE_ROWS, entries, |written| {
            reader::one(written).and_then(|text| reader::choose(text, &modes))
        });
        let columns = reader.of_named(table, &settings::TABLE_COLUMNS, entries, names);
        let served = columns.clone().filter(|_| matches!(mode, Some(Some(_))));
        let scope = reader.of_named(table, &settings::TABLE_SCOPE, entries, |written| {
            names(written).and_then(|names| value::scope(names, served.as_deref()))
        });
        scopes.extend(scope.map(|columns| ScopeConfig { table: table.clone(), columns }));
        if let Some(Some(mode)) = mode {
            wanted.push(RowsConfig { table: table.clone(), mode, columns });
        }
    }
    (wanted, scopes)
}

/// A list of column names.
fn names(written: &RawSetting) -> Result<Vec<String>, value::ValueError> {
    let names: Result<Vec<String>, _> =
        reader::several(written).into_iter().map(value::identifier).collect();
    names.and_then(value::not_empty)
}
