//! Rows as values of a cached set.

use crate::key::Key;
use crate::row::{Row, RowAfter};
use crate::store::cache::{LoadFailure, Presence, SetKey, SetValue, ValueChange};
use crate::store::rows::RowsError;

impl SetKey for Key {
    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

impl SetValue for Row {
    type Change = RowAfter;
    type Error = RowsError;

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

impl ValueChange<Row> for RowAfter {
    const INVALIDATE: Self = Self::Unresolved;
    const DELETE: Self = Self::Deleted;

    fn needs_previous(&self) -> bool {
        matches!(self, Self::Partial { .. })
    }

    fn apply(&self, before: Presence<Row>) -> Presence<Row> {
        match (self, before) {
            (Self::Full(row), _) => Presence::Present(row.clone()),
            (Self::Deleted, _) => Presence::Absent,
            (Self::Partial { row, .. }, Presence::Present(before)) => {
                row.fill(&before).map_or(Presence::Unknown, Presence::Present)
            }
            (Self::Partial { .. } | Self::Unresolved, _) => Presence::Unknown,
        }
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

impl LoadFailure for RowsError {
    fn is_of_one_key(&self) -> bool {
        matches!(self, Self::Unencodable(_))
    }
}
