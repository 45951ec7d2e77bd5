//! One row as JSON, and what a change says about it.

mod json_diff;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json_bytes;
use crate::key::Key;
use crate::table::TableOid;

pub use json_diff::{difference, is_same_json};

/// A row's document: a JSON object, members in column order. Cloning shares it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row(#[serde(with = "json_bytes")] Arc<[u8]>);

impl Row {
    /// A document given as JSON text, which the caller has rendered exactly as `to_jsonb` would.
    pub fn new(json: &[u8]) -> Self {
        Self(json.into())
    }

    /// The JSON text.
    pub fn json(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has all of these members: their names, and the JSON of their values.
    pub fn has_members(&self, wanted: &[(String, Vec<u8>)]) -> bool {
        let mut found = 0;
        let is_read = serde_json::Deserializer::from_slice(&self.0)
            .deserialize_map(MemberMatcher { wanted, found: &mut found });
        is_read.is_ok() && found == wanted.len()
    }

    /// Bytes it occupies outside of its handle: the text and the two counts before it.
    pub fn heap_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }
}

impl AsRef<[u8]> for Row {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// A row of which the change stream did not send every value: large ones that did not change
/// (unchanged TOAST) stay behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialRow {
    /// The document with `null` where a value is missing.
    row: Row,
    /// The places of the missing members, in rising order.
    missing: Box<[u16]>,
}

impl PartialRow {
    /// A document whose members at the places `missing` (rising) are `null` for "not sent".
    pub fn new(json: &[u8], missing: &[u16]) -> Self {
        Self { row: Row::new(json), missing: missing.into() }
    }

    /// The whole row, with the missing values taken from `before`, the row as it was; `None` when
    /// that has no such member.
    pub fn fill(&self, before: &Row) -> Option<Row> {
        let own = Members::of(&self.row)?;
        let before = Members::of(before)?;
        let before: HashMap<&str, &str> = before.0.into_iter().collect();
        let mut json = Vec::with_capacity(self.row.json().len() + 256);
        for (place, (name, value)) in own.0.into_iter().enumerate() {
            let is_missing =
                u16::try_from(place).is_ok_and(|p| self.missing.binary_search(&p).is_ok());
            json.push(if place == 0 { b'{' } else { b',' });
            json.extend_from_slice(name.as_bytes());
            json.push(b':');
            let value = if is_missing { *before.get(name)? } else { value };
            json.extend_from_slice(value.as_bytes());
        }
        json.push(b'}');
        Some(Row::new(&json))
    }

    /// Bytes it occupies outside of its handle.
    pub fn heap_bytes(&self) -> usize {
        self.row.heap_bytes() + size_of_val(&*self.missing)
    }
}

/// Counts the members of a document that are as wanted.
struct MemberMatcher<'a> {
    wanted: &'a [(String, Vec<u8>)],
    found: &'a mut usize,
}

impl<'de> Visitor<'de> for MemberMatcher<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row's document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<&RawValue>()? {
            let value = map.next_value::<&RawValue>()?.get();
            let wanted = self.wanted.iter().find(|(wanted, _)| is_name(name.get(), wanted));
            *self.found += usize::from(wanted.is_some_and(|(_, json)| is_same(value, json)));
        }
        Ok(())
    }
}

/// Whether a member's name, still quoted, is `wanted`.
fn is_name(quoted: &str, wanted: &str) -> bool {
    if quoted.contains('\\') {
        return serde_json::from_str(quoted).is_ok_and(|name: String| name == wanted);
    }
    quoted.get(1..quoted.len().saturating_sub(1)) == Some(wanted)
}

/// Whether two JSON texts are one value; of strings what they stand for counts.
fn is_same(value: &str, wanted: &[u8]) -> bool {
    let string = |text: &[u8]| serde_json::from_slice::<String>(text).ok();
    value.as_bytes() == wanted
        || (value.contains('\\')
            && string(value.as_bytes()).is_some_and(|s| Some(s) == string(wanted)))
}

/// The members of a document, name and value, each as its JSON text.
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Members<'a> {
    fn of(row: &'a Row) -> Option<Self> {
        serde_json::from_slice(row.json()).ok()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row's document")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<&RawValue>()? {
                    members.push((name.get(), map.next_value::<&RawValue>()?.get()));
                }
                if members.is_empty() {
                    return Err(A::Error::custom("a row has a member"));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// What a change leaves of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowAfter {
    /// This is the row now.
    Full(Row),
    /// This is the row now, but for values that are those of the row before the change.
    Partial {
        /// What was sent.
        row: PartialRow,
        /// The key under which the row was held before, when that changed too.
        before: Option<Key>,
    },
    /// There is such a row now; what it looks like has to be asked of the database.
    Unresolved,
    /// There is no such row any more.
    Deleted,
}

impl RowAfter {
    /// Bytes it occupies outside of its handle.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Full(row) => row.heap_bytes(),
            Self::Partial { row, before } => {
                row.heap_bytes() + before.as_ref().map_or(0, Key::heap_bytes)
            }
            Self::Unresolved | Self::Deleted => 0,
        }
    }
}

/// What a transaction did to the rows of a table that holds rows, in stream order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowChange {
    /// One row.
    Upsert {
        /// The table.
        table: TableOid,
        /// The row.
        key: Key,
        /// What it is now.
        image: RowAfter,
    },
    /// `TRUNCATE`: the table is empty.
    Truncate(TableOid),
    /// What became of the table's rows is not known: they must be read again.
    Invalidate(TableOid),
}

impl RowChange {
    /// The table concerned.
    pub fn table(&self) -> TableOid {
        match self {
            Self::Upsert { table, .. } | Self::Truncate(table) | Self::Invalidate(table) => *table,
        }
    }

    /// Bytes it occupies, itself and what it points to.
    pub fn bytes(&self) -> usize {
        let beside = match self {
            Self::Upsert { key, image, .. } => key.heap_bytes() + image.heap_bytes(),
            Self::Truncate(_) | Self::Invalidate(_) => 0,
        };
        size_of::<Self>() + beside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Row {
        Row::new(json.as_bytes())
    }

    #[test]
    fn missing_values_are_those_of_the_row_before() {
        let partial = PartialRow::new(br#"{"id":1,"b\u00e4":null,"n":null,"x":2}"#, &[1]);
        let before = row(r#"{"n":5,"b\u00e4":{"a":[1,"}"]},"id":1,"x":1}"#);
        let filled = partial.fill(&before).unwrap();
        assert_eq!(format!("{filled:?}"), r#"{"id":1,"b\u00e4":{"a":[1,"}"]},"n":null,"x":2}"#);
    }

    #[test]
    fn a_row_before_without_the_member_fills_nothing() {
        let partial = PartialRow::new(br#"{"id":1,"big":null}"#, &[1]);
        assert_eq!(partial.fill(&row(r#"{"id":1}"#)), None);
        assert_eq!(partial.fill(&row("[]")), None);
    }
}
