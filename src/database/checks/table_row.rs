//! A table, as every check sees it.

use serde::Deserialize;

use crate::table::{TableName, quoted};

/// What `check_tables.sql` answers about one table.
#[derive(Clone, Debug, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "a row of the catalog is what it is")]
pub(crate) struct TableRow {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `r` table, `p` partitioned table.
    pub(crate) kind: String,
    /// `p` permanent, `u` unlogged.
    pub(crate) persistence: String,
    pub(crate) is_partition: bool,
    /// It is in the publication as itself.
    pub(crate) published: bool,
    /// The published partitioned table whose leaf it is.
    pub(crate) published_through: Option<String>,
    pub(crate) row_filter: Option<String>,
    pub(crate) has_column_list: bool,
    /// `d` default, `n` nothing, `f` full, `i` index.
    pub(crate) replica_identity: String,
    pub(crate) has_primary_key: bool,
    pub(crate) has_identity_index: bool,
    /// A unique index that could serve as identity.
    pub(crate) candidate_index: Option<String>,
    /// Of the key by which rows are told apart.
    pub(crate) key_columns: Vec<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) owned: bool,
    /// We may SELECT from it.
    pub(crate) readable: bool,
    /// Row level security hides rows of it from us.
    pub(crate) row_security: bool,
}

/// How a table's rows are told apart in the change stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableIdentity {
    /// By a key.
    Key,
    /// By the whole row: an old row is sent, but there is no id to tell.
    WholeRow,
    /// Not at all: the server refuses UPDATE and DELETE while they are published.
    None,
}

impl TableRow {
    /// The name as clients see it.
    pub(crate) fn full_name(&self) -> String {
        TableName::new(&*self.schema, &*self.name).to_string()
    }

    /// Whether a client or an operator may call it so.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        TableName::new(&*self.schema, &*self.name).spellings().iter().any(|known| known == name)
    }

    /// The name as SQL takes it.
    pub(crate) fn quoted_name(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Its changes are published, under its own name or its root's.
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

    /// The statement that gives its rows an identity, the best there is.
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
