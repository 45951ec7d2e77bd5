//! The changes to one key while its value is being loaded.
//!
//! For one key the order in which transactions become visible is the order of their commits: a
//! row's lock is released only after the transaction became visible. So the changes that a
//! snapshot contains are a prefix of the list. That keeps the lists short: a change that does not
//! need the value before replaces everything before it. If the snapshot does not contain it, it is
//! the result; if the snapshot contains it, the loaded value is at least as new.

use super::{Presence, SetValue, ValueChange};
use crate::snapshot::{Snapshot, Xid};

/// Changes in one list; all but the first need the value before. With one more, the list collapses
/// to [`ValueChange::INVALIDATE`] and the value has to be loaded again.
const CHANGES_MAX: usize = 8;

/// The changes to one key, in commit order.
#[derive(Debug)]
pub(in crate::store) struct PendingChanges<V: SetValue>(Vec<(Xid, V::Change)>);

impl<V: SetValue> Default for PendingChanges<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: SetValue> PendingChanges<V> {
    pub(in crate::store) fn push(&mut self, xid: Xid, change: V::Change) {
        let is_full = self.0.len() == CHANGES_MAX;
        let change =
            if is_full && change.needs_previous() { V::Change::INVALIDATE } else { change };
        if !change.needs_previous() {
            self.0.clear();
        }
        self.0.push((xid, change));
    }

    /// The value after all changes, given the value in `snapshot`.
    pub(in crate::store) fn resolve(
        &self,
        loaded: Presence<V>,
        snapshot: &Snapshot,
    ) -> Presence<V> {
        let contained = self.0.iter().take_while(|(xid, _)| snapshot.sees(*xid)).count();
        self.0.iter().skip(contained).fold(loaded, |value, (_, change)| change.apply(value))
    }

    /// The last transaction. A snapshot that contains it contains all changes.
    pub(in crate::store) fn last(&self) -> Option<Xid> {
        self.0.last().map(|(xid, _)| *xid)
    }

    /// Memory in bytes, the list itself included.
    pub(in crate::store) fn bytes(&self) -> usize {
        let changes: usize = self.0.iter().map(|(_, change)| change.heap_bytes()).sum();
        size_of::<Self>() + self.0.capacity() * size_of::<(Xid, V::Change)>() + changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{PartialRow, Row, RowAfter};

    fn row(json: &str) -> Row {
        Row::new(json.as_bytes())
    }

    fn partial(json: &str, missing: u16) -> RowAfter {
        RowAfter::Partial { row: PartialRow::new(json.as_bytes(), &[missing]), before: None }
    }

    fn loaded() -> Presence<Row> {
        Presence::Present(row(r#"{"id":1,"a":1,"big":"b"}"#))
    }

    fn resolved(changes: Vec<(u32, RowAfter)>, snapshot: &str) -> Presence<Row> {
        let mut pending = PendingChanges::default();
        for (xid, change) in changes {
            pending.push(Xid(xid), change);
        }
        pending.resolve(loaded(), &snapshot.parse().unwrap())
    }

    #[test]
    fn changes_in_the_snapshot_are_skipped_and_the_others_applied() {
        let changes = || {
            vec![
                (10, partial(r#"{"id":1,"a":2,"big":null}"#, 2)),
                (11, partial(r#"{"id":1,"a":3,"big":null}"#, 2)),
            ]
        };
        assert_eq!(resolved(changes(), "12:12:"), loaded());
        let last = Presence::Present(row(r#"{"id":1,"a":3,"big":"b"}"#));
        assert_eq!(resolved(changes(), "10:12:11"), last);
        assert_eq!(resolved(changes(), "10:10:"), last);
    }

    #[test]
    fn a_full_row_or_a_delete_replaces_earlier_changes() {
        let new = row(r#"{"id":1}"#);
        let changes = || vec![(10, RowAfter::Unresolved), (11, RowAfter::Full(new.clone()))];
        assert_eq!(resolved(changes(), "10:10:"), Presence::Present(new.clone()));
        assert_eq!(resolved(changes(), "11:12:11"), Presence::Present(new.clone()));
        assert_eq!(resolved(changes(), "12:12:"), loaded());
        let changes = vec![(10, RowAfter::Full(new)), (11, RowAfter::Deleted)];
        assert_eq!(resolved(changes, "10:10:"), Presence::Absent);
    }

    #[test]
    fn values_neither_sent_nor_loaded_are_unknown() {
        let changes = vec![(10, RowAfter::Deleted), (11, partial(r#"{"id":1,"big":null}"#, 1))];
        assert_eq!(resolved(changes, "10:10:"), Presence::Unknown);
        assert_eq!(resolved(vec![(10, RowAfter::Unresolved)], "10:10:"), Presence::Unknown);
    }

    #[test]
    fn a_list_beyond_its_limit_makes_the_row_unknown() {
        let many = |count| (0..count).map(|n| (10 + n, partial(r#"{"id":1,"a":2,"big":null}"#, 2)));
        let most = u32::try_from(CHANGES_MAX).unwrap();
        let full = resolved(many(most).collect(), "10:10:");
        assert_eq!(full, Presence::Present(row(r#"{"id":1,"a":2,"big":"b"}"#)));
        assert_eq!(resolved(many(most + 1).collect(), "10:10:"), Presence::Unknown);
        // A snapshot that contains the dropped changes has them in the loaded row.
        assert_eq!(resolved(many(most + 1).collect(), "30:30:"), loaded());
    }
}
