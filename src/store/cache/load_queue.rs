//! The keys that wait for a query, over all sets.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::recent_commits::RecentCommits;
use crate::lsn::Lsn;
use crate::snapshot::{Snapshot, Xid};

/// Keys in one query.
const KEYS_PER_QUERY: usize = 256;
/// Pause before a key is queued again after a query without a usable result; doubled each time…
const PAUSE: Duration = Duration::from_millis(5);
/// …up to this.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Time without a query after which a snapshot is taken for its own sake, so that recent commits
/// can be pruned.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// The queue of keys to be loaded, each with the set `S` it belongs to, and the commits that
/// queries may not see yet.
#[derive(Debug)]
pub(in crate::store) struct LoadQueue<S, K> {
    pub(in crate::store) recent: RecentCommits,
    queue: VecDeque<(S, K)>,
    /// Keys that are to be queued at some time.
    delayed: Vec<(Instant, S, K)>,
    /// Number of keys above which no request is accepted.
    max_pending: usize,
    last_query: u64,
    last_snapshot: Instant,
}

impl<S: Copy + PartialEq, K> LoadQueue<S, K> {
    /// An empty queue that accepts requests for up to `max_pending` keys.
    pub(in crate::store) fn new(max_pending: usize) -> Self {
        Self {
            recent: RecentCommits::default(),
            queue: VecDeque::new(),
            delayed: Vec::new(),
            max_pending,
            last_query: 0,
            last_snapshot: Instant::now(),
        }
    }

    /// Notes a commit that is about to be applied.
    pub(in crate::store) fn note_commit(&mut self, end: Lsn, xid: Xid) {
        self.recent.push(end, xid);
    }

    /// Forgets the recent commits: another history begins.
    pub(in crate::store) fn leave_history(&mut self) {
        self.recent.clear();
    }

    /// Whether a key waits for a worker.
    pub(in crate::store) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether as many keys wait as may, the delayed ones included.
    pub(in crate::store) fn is_full(&self) -> bool {
        self.queue.len() + self.delayed.len() >= self.max_pending
    }

    pub(in crate::store) fn push(&mut self, set: S, key: K) {
        self.queue.push_back((set, key));
    }

    /// Queues a key after a pause that grows with the queries that had no usable result for it.
    pub(in crate::store) fn push_delayed(&mut self, set: S, key: K, tries: u32) {
        let pause = PAUSE.saturating_mul(1 << tries.min(16)).min(PAUSE_MAX);
        self.delayed.push((Instant::now() + pause, set, key));
    }

    /// A number for the next query, from 1.
    pub(in crate::store) fn next_query(&mut self) -> u64 {
        self.last_query += 1;
        self.last_query
    }

    /// Removes the keys of the next query: those of the set whose key has waited longest.
    pub(in crate::store) fn next_keys(&mut self) -> Option<(S, Vec<K>)> {
        let now = Instant::now();
        let ready = self.delayed.extract_if(.., |(time, ..)| *time <= now);
        self.queue.extend(ready.map(|(_, set, key)| (set, key)));
        let set = self.queue.front()?.0;
        let mut keys = Vec::new();
        let mut others = VecDeque::new();
        while keys.len() < KEYS_PER_QUERY
            && let Some((other, key)) = self.queue.pop_front()
        {
            if other == set {
                keys.push(key);
            } else {
                others.push_back((other, key));
            }
        }
        others.append(&mut self.queue);
        self.queue = others;
        Some((set, keys))
    }

    /// When a delayed key or a snapshot is due; `None` while only new requests bring work.
    pub(in crate::store) fn next_time(&self) -> Option<Instant> {
        let delayed = self.delayed.iter().map(|(time, ..)| *time).min();
        let snapshot = (!self.recent.is_empty()).then(|| self.last_snapshot + SNAPSHOT_INTERVAL);
        delayed.into_iter().chain(snapshot).min()
    }

    /// Returns whether a snapshot is due. The caller takes it: no other one gets the same answer.
    pub(in crate::store) fn claim_snapshot(&mut self) -> bool {
        let is_due = !self.recent.is_empty() && self.last_snapshot.elapsed() >= SNAPSHOT_INTERVAL;
        if is_due {
            self.last_snapshot = Instant::now();
        }
        is_due
    }

    /// Prunes the recent commits by a new snapshot.
    pub(in crate::store) fn complete(&mut self, snapshot: &Snapshot) {
        self.last_snapshot = Instant::now();
        self.recent.prune(snapshot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::table::TableOid;

    #[tokio::test(start_paused = true)]
    async fn keys_of_one_set_share_a_query_and_the_others_keep_their_turn() {
        let mut queue = LoadQueue::new(10);
        let [a, b] = [TableOid(1), TableOid(2)];
        for (table, id) in [(a, 1), (b, 2), (a, 3)] {
            queue.push(table, Key::integer(id));
        }
        queue.push_delayed(b, Key::integer(4), 1);
        let mut next = || queue.next_keys().map(|(set, keys)| format!("{} {keys:?}", set.0));
        assert_eq!(next().as_deref(), Some("1 [1, 3]"));
        assert_eq!(next().as_deref(), Some("2 [2]"));
        assert_eq!(next(), None);
        tokio::time::advance(PAUSE * 2).await;
        assert_eq!(queue.next_keys(), Some((b, vec![Key::integer(4)])));
    }
}
