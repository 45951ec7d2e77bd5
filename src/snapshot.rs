//! Snapshots: which transactions a query sees.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A transaction id as the change stream carries it: 32 bits, so it repeats after four billion.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Xid(pub u32);

impl Xid {
    /// Whether it was assigned before `other`, also across the wraparound.
    pub fn precedes(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A query's snapshot, as `pg_current_snapshot()` prints it: `xmin:xmax:xip,…`.
///
/// Source: PostgreSQL manual, "Transaction ID and Snapshot Information Functions".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction below it had ended.
    xmin: u64,
    /// It and every transaction above it had not started.
    xmax: u64,
    /// The transactions in between that had not ended, in ascending order.
    in_progress: Box<[u64]>,
}

impl Snapshot {
    /// Whether the query saw a transaction, given that it committed.
    ///
    /// The 32 bits of the stream mean the transaction nearest to the snapshot: transactions two billion apart
    /// never exist at the same time.
    pub fn sees(&self, xid: Xid) -> bool {
        let full = self.full(xid);
        full < self.xmax && (full < self.xmin || self.in_progress.binary_search(&full).is_err())
    }

    /// Whether the query saw every committed transaction from `first` to `last`.
    pub fn sees_all(&self, first: Xid, last: Xid) -> bool {
        let (first, last) = (self.full(first), self.full(last));
        let after = self.in_progress.partition_point(|xid| *xid < first);
        last < self.xmax && self.in_progress.get(after).is_none_or(|xid| *xid > last)
    }

    /// Whether any transaction was in progress, which may have written already.
    pub fn has_open(&self) -> bool {
        !self.in_progress.is_empty()
    }

    /// Whether every transaction in progress in `earlier` has ended.
    pub fn ended_all_of(&self, earlier: &Self) -> bool {
        let is_open = |xid: &u64| *xid >= self.xmax || self.in_progress.binary_search(xid).is_ok();
        !earlier.in_progress.iter().any(is_open)
    }

    fn full(&self, xid: Xid) -> u64 {
        let near = self.xmax;
        #[expect(clippy::cast_possible_truncation, reason = "only the low half is compared")]
        let distance = xid.0.wrapping_sub(near as u32).cast_signed();
        near.wrapping_add_signed(i64::from(distance))
    }
}

/// The error for a text that is not a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot as pg_current_snapshot() prints it")]
pub struct ParseSnapshotError;

impl FromStr for Snapshot {
    type Err = ParseSnapshotError;

    fn from_str(text: &str) -> Result<Self, ParseSnapshotError> {
        let mut parts = text.splitn(3, ':');
        let mut next = || parts.next().ok_or(ParseSnapshotError);
        let (xmin, xmax, list) = (xid(next()?)?, xid(next()?)?, next()?);
        let mut in_progress = list
            .split(',')
            .filter(|text| !text.is_empty())
            .map(xid)
            .collect::<Result<Box<[u64]>, _>>()?;
        in_progress.sort_unstable();
        Ok(Self { xmin, xmax, in_progress })
    }
}

fn xid(text: &str) -> Result<u64, ParseSnapshotError> {
    text.parse().map_err(|_| ParseSnapshotError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(snapshot: &str, xid: u32) -> bool {
        snapshot.parse::<Snapshot>().unwrap().sees(Xid(xid))
    }

    #[test]
    fn only_ended_transactions_are_visible() {
        for (xid, seen) in
            [(9, true), (10, false), (11, true), (12, false), (13, true), (14, false)]
        {
            assert_eq!(sees("10:14:10,12", xid), seen, "{xid}");
        }
        assert!(sees("10:10:", 9));
        assert!(!sees("10:10:", 10));
    }

    #[test]
    fn ids_wrap_around() {
        // Shortly before and after the wraparound.
        let snapshot = "4294967290:4294967300:4294967295";
        for (xid, seen) in
            [(4_294_967_289, true), (u32::MAX, false), (0, true), (3, true), (4, false)]
        {
            assert_eq!(sees(snapshot, xid), seen, "{xid}");
        }
    }

    #[test]
    fn a_range_is_visible_when_no_part_of_it_was_in_progress() {
        let snapshot: Snapshot = "10:20:10,15".parse().unwrap();
        for (first, last, seen) in [
            (1, 9, true),
            (11, 14, true),
            (16, 19, true),
            (9, 10, false),
            (12, 16, false),
            (17, 20, false),
        ] {
            assert_eq!(snapshot.sees_all(Xid(first), Xid(last)), seen, "{first} to {last}");
        }
    }

    #[test]
    fn a_later_snapshot_shows_which_transactions_have_ended() {
        let snapshot = |text: &str| text.parse::<Snapshot>().unwrap();
        let earlier = snapshot("10:20:10,15");
        for (later, ended) in
            [("10:20:10,15", false), ("15:30:15,22", false), ("16:30:22", true), ("9:12:9", false)]
        {
            assert_eq!(snapshot(later).ended_all_of(&earlier), ended, "{later}");
        }
        assert!(earlier.has_open() && !snapshot("20:20:").has_open());
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x", "1:2:3:4"] {
            assert_eq!(text.parse::<Snapshot>(), Err(ParseSnapshotError), "{text}");
        }
    }
}
