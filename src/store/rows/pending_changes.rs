//! What happened to one key while a row was on its way from the database.
//!
//! For one key the order in which transactions become visible is the order of their commits: a
//! row's lock is released only after the transaction became visible. So the changes that a
//! snapshot contains are the first ones of a chain. That keeps chains short: a change that says
//! all there is to know replaces everything before it. If it is not contained in the loaded row,
//! it is the answer; if it is, the loaded row is at least as new.

use crate::row::{Row, RowAfter};
use crate::snapshot::{Snapshot, Xid};

/// Changes that a chain holds; they can only be partial ones behind the first. With one more it
/// forgets them all and the row has to be asked for again.
const CHANGES_MAX: usize = 8;

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RowState {
    /// This row.
    Row(Row),
    /// No row.
    Absent,
    /// The database has to be asked.
    Unknown,
}

impl RowState {
    pub(super) fn of(row: Option<Row>) -> Self {
        row.map_or(Self::Absent, Self::Row)
    }

    /// What is known, or else what another place knows.
    pub(super) fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Unknown => other(),
            known => known,
        }
    }

    /// The row; `None` when there is none or nothing is known.
    pub(super) fn row(self) -> Option<Row> {
        match self {
            Self::Row(row) => Some(row),
            Self::Absent | Self::Unknown => None,
        }
    }

    /// What stands there after a change.
    pub(super) fn apply(self, image: &RowAfter) -> Self {
        match (image, self) {
            (RowAfter::Full(row), _) => Self::Row(row.clone()),
            (RowAfter::Deleted, _) => Self::Absent,
            (RowAfter::Partial { row, .. }, Self::Row(before)) => {
                row.fill(&before).map_or(Self::Unknown, Self::Row)
            }
            (RowAfter::Partial { .. } | RowAfter::Unresolved, _) => Self::Unknown,
        }
    }
}

/// The changes to one key, in commit order.
#[derive(Debug, Default)]
pub(super) struct PendingChanges(Vec<(Xid, RowAfter)>);

impl PendingChanges {
    pub(super) fn push(&mut self, xid: Xid, image: RowAfter) {
        let is_full = self.0.len() == CHANGES_MAX;
        let image = match image {
            RowAfter::Partial { .. } if is_full => RowAfter::Unresolved,
            image => image,
        };
        if !matches!(image, RowAfter::Partial { .. }) {
            self.0.clear();
        }
        self.0.push((xid, image));
    }

    /// What stands there now, given what stood there in `snapshot`.
    pub(super) fn resolve(&self, loaded: RowState, snapshot: &Snapshot) -> RowState {
        let seen = self.0.iter().take_while(|(xid, _)| snapshot.sees(*xid)).count();
        self.0.iter().skip(seen).fold(loaded, |standing, (_, image)| standing.apply(image))
    }

    /// The last transaction. A snapshot that sees it contains all changes.
    pub(super) fn last(&self) -> Option<Xid> {
        self.0.last().map(|(xid, _)| *xid)
    }

    /// Memory it occupies, itself included.
    pub(super) fn bytes(&self) -> usize {
        let images: usize = self.0.iter().map(|(_, image)| image.heap_bytes()).sum();
        size_of::<Self>() + self.0.capacity() * size_of::<(Xid, RowAfter)>() + images
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::PartialRow;

    fn row(json: &str) -> Row {
        Row::new(json.as_bytes())
    }

    fn partial(json: &str, missing: u16) -> RowAfter {
        RowAfter::Partial { row: PartialRow::new(json.as_bytes(), &[missing]), before: None }
    }

    fn loaded() -> RowState {
        RowState::Row(row(r#"{"id":1,"a":1,"big":"b"}"#))
    }

    fn resolved(changes: Vec<(u32, RowAfter)>, snapshot: &str) -> RowState {
        let mut chain = PendingChanges::default();
        for (xid, image) in changes {
            chain.push(Xid(xid), image);
        }
        chain.resolve(loaded(), &snapshot.parse().unwrap())
    }

    #[test]
    fn what_the_snapshot_contains_is_skipped_and_the_rest_applied() {
        let changes = || {
            vec![
                (10, partial(r#"{"id":1,"a":2,"big":null}"#, 2)),
                (11, partial(r#"{"id":1,"a":3,"big":null}"#, 2)),
            ]
        };
        assert_eq!(resolved(changes(), "12:12:"), loaded());
        let last = RowState::Row(row(r#"{"id":1,"a":3,"big":"b"}"#));
        assert_eq!(resolved(changes(), "10:12:11"), last);
        assert_eq!(resolved(changes(), "10:10:"), last);
    }

    #[test]
    fn a_whole_row_or_its_end_replaces_what_was_before() {
        let new = row(r#"{"id":1}"#);
        let changes = || vec![(10, RowAfter::Unresolved), (11, RowAfter::Full(new.clone()))];
        assert_eq!(resolved(changes(), "10:10:"), RowState::Row(new.clone()));
        assert_eq!(resolved(changes(), "11:12:11"), RowState::Row(new.clone()));
        assert_eq!(resolved(changes(), "12:12:"), loaded());
        let changes = vec![(10, RowAfter::Full(new)), (11, RowAfter::Deleted)];
        assert_eq!(resolved(changes, "10:10:"), RowState::Absent);
    }

    #[test]
    fn what_is_not_sent_and_not_loaded_is_unknown() {
        let changes = vec![(10, RowAfter::Deleted), (11, partial(r#"{"id":1,"big":null}"#, 1))];
        assert_eq!(resolved(changes, "10:10:"), RowState::Unknown);
        assert_eq!(resolved(vec![(10, RowAfter::Unresolved)], "10:10:"), RowState::Unknown);
    }

    #[test]
    fn beyond_its_limit_a_chain_forgets_and_the_row_is_unknown() {
        let many = |count| (0..count).map(|n| (10 + n, partial(r#"{"id":1,"a":2,"big":null}"#, 2)));
        let most = u32::try_from(CHANGES_MAX).unwrap();
        let full = resolved(many(most).collect(), "10:10:");
        assert_eq!(full, RowState::Row(row(r#"{"id":1,"a":2,"big":"b"}"#)));
        assert_eq!(resolved(many(most + 1).collect(), "10:10:"), RowState::Unknown);
        // Seen, the forgotten ones are in the row.
        assert_eq!(resolved(many(most + 1).collect(), "30:30:"), loaded());
    }
}
