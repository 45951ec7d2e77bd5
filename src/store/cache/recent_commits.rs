//! Commits that a new snapshot might not see yet.
//!
//! A commit is in the change stream a moment before snapshots contain it; with a synchronous
//! standby that moment is as long as the standby takes. So a query that begins after a commit was
//! applied can read a row as it was before. Recently applied commits are kept until some snapshot
//! contains them, and a query's snapshot has to contain those that may have changed its rows
//! ([`RequiredXids`]).

use std::collections::VecDeque;

use crate::lsn::Lsn;
use crate::snapshot::{Snapshot, Xid};

/// Commits that are kept one by one. The oldest ones beyond it are merged into one range of
/// transactions: a snapshot has to contain the whole range, although some in it may not have
/// committed.
const COMMITS_MAX: usize = 100_000;

/// Transactions that a snapshot has to contain for its query to be of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct RequiredXids {
    xids: Vec<Xid>,
    /// All transactions from the first to the last.
    range: Option<(Xid, Xid)>,
}

impl RequiredXids {
    pub(in crate::store) fn one(xid: Xid) -> Self {
        Self { xids: vec![xid], range: None }
    }

    pub(in crate::store) fn is_seen_by(&self, snapshot: &Snapshot) -> bool {
        self.xids.iter().all(|xid| snapshot.sees(*xid))
            && self.range.is_none_or(|(first, last)| snapshot.sees_all(first, last))
    }
}

/// The applied commits that no snapshot is known to contain.
#[derive(Debug, Default)]
pub(in crate::store) struct RecentCommits {
    /// In commit order.
    commits: VecDeque<(Lsn, Xid)>,
    /// The merged transactions beyond [`COMMITS_MAX`], from the first to the last.
    range: Option<(Xid, Xid)>,
}

impl RecentCommits {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.range.is_none()
    }

    pub(in crate::store) fn push(&mut self, end: Lsn, xid: Xid) {
        self.commits.push_back((end, xid));
        if self.commits.len() > COMMITS_MAX
            && let Some((_, xid)) = self.commits.pop_front()
        {
            let (first, last) = self.range.unwrap_or((xid, xid));
            self.range = Some((
                if xid.precedes(first) { xid } else { first },
                if last.precedes(xid) { xid } else { last },
            ));
        }
    }

    /// Removes all commits: another history begins, to whose transactions they mean nothing.
    pub(in crate::store) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes the commits that this snapshot contains: every later snapshot contains them, too.
    pub(in crate::store) fn prune(&mut self, snapshot: &Snapshot) {
        self.commits.retain(|(_, xid)| !snapshot.sees(*xid));
        self.range = self.range.filter(|(first, last)| !snapshot.sees_all(*first, *last));
    }

    /// The transactions of every remembered commit.
    pub(in crate::store) fn all(&self) -> RequiredXids {
        self.up_to(Lsn(u64::MAX), None)
    }

    /// The commits up to `floor`, the one that ends at `last`, and the merged range.
    pub(in crate::store) fn up_to(&self, floor: Lsn, last: Option<Lsn>) -> RequiredXids {
        let early = self.commits.iter().take_while(|(end, _)| *end <= floor);
        let mut xids: Vec<Xid> = early.map(|(_, xid)| *xid).collect();
        let last = last.filter(|last| *last > floor);
        let found = last.and_then(|last| {
            let at = self.commits.binary_search_by_key(&last, |(end, _)| *end).ok()?;
            self.commits.get(at)
        });
        xids.extend(found.map(|(_, xid)| *xid));
        RequiredXids { xids, range: self.range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(commits: &[(u64, u32)]) -> RecentCommits {
        let mut recent = RecentCommits::default();
        for (end, xid) in commits {
            recent.push(Lsn(*end), Xid(*xid));
        }
        recent
    }

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn commits_in_a_snapshot_are_pruned() {
        let mut recent = recent(&[(8, 10), (16, 12), (24, 11)]);
        recent.prune(&snapshot("11:13:11"));
        assert_eq!(recent.all().xids, [Xid(11)]);
        recent.prune(&snapshot("13:13:"));
        assert!(recent.is_empty());
    }

    #[test]
    fn commits_below_the_floor_and_the_last_one_are_required() {
        let recent = recent(&[(8, 10), (16, 12), (24, 11), (32, 13)]);
        assert_eq!(recent.up_to(Lsn(8), Some(Lsn(24))).xids, [Xid(10), Xid(11)]);
        assert_eq!(recent.up_to(Lsn(16), Some(Lsn(16))).xids, [Xid(10), Xid(12)]);
        assert_eq!(recent.up_to(Lsn(0), Some(Lsn(20))).xids, []);
    }

    #[test]
    fn commits_beyond_the_limit_are_required_as_a_range() {
        let mut recent = RecentCommits::default();
        let most = u32::try_from(COMMITS_MAX).unwrap();
        for n in 0..most + 2 {
            recent.push(Lsn(u64::from(n) * 8), Xid(100 + n));
        }
        let required = recent.up_to(Lsn(0), None);
        assert!(!required.is_seen_by(&snapshot("101:900000:101")));
        assert!(required.is_seen_by(&snapshot("99:900000:99,102")));
        recent.prune(&snapshot("900000:900000:"));
        assert!(recent.is_empty());
    }
}
