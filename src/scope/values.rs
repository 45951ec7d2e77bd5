//! The values of scope columns: those of a row, and those of some of the columns.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json_bytes;

/// Scope columns of one table at most: for every combination of them the table's changes are
/// remembered once more. A table with more is refused.
pub const SCOPE_COLUMNS_MAX: usize = 3;

/// Which of a table's scope columns: a bit for each, in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeColumnSet(u8);

impl ScopeColumnSet {
    /// Every combination of at least one of so many columns.
    pub fn all(columns: usize) -> impl Iterator<Item = Self> {
        (1..1_u8 << columns.min(SCOPE_COLUMNS_MAX)).map(Self)
    }

    /// Those at these places.
    pub fn of(places: impl IntoIterator<Item = usize>) -> Self {
        Self(places.into_iter().fold(0, |bits, place| bits | 1 << place))
    }

    fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }
}

/// The values of some scope columns, in the table's order, as a JSON array.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScopeValues(#[serde(with = "json_bytes")] Box<[u8]>);

impl ScopeValues {
    /// Given as JSON text, written as the change stream writes values.
    pub fn json(text: &[u8]) -> Self {
        Self(text.into())
    }

    /// Of the values of all scope columns, those of some.
    #[must_use]
    pub fn picked(&self, columns: ScopeColumnSet) -> Self {
        let all: Vec<&RawValue> = serde_json::from_slice(&self.0).unwrap_or_default();
        if ScopeColumnSet::all(all.len()).last() == Some(columns) {
            return self.clone();
        }
        let picked = all.into_iter().enumerate().filter(|(place, _)| columns.has(*place));
        Self::of(picked.map(|(_, value)| value.get().as_bytes()))
    }

    /// The array of these values.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut json = vec![b'['];
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            json.extend_from_slice(value);
        }
        json.push(b']');
        Self(json.into())
    }

    /// Bytes it occupies outside of its handle.
    pub fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for ScopeValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_the_values_are_those_of_the_columns_meant() {
        let values = ScopeValues::json(br#"[5,"a,]\"b",null]"#);
        let picked = |places: &[usize]| {
            format!("{:?}", values.picked(ScopeColumnSet::of(places.iter().copied())))
        };
        assert_eq!(picked(&[0]), "[5]");
        assert_eq!(picked(&[1, 2]), r#"["a,]\"b",null]"#);
        assert_eq!(picked(&[0, 1, 2]), format!("{values:?}"));
        assert_eq!(ScopeColumnSet::all(2).count(), 3);
        assert_eq!(ScopeColumnSet::all(0).count(), 0);
    }
}
