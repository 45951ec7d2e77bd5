//! Published tables: names, columns, and how their rows are cached.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::json_type::JsonShape;

/// A relation's OID: its identity for as long as it lives, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableOid(pub u32);

/// A table's schema and name, as stored in the catalog (never folded, never quoted).
///
/// Displayed as clients see it: `schema.table`, or `table` alone in schema `public`. A part is
/// quoted as in SQL only where the plain form would be ambiguous, because it holds a `.`, `"` or `,`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema, as stored.
    pub schema: String,
    /// The table's own name, as stored.
    pub name: String,
}

impl TableName {
    /// The schema whose tables are displayed without it.
    const DEFAULT_SCHEMA: &'static str = "public";

    /// Builds a name from its two parts, as stored in the catalog.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Every spelling that a client may use for this table, the displayed one first.
    ///
    /// The spellings after the first may belong to another table as well (the table `b` of schema `a` and the
    /// table `a.b` of schema `public` share `a.b`). A directory of names assigns a shared spelling to the table
    /// that is displayed so, or else to none.
    pub fn spellings(&self) -> Vec<String> {
        let mut all = vec![self.to_string()];
        let mut add = |spelling: String| {
            if !all.contains(&spelling) {
                all.push(spelling);
            }
        };
        for schema in [self.schema.clone(), quoted(&self.schema)] {
            for name in [self.name.clone(), quoted(&self.name)] {
                add(format!("{schema}.{name}"));
            }
        }
        if self.schema == Self::DEFAULT_SCHEMA {
            add(self.name.clone());
            add(quoted(&self.name));
        }
        all
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema != Self::DEFAULT_SCHEMA {
            write_part(f, &self.schema)?;
            f.write_str(".")?;
        }
        write_part(f, &self.name)
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, part: &str) -> fmt::Result {
    if part.contains(['.', '"', ',']) { f.write_str(&quoted(part)) } else { f.write_str(part) }
}

/// Quotes `part` as an SQL identifier.
pub fn quoted(part: &str) -> String {
    format!("\"{}\"", part.replace('"', "\"\""))
}

/// How a table's changes can be reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracking {
    /// The ids of changed rows.
    Ids,
    /// A reset of the table by every commit that changes it, for the reason given: it has no key, or one
    /// that can't be rendered exactly.
    ResetOnly(String),
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as stored.
    pub name: String,
    /// The OID of its declared type, as in Relation messages.
    pub type_oid: u32,
    /// The declared type's name, qualified and quoted for SQL.
    pub type_name: String,
    /// How its text becomes JSON; `None`: only the database can render it.
    pub form: Option<JsonShape>,
}

/// Where a table's rows are, seen from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowMode {
    /// Rows that were requested: read on the first request, then kept current, evicted when unused.
    Lazy,
    /// All rows, at all times.
    Preload,
}

/// How a table's rows are held and read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCachePlan {
    /// Which rows are cached.
    pub mode: RowMode,
    /// The columns of the rows' documents, in the table's order.
    pub columns: Vec<Column>,
    /// The columns of the key, in key order.
    pub key: Vec<Column>,
    /// Whether the table is partitioned: its rows are in its partitions.
    pub partitioned: bool,
    /// The publication's row filter, as SQL: rows that it excludes count as absent.
    pub filter: Option<String>,
    /// The catalog's description of the columns. A load verifies that it has not changed.
    pub definition: String,
    /// Whether keys that differ as text always differ as values, so that the absence of a row can be cached.
    /// False for types like `numeric`, where `1.0` equals `1.00`.
    pub keys_are_exact: bool,
}

/// The configuration of a table's row cache (`[tables.NAME]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsConfig {
    /// The table's name, in any of the spellings that clients may use.
    pub table: String,
    /// Which rows to cache.
    pub mode: RowMode,
    /// Names of the columns to serve, as stored; `None`: all published columns.
    pub columns: Option<Vec<String>>,
}

/// The columns that partition a table's rows by caller (`tables.NAME.scope`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeConfig {
    /// The table's name, in any of the spellings that clients may use.
    pub table: String,
    /// Names of the columns, as stored.
    pub columns: Vec<String>,
}

/// What of a table's rows is in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowCaching {
    /// Not configured: only ids are reported.
    Disabled,
    /// Rows are cached as planned.
    Enabled(#[serde(with = "shared")] Arc<RowCachePlan>),
    /// Rows were configured and can't be cached: the reason and the remedy.
    Unavailable(String),
}

/// Serialises a shared plan as the plan itself.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::RowCachePlan;

    pub(super) fn serialize<S: Serializer>(
        plan: &Arc<RowCachePlan>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        RowCachePlan::serialize(plan, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<RowCachePlan>, D::Error> {
        RowCachePlan::deserialize(deserializer).map(Arc::new)
    }
}

impl RowCaching {
    /// The plan, if rows are cached.
    pub fn held(&self) -> Option<&Arc<RowCachePlan>> {
        match self {
            Self::Enabled(held) => Some(held),
            Self::Disabled | Self::Unavailable(_) => None,
        }
    }

    /// Whether all rows are to be cached.
    pub fn is_preloaded(&self) -> bool {
        self.held().is_some_and(|held| held.mode == RowMode::Preload)
    }
}

/// A published table, as the store and its readers know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Identifies the table until it is dropped.
    pub oid: TableOid,
    /// Its schema and name.
    pub name: TableName,
    /// Names of the key's columns, in key order; empty when there is no key.
    pub key_columns: Vec<String>,
    /// Whether changes are reported by id or as resets.
    pub tracking: Tracking,
    /// Whether its rows are cached.
    pub rows: RowCaching,
    /// The scope columns, whose values decide which rows a caller may see.
    pub scope: Vec<Column>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_displayed_as_clients_use_them() {
        let shown = |schema, name| TableName::new(schema, name).to_string();
        assert_eq!(shown("public", "items"), "items");
        assert_eq!(shown("shop", "items"), "shop.items");
        assert_eq!(shown("public", "Items"), "Items");
        assert_eq!(shown("public", "a.b"), r#""a.b""#);
        assert_eq!(shown("s", r#"a"b"#), r#"s."a""b""#);
        assert_eq!(shown("s", "a,b"), r#"s."a,b""#);
    }

    #[test]
    fn both_forms_are_accepted() {
        let spellings = TableName::new("public", "items").spellings();
        for spelling in ["items", "public.items", r#""items""#, r#""public"."items""#] {
            assert!(spellings.iter().any(|s| s == spelling), "{spelling}");
        }
    }

    #[test]
    fn awkward_names_are_accepted_as_stored() {
        let spellings = TableName::new("S.x", "a.B").spellings();
        assert_eq!(spellings.first().map(String::as_str), Some(r#""S.x"."a.B""#));
        assert!(spellings.iter().any(|s| s == "S.x.a.B"));
    }
}
