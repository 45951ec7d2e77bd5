//! The change stream without a store: a replication session and the events it emits.

mod catalog;
mod event_trigger;
mod follower;
mod row_changes;
mod stream_requests;

use highwater::table::{RowMode, RowsConfig};

/// The configuration of a lazy table with all columns.
fn lazy(table: &str) -> RowsConfig {
    RowsConfig { table: table.into(), mode: RowMode::Lazy, columns: None }
}

/// Whether the server can publish some of a table's columns and rows.
fn has_lists_and_filters() -> bool {
    crate::support::installation().major() >= 15
}
