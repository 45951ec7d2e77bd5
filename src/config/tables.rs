//! Sections `[tables.NAME]`.

use super::raw::RawSetting;
use super::reader::{self, SettingsReader};
use super::{settings, value};
use crate::table::{RowMode, RowsConfig, ScopeConfig};

/// The tables with cached rows (not those with `off`), and the tables with scope columns.
pub(super) fn read(reader: &mut SettingsReader<'_>) -> (Vec<RowsConfig>, Vec<ScopeConfig>) {
    let modes = [("off", None), ("lazy", Some(RowMode::Lazy)), ("preload", Some(RowMode::Preload))];
    let (mut cached, mut scopes) = (Vec::new(), Vec::new());
    for (table, entries) in &reader.layers.tables {
        let mode = reader.of_named(table, &settings::TABLE_ROWS, entries, |raw| {
            reader::one(raw).and_then(|text| reader::choose(text, &modes))
        });
        let columns = reader.of_named(table, &settings::TABLE_COLUMNS, entries, column_names);
        let served = columns.clone().filter(|_| matches!(mode, Some(Some(_))));
        let scope = reader.of_named(table, &settings::TABLE_SCOPE, entries, |raw| {
            column_names(raw).and_then(|names| value::scope(names, served.as_deref()))
        });
        scopes.extend(scope.map(|columns| ScopeConfig { table: table.clone(), columns }));
        if let Some(Some(mode)) = mode {
            cached.push(RowsConfig { table: table.clone(), mode, columns });
        }
    }
    (cached, scopes)
}

fn column_names(raw: &RawSetting) -> Result<Vec<String>, value::ValueError> {
    let names: Result<Vec<String>, _> =
        reader::several(raw).into_iter().map(value::identifier).collect();
    names.and_then(value::not_empty)
}
