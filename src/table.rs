//! What a published table looks like.

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
    /// The schema whose tables go by their bare name.
    const DEFAULT_SCHEMA: &'static str = "public";

    /// A name from its two parts, as stored in the catalog.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Every spelling a client may use for this table, the displayed one first.
    ///
    /// The spellings after the first may belong to another table as well (the table `b` of schema
    /// `a` and the table `a.b` of schema `public` share `a.b`): whoever looks names up gives a shared
    /// spelling to the table that displays as it, and to nobody otherwise.
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

/// `part` as a quoted SQL identifier.
pub fn quoted(part: &str) -> String {
    format!("\"{}\"", part.replace('"', "\"\""))
}

/// What clients can be told about a table's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracking {
    /// Changes are told by id.
    Ids,
    /// Every commit that touches the table resets it, for the reason given (no key, or a key we
    /// can't render exactly).
    ResetOnly(String),
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as stored.
    pub name: String,
    /// Its declared type, as Relation messages name it.
    pub type_oid: u32,
    /// The declared type's name, qualified and quoted as SQL needs it.
    pub type_name: String,
    /// How its text becomes JSON; `None`: only the database can say.
    pub form: Option<JsonShape>,
}

/// Where a table's rows are, seen from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowMode {
    /// Read through on first request, then kept current; those not used leave.
    Lazy,
    /// All of them in memory, at all times.
    Preload,
}

/// How a table's rows are held and read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCachePlan {
    /// Which of them are in memory.
    pub mode: RowMode,
    /// The columns of their documents, in the table's order.
    pub columns: Vec<Column>,
    /// The columns of the key, in key order.
    pub key: Vec<Column>,
    /// Whether the table is a root whose rows are in its partitions.
    pub partitioned: bool,
    /// The publication's row filter, as SQL: other rows are as good as absent.
    pub filter: Option<String>,
    /// The catalog's description of the columns. A load checks that it is still this one.
    pub definition: String,
    /// Whether keys that differ as text differ as values too, so that it can be remembered that a
    /// row is absent. Not so for `numeric` (`1.0` is `1.00`) and the like.
    pub keys_are_exact: bool,
}

/// What an operator wants of a table's rows (`[tables.NAME]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsConfig {
    /// The table, in any of the spellings clients may use.
    pub table: String,
    /// Which of its rows are to be in memory.
    pub mode: RowMode,
    /// The columns to serve, as stored; `None`: all that are published.
    pub columns: Option<Vec<String>>,
}

/// By which columns an operator wants to tell apart who may see which rows of a table
/// (`tables.NAME.scope`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeConfig {
    /// The table, in any of the spellings clients may use.
    pub table: String,
    /// The columns, as stored.
    pub columns: Vec<String>,
}

/// What of a table's rows is in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowCaching {
    /// Nothing: clients are told ids.
    Disabled,
    /// Rows are held.
    Enabled(#[serde(with = "shared")] Arc<RowCachePlan>),
    /// They should be and can't; the text says why and what mends it.
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
    /// How rows are held, if they are.
    pub fn held(&self) -> Option<&Arc<RowCachePlan>> {
        match self {
            Self::Enabled(held) => Some(held),
            Self::Disabled | Self::Unavailable(_) => None,
        }
    }

    /// Whether all rows are to be in memory.
    pub fn is_preloaded(&self) -> bool {
        self.held().is_some_and(|held| held.mode == RowMode::Preload)
    }
}

/// A published table, as the store and its readers know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The relation's OID.
    pub oid: TableOid,
    /// Its schema and name.
    pub name: TableName,
    /// Names of the key's columns, in key order; empty when there is no key.
    pub key_columns: Vec<String>,
    /// Ids, or resets only.
    pub tracking: Tracking,
    /// What of its rows is in memory.
    pub rows: RowCaching,
    /// The columns by whose values callers see some of its rows only.
    pub scope: Vec<Column>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_displayed_as_clients_see_it() {
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
