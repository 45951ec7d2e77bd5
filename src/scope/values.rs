//! The values of a row's scope columns, and of subsets of these columns.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json_bytes;
use crate::json_text;

/// Scope columns of one table at most: for every combination of them the table's changes are
/// remembered once more. A table with more is refused.
pub const SCOPE_COLUMNS_MAX: usize = 3;

/// A subset of a table's scope columns: a bit for each, in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeColumnSet(u8);

impl ScopeColumnSet {
    /// Every nonempty subset of that many columns.
    pub fn all(columns: usize) -> impl Iterator<Item = Self> {
        (1..1_u8 << columns.min(SCOPE_COLUMNS_MAX)).map(Self)
    }

    /// The columns at these indexes.
    pub fn of(indexes: impl IntoIterator<Item = usize>) -> Self {
        Self(indexes.into_iter().fold(0, |bits, index| bits | 1 << index))
    }

    fn has(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }
}

/// The values of some scope columns, in the table's order, as a JSON array.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScopeValues(#[serde(with = "json_bytes")] Box<[u8]>);

impl ScopeValues {
    /// Wraps a JSON array whose values are rendered as in the change stream.
    pub fn json(text: &[u8]) -> Self {
        Self(text.into())
    }

    /// The values of a subset, given that `self` has the values of all scope columns.
    #[must_use]
    pub fn picked(&self, columns: ScopeColumnSet) -> Self {
        let all = json_text::elements(&self.0).unwrap_or_default();
        if ScopeColumnSet::all(all.len()).last() == Some(columns) {
            return self.clone();
        }
        let picked = all.into_iter().enumerate().filter(|(index, _)| columns.has(*index));
        Self::of(picked.map(|(_, value)| value.as_bytes()))
    }

    /// Builds the array of these values.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut json = vec![b'['];
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(value);
        }
        json.push(b']');
        Self(json.into())
    }

    /// Heap memory in bytes.
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
    fn picked_values_are_those_of_the_subset() {
        let values = ScopeValues::json(br#"[5,"a,]\"b",null]"#);
        let picked = |indexes: &[usize]| {
            format!("{:?}", values.picked(ScopeColumnSet::of(indexes.iter().copied())))
        };
        assert_eq!(picked(&[0]), "[5]");
        assert_eq!(picked(&[1, 2]), r#"["a,]\"b",null]"#);
        assert_eq!(picked(&[0, 1, 2]), format!("{values:?}"));
        assert_eq!(ScopeColumnSet::all(2).count(), 3);
        assert_eq!(ScopeColumnSet::all(0).count(), 0);
    }
}
