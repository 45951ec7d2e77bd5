//! A table of the database, as the checks and the setup use it.

use serde::Deserialize;

use crate::table::{TableName, quoted};

/// A row of `check_tables.sql`.
#[derive(Clone, Debug, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the columns of the catalog")]
pub(crate) struct TableRow {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `r` table, `p` partitioned table.
    pub(crate) kind: String,
    /// `p` permanent, `u` unlogged.
    pub(crate) persistence: String,
    pub(crate) is_partition: bool,
    /// The publication contains the table itself.
    pub(crate) published: bool,
    /// The published partitioned table that it is a leaf of.
    pub(crate) published_through: Option<String>,
    pub(crate) row_filter: Option<String>,
    pub(crate) has_column_list: bool,
    /// `d` default, `n` nothing, `f` full, `i` index.
    pub(crate) replica_identity: String,
    pub(crate) has_primary_key: bool,
    pub(crate) has_identity_index: bool,
    /// A unique index that could become the replica identity.
    pub(crate) candidate_index: Option<String>,
    /// The columns of the key that identifies rows.
    pub(crate) key_columns: Vec<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) owned: bool,
    /// The connected role has `SELECT` on it.
    pub(crate) readable: bool,
    /// Row level security hides rows from the connected role.
    pub(crate) row_security: bool,
}

/// How the change stream identifies a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableIdentity {
    /// By the columns of a key.
    Key,
    /// By the whole row: the old row is sent, but there is no id to report.
    WholeRow,
    /// Not at all: the server refuses UPDATE and DELETE while they are published.
    None,
}

impl TableRow {
    /// The name that clients use.
    pub(crate) fn full_name(&self) -> String {
        TableName::new(&*self.schema, &*self.name).to_string()
    }

    /// Whether `name` is one of the spellings of its name.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        TableName::new(&*self.schema, &*self.name).spellings().iter().any(|known| known == name)
    }

    /// The quoted, qualified name for SQL.
    pub(crate) fn quoted_name(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Whether its changes are published, under its own name or its root's.
    pub(crate) fn is_followed(&self) -> bool {
        self.published || self.published_through.is_some()
    }

    pub(crate) fn identity(&self) -> TableIdentity {
        match self.replica_identity.as_str() {
            "d" | "f" if self.has_primary_key => TableIdentity::Key,
            "i" if self.has_identity_index => TableIdentity::Key,
            "f" => TableIdentity::WholeRow,
            _ => TableIdentity::None,
        }
    }

    /// The best statements that give its rows a replica identity.
    pub(crate) fn identity_fix(&self) -> Vec<String> {
        let table = self.quoted_name();
        if self.has_primary_key {
            return vec![format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT;")];
        }
        if let Some(index) = &self.candidate_index {
            return vec![format!(
                "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {};",
                quoted(index)
            )];
        }
        vec![
            format!("ALTER TABLE {table} ADD PRIMARY KEY (…);"),
            format!("or, without a key: ALTER TABLE {table} REPLICA IDENTITY FULL;"),
        ]
    }
}
