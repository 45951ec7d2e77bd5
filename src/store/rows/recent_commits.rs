//! Commits that a new snapshot might not see yet.
//!
//! A commit is in the change stream a moment before snapshots see it; with a synchronous standby
//! that moment is as long as the standby takes. So a load that begins after a commit was applied
//! can read the row as it was before. The commits applied lately are remembered until some
//! snapshot saw them, and a load has to see those that may have touched its row ([`RequiredXids`]).

use std::collections::VecDeque;

use crate::lsn::Lsn;
use crate::snapshot::{Snapshot, Xid};

/// Commits that are told apart. The oldest ones beyond it are remembered as one range of
/// transactions: a snapshot has to see the whole range, although some in it may not have committed.
const COMMITS_MAX: usize = 100_000;

/// What a snapshot has to see before it is of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequiredXids {
    xids: Vec<Xid>,
    /// All from the first to the last.
    range: Option<(Xid, Xid)>,
}

impl RequiredXids {
    /// One transaction.
    pub(super) fn one(xid: Xid) -> Self {
        Self { xids: vec![xid], range: None }
    }

    pub(super) fn is_seen_by(&self, snapshot: &Snapshot) -> bool {
        self.xids.iter().all(|xid| snapshot.sees(*xid))
            && self.range.is_none_or(|(first, last)| snapshot.sees_all(first, last))
    }
}

/// The commits applied since some snapshot saw everything.
#[derive(Debug, Default)]
pub(super) struct RecentCommits {
    /// In commit order.
    commits: VecDeque<(Lsn, Xid)>,
    /// Those that are told apart no longer.
    range: Option<(Xid, Xid)>,
}

impl RecentCommits {
    pub(super) fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.range.is_none()
    }

    pub(super) fn push(&mut self, end: Lsn, xid: Xid) {
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

    /// Another history: its transactions have nothing to do with these.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what later snapshots see, too.
    pub(super) fn prune(&mut self, snapshot: &Snapshot) {
        self.commits.retain(|(_, xid)| !snapshot.sees(*xid));
        self.range = self.range.filter(|(first, last)| !snapshot.sees_all(*first, *last));
    }

    /// All of them.
    pub(super) fn all(&self) -> RequiredXids {
        self.up_to(Lsn(u64::MAX), None)
    }

    /// Those up to `floor`, and the one that ends at `last`.
    pub(super) fn up_to(&self, floor: Lsn, last: Option<Lsn>) -> RequiredXids {
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
    fn what_a_snapshot_saw_is_forgotten() {
        let mut recent = recent(&[(8, 10), (16, 12), (24, 11)]);
        recent.prune(&snapshot("11:13:11"));
        assert_eq!(recent.all().xids, [Xid(11)]);
        recent.prune(&snapshot("13:13:"));
        assert!(recent.is_empty());
    }

    #[test]
    fn due_are_those_below_the_floor_and_the_last_one() {
        let recent = recent(&[(8, 10), (16, 12), (24, 11), (32, 13)]);
        assert_eq!(recent.up_to(Lsn(8), Some(Lsn(24))).xids, [Xid(10), Xid(11)]);
        assert_eq!(recent.up_to(Lsn(16), Some(Lsn(16))).xids, [Xid(10), Xid(12)]);
        assert_eq!(recent.up_to(Lsn(0), Some(Lsn(20))).xids, []);
    }

    #[test]
    fn beyond_the_limit_a_whole_range_is_due() {
        let mut recent = RecentCommits::default();
        let most = u32::try_from(COMMITS_MAX).unwrap();
        for n in 0..most + 2 {
            recent.push(Lsn(u64::from(n) * 8), Xid(100 + n));
        }
        let due = recent.up_to(Lsn(0), None);
        assert!(!due.is_seen_by(&snapshot("101:900000:101")));
        assert!(due.is_seen_by(&snapshot("99:900000:99,102")));
        recent.prune(&snapshot("900000:900000:"));
        assert!(recent.is_empty());
    }
}
