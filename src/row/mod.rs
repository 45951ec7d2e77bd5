//! Rows as JSON documents, and the effect of a change on a row.

mod json_diff;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::json_bytes;
use crate::json_text;
use crate::key::Key;
use crate::table::TableOid;

pub use json_diff::{difference, is_same_json};

/// A row's document: a JSON object, members in column order. Cloning shares it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row(#[serde(with = "json_bytes")] Arc<[u8]>);

impl Row {
    /// Wraps a JSON text, which the caller has rendered exactly as `to_jsonb` would.
    pub fn new(json: &[u8]) -> Self {
        Self(json.into())
    }

    /// The document as JSON text.
    pub fn json(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has all of these members, given as names and the JSON of their values.
    pub fn has_members(&self, wanted: &[(String, Vec<u8>)]) -> bool {
        let mut found = 0;
        let scanned = json_text::for_each_member(&self.0, |name, value| {
            let name = json_text::unescape(name.as_bytes()).unwrap_or_default();
            let wanted = wanted.iter().find(|(wanted, _)| wanted.as_bytes() == &*name);
            found += usize::from(wanted.is_some_and(|(_, json)| is_same_value(value, json)));
        });
        scanned.is_some() && found == wanted.len()
    }

    /// Heap memory in bytes: the text and the two reference counts before it.
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
    /// Indexes of the missing members, in ascending order.
    missing: Box<[u16]>,
}

impl PartialRow {
    /// Wraps a document whose members at the indexes `missing` (ascending) are `null` for "not sent".
    pub fn new(json: &[u8], missing: &[u16]) -> Self {
        Self { row: Row::new(json), missing: missing.into() }
    }

    /// The full row, with the missing values taken from `before`, the row before the change; `None` if that
    /// has no such member.
    pub fn fill(&self, before: &Row) -> Option<Row> {
        let own = json_text::members(self.row.json())?;
        let before: HashMap<&str, &str> = json_text::members(before.json())?.into_iter().collect();
        let mut json = Vec::with_capacity(self.row.json().len() + 256);
        json.push(b'{');
        for (index, (name, value)) in own.into_iter().enumerate() {
            let is_missing =
                u16::try_from(index).is_ok_and(|i| self.missing.binary_search(&i).is_ok());
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(name.as_bytes());
            json.push(b':');
            let value = if is_missing { *before.get(name)? } else { value };
            json.extend_from_slice(value.as_bytes());
        }
        json.push(b'}');
        Some(Row::new(&json))
    }

    /// Heap memory in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.row.heap_bytes() + size_of_val(&*self.missing)
    }
}

/// Whether two JSON texts are one value; two strings are compared by their content.
fn is_same_value(value: &str, wanted: &[u8]) -> bool {
    value.as_bytes() == wanted
        || (value.contains('\\')
            && json_text::unescape(value.as_bytes())
                .is_some_and(|content| Some(content) == json_text::unescape(wanted)))
}

/// What a change leaves of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowAfter {
    /// The complete row.
    Full(Row),
    /// The row without the values that equal those of the row before the change.
    Partial {
        /// The values that were sent.
        row: PartialRow,
        /// The row's key before the change, if that changed too.
        before: Option<Key>,
    },
    /// The row exists, and its values must be read from the database.
    Unresolved,
    /// The row does not exist any more.
    Deleted,
}

impl RowAfter {
    /// Heap memory in bytes.
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
    /// One row was inserted, updated or deleted.
    Upsert {
        /// The row's table.
        table: TableOid,
        /// The row's key after the change.
        key: Key,
        /// The row after the change.
        image: RowAfter,
    },
    /// `TRUNCATE`: the table is empty.
    Truncate(TableOid),
    /// The effect on the table's rows is unknown: they must be read again.
    Invalidate(TableOid),
}

impl RowChange {
    /// The changed table.
    pub fn table(&self) -> TableOid {
        match self {
            Self::Upsert { table, .. } | Self::Truncate(table) | Self::Invalidate(table) => *table,
        }
    }

    /// Memory in bytes, including the heap.
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
    fn missing_values_are_taken_from_the_row_before() {
        let partial = PartialRow::new(br#"{"id":1,"b\u00e4":null,"n":null,"x":2}"#, &[1]);
        let before = row(r#"{"n":5,"b\u00e4":{"a":[1,"}"]},"id":1,"x":1}"#);
        let filled = partial.fill(&before).unwrap();
        assert_eq!(format!("{filled:?}"), r#"{"id":1,"b\u00e4":{"a":[1,"}"]},"n":null,"x":2}"#);
    }

    #[test]
    fn a_row_without_the_member_cannot_fill_it() {
        let partial = PartialRow::new(br#"{"id":1,"big":null}"#, &[1]);
        assert_eq!(partial.fill(&row(r#"{"id":1}"#)), None);
        assert_eq!(partial.fill(&row("[]")), None);
    }
}
