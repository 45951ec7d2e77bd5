//! Rows as the change stream tells them, without a store: a session and what comes out of it.

mod announced;
mod catalog;
mod follower;
mod story;
mod wishes;

use highwater::table::{RowMode, RowsConfig};

/// All columns of a table, as they are asked for.
fn lazy(table: &str) -> RowsConfig {
    RowsConfig { table: table.into(), mode: RowMode::Lazy, columns: None }
}

/// Whether the server can publish some of a table's columns and rows.
fn has_lists_and_filters() -> bool {
    crate::support::installation().major() >= 15
}
