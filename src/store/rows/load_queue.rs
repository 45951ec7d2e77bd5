//! Which keys wait for a query, over all tables.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::recent_commits::RecentCommits;
use crate::key::Key;
use crate::lsn::Lsn;
use crate::snapshot::{Snapshot, Xid};
use crate::table::TableOid;

/// Keys asked for in one query.
pub(super) const KEYS_PER_QUERY: usize = 256;
/// A key whose query was of no use waits so long for the next one, and twice as long each time…
const PAUSE: Duration = Duration::from_millis(5);
/// …but not longer than this.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// After so long without a query the database is asked for a snapshot, so that recent commits can
/// be forgotten.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// The queue, and the commits that queries may not see yet.
#[derive(Debug)]
pub(in crate::store) struct LoadQueue {
    pub(super) recent: RecentCommits,
    queue: VecDeque<(TableOid, Key)>,
    /// Those that have to wait until some time.
    later: Vec<(Instant, TableOid, Key)>,
    /// Number of the last query.
    query: u64,
    last_snapshot: Instant,
}

impl Default for LoadQueue {
    fn default() -> Self {
        Self {
            recent: RecentCommits::default(),
            queue: VecDeque::new(),
            later: Vec::new(),
            query: 0,
            last_snapshot: Instant::now(),
        }
    }
}

impl LoadQueue {
    /// A commit is about to be applied.
    pub(in crate::store) fn note_commit(&mut self, end: Lsn, xid: Xid) {
        self.recent.push(end, xid);
    }

    /// Another history begins.
    pub(in crate::store) fn leave_history(&mut self) {
        self.recent.clear();
    }

    /// Whether a key waits for a worker.
    pub(in crate::store) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Keys that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.later.len()
    }

    pub(super) fn push(&mut self, table: TableOid, key: Key) {
        self.queue.push_back((table, key));
    }

    /// After some tries in vain.
    pub(super) fn push_later(&mut self, table: TableOid, key: Key, tries: u32) {
        let pause = PAUSE.saturating_mul(1 << tries.min(16)).min(PAUSE_MAX);
        self.later.push((Instant::now() + pause, table, key));
    }

    /// A number for the next query.
    pub(super) fn next_query(&mut self) -> u64 {
        self.query += 1;
        self.query
    }

    /// The keys of the next query: those of the table that waits longest.
    pub(super) fn next_keys(&mut self) -> Option<(TableOid, Vec<Key>)> {
        let now = Instant::now();
        let ready = self.later.extract_if(.., |(time, ..)| *time <= now);
        self.queue.extend(ready.map(|(_, table, key)| (table, key)));
        let table = self.queue.front()?.0;
        let mut keys = Vec::new();
        let mut others = VecDeque::new();
        while keys.len() < KEYS_PER_QUERY
            && let Some((other, key)) = self.queue.pop_front()
        {
            if other == table {
                keys.push(key);
            } else {
                others.push_back((other, key));
            }
        }
        others.append(&mut self.queue);
        self.queue = others;
        Some((table, keys))
    }

    /// When there is something to do, if nobody asks for a row before.
    pub(super) fn next_time(&self) -> Option<Instant> {
        let later = self.later.iter().map(|(time, ..)| *time).min();
        let snapshot = (!self.recent.is_empty()).then(|| self.last_snapshot + SNAPSHOT_INTERVAL);
        later.into_iter().chain(snapshot).min()
    }

    /// Whether it is time to ask for a snapshot; whoever is told so does it.
    pub(super) fn takes_snapshot(&mut self) -> bool {
        let is_due = !self.recent.is_empty() && self.last_snapshot.elapsed() >= SNAPSHOT_INTERVAL;
        if is_due {
            self.last_snapshot = Instant::now();
        }
        is_due
    }

    /// A snapshot was obtained.
    pub(super) fn complete(&mut self, snapshot: &Snapshot) {
        self.last_snapshot = Instant::now();
        self.recent.prune(snapshot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_of_one_table_go_together_and_others_are_not_forgotten() {
        let mut loads = LoadQueue::default();
        let [a, b] = [TableOid(1), TableOid(2)];
        for (table, id) in [(a, 1), (b, 2), (a, 3)] {
            loads.push(table, Key::integer(id));
        }
        loads.push_later(b, Key::integer(4), 1);
        let mut next = || loads.next_keys().map(|(table, keys)| format!("{} {keys:?}", table.0));
        assert_eq!(next().as_deref(), Some("1 [1, 3]"));
        assert_eq!(next().as_deref(), Some("2 [2]"));
        assert_eq!(next(), None);
        tokio::time::advance(PAUSE * 2).await;
        assert_eq!(loads.next_keys(), Some((b, vec![Key::integer(4)])));
    }
}
