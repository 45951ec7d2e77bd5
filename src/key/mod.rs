//! Keys: the identity of rows.

mod text;

use std::fmt;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use crate::json_bytes;

mod order;
pub use text::KeyPart;

/// The value of a row's replica identity key, as JSON.
///
/// Sixteen bytes, because a version log holds millions: an integer lives inline, anything
/// else behind one pointer. Two keys are equal exactly when their JSON is the same text.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key(Repr);

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Repr {
    /// A single `smallint`, `integer` or `bigint` column.
    Integer(i64),
    /// Any other key, as JSON text: a scalar, or an array in key order for several columns.
    Json(#[serde(with = "json_bytes")] ThinVec<u8>),
}

impl Key {
    /// The key of a table whose single key column is an integer.
    pub fn integer(value: i64) -> Self {
        Self(Repr::Integer(value))
    }

    /// A key from JSON text, which the caller has rendered exactly as `to_jsonb` would.
    pub fn json(text: &[u8]) -> Self {
        Self(Repr::Json(ThinVec::from(text)))
    }

    /// Appends the key's JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Integer(value) => {
                let mut digits = itoa::Buffer::new();
                out.extend_from_slice(digits.format(*value).as_bytes());
            }
            Repr::Json(text) => out.extend_from_slice(text),
        }
    }

    /// Whether it is a single integer, which has only one spelling.
    pub fn is_integer(&self) -> bool {
        matches!(self.0, Repr::Integer(_))
    }

    /// The value of a single integer; `None` for any other key.
    pub fn as_integer(&self) -> Option<i64> {
        match self.0 {
            Repr::Integer(value) => Some(value),
            Repr::Json(_) => None,
        }
    }

    /// Heap memory in bytes.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Integer(_) => 0,
            // ThinVec stores its length and capacity in front of the bytes.
            Repr::Json(text) => text.capacity() + 2 * size_of::<usize>(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write_json(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sixteen_bytes() {
        assert_eq!(size_of::<Key>(), 16);
        assert_eq!(size_of::<Option<Key>>(), 16);
    }

    #[test]
    fn writes_its_json() {
        assert_eq!(format!("{:?}", Key::integer(-7)), "-7");
        assert_eq!(format!("{:?}", Key::json(br#"[1,"a"]"#)), r#"[1,"a"]"#);
    }
}
