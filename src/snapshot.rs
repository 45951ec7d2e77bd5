//! Which transactions a query could see.

use std::fmt;
use std::str::FromStr;

/// A transaction id as the change stream carries it: 32 bits, so it repeats after four billion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(pub u32);

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
    /// Everything before it had ended.
    xmin: u64,
    /// It and everything after it had not.
    xmax: u64,
    /// What lies between and had not ended, in rising order.
    in_progress: Box<[u64]>,
}

impl Snapshot {
    /// Whether a transaction that committed is contained in what the query read.
    ///
    /// The stream's 32 bits name the transaction nearest to the snapshot: transactions two billion
    /// apart are never alive together.
    pub fn sees(&self, xid: Xid) -> bool {
        let near = self.xmax;
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
        let distance = xid.0.wrapping_sub(near as u32).cast_signed();
        let full = near.wrapping_add_signed(i64::from(distance));
        full < self.xmax && (full < self.xmin || self.in_progress.binary_search(&full).is_err())
    }
}

/// The text was not a snapshot.
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
    fn what_had_ended_is_seen_and_what_had_not_is_not() {
        for (xid, seen) in
            [(9, true), (10, false), (11, true), (12, false), (13, true), (14, false)]
        {
            assert_eq!(sees("10:14:10,12", xid), seen, "{xid}");
        }
        assert!(sees("10:10:", 9));
        assert!(!sees("10:10:", 10));
    }

    #[test]
    fn ids_go_round_after_four_billion() {
        // One epoch on, a little behind and ahead of the turn.
        let snapshot = "4294967290:4294967300:4294967295";
        for (xid, seen) in
            [(4_294_967_289, true), (u32::MAX, false), (0, true), (3, true), (4, false)]
        {
            assert_eq!(sees(snapshot, xid), seen, "{xid}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x", "1:2:3:4"] {
            assert_eq!(text.parse::<Snapshot>(), Err(ParseSnapshotError), "{text}");
        }
    }
}
