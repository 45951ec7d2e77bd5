//! A store without a server: it receives the events of commits with integer keys.

use std::time::{Duration, Instant};

use anyhow::Context;
use highwater::change::{Change, CommitTime, Event, Op, Started, Transaction};
use highwater::key::Key;
use highwater::lsn::Lsn;
use highwater::metrics::Registry;
use highwater::snapshot::Xid;
use highwater::source_status::{PostmasterId, StreamRequests};
use highwater::store::{
    self, ChangeQuery, Limits, LogLimits, ResourceSelection, Store, StoreMetrics, Writer,
};
use highwater::table::{RowCaching, Table, TableName, TableOid, Tracking};
use highwater::version::{Epoch, Version};

/// Oid of the first table; the others have the following ones.
const TABLE: u32 = 16_384;
const CHANGES_PER_COMMIT: usize = 100;
const COMMITS_PER_BATCH: usize = 50;
/// Changes in the response of each timed poll.
pub(crate) const CHANGES_BEHIND: usize = 10;
/// Polls per timed batch.
const POLLS: u32 = 1000;

/// A store with some tables; ids are distributed round-robin.
pub(crate) struct Filled {
    writer: Writer,
    store: Store,
    /// End of the last commit.
    end: Lsn,
    tables: u32,
}

impl Filled {
    pub(crate) fn open(tables: u32) -> anyhow::Result<Self> {
        let limits =
            LogLimits { max_changes: 1 << 30, max_age: Duration::MAX, max_bytes: usize::MAX };
        let (mut writer, store) = store::open(
            Limits { log: limits, ..Limits::default() },
            StreamRequests::default(),
            StoreMetrics::register(&Registry::default())?,
        );
        let table = |number: u32| Table {
            oid: TableOid(TABLE + number),
            name: TableName::new("public", format!("items_{number}")),
            key_columns: vec!["id".into()],
            tracking: Tracking::Ids,
            rows: RowCaching::Disabled,
            scope: vec![],
        };
        let end = Lsn(8);
        let history = Epoch(1).into();
        let all = (0..tables).map(table).collect();
        let started = Started {
            history,
            server: PostmasterId::default(),
            from: end,
            tables: all,
            broken: None,
        };
        writer.apply(vec![Event::Started(started)]);
        Ok(Self { writer, store, end, tables })
    }

    /// Commits one change for every id of the list, in order.
    pub(crate) fn change_all(&mut self, op: Op, ids: &[u32]) {
        for batch in ids.chunks(CHANGES_PER_COMMIT * COMMITS_PER_BATCH) {
            let commits = batch.chunks(CHANGES_PER_COMMIT);
            let events = commits.map(|ids| self.commit(op, ids)).collect();
            self.writer.apply(events);
        }
    }

    fn commit(&mut self, op: Op, ids: &[u32]) -> Event {
        self.end = Lsn(self.end.0 + 8 * ids.len() as u64);
        let change = |(ordinal, id): (u32, &u32)| Change {
            table: TableOid(TABLE + id % self.tables),
            key: Key::integer((*id).into()),
            op,
            ordinal,
            scope: None,
        };
        Event::Commit(Transaction {
            end_lsn: self.end,
            committed_at: CommitTime::from_timestamp(jiff::Timestamp::now()),
            xid: Xid(0),
            rows: vec![],
            changes: (1..).zip(ids).map(change).collect(),
            resets: Vec::new(),
        })
    }

    /// Changes a few rows and polls for them repeatedly; returns the time of one poll.
    pub(crate) fn time_of_poll(
        &mut self,
        ids: u32,
        numbers: &mut Numbers,
    ) -> anyhow::Result<Duration> {
        let after = self.store.applied();
        let mut changed = Vec::new();
        while changed.len() < CHANGES_BEHIND {
            let id = numbers.below(ids);
            if !changed.contains(&id) {
                changed.push(id);
            }
        }
        self.change_all(Op::Update, &changed);
        self.poll(after)?;
        let started = Instant::now();
        for _ in 0..POLLS {
            self.poll(after)?;
        }
        Ok(started.elapsed() / POLLS)
    }

    fn poll(&self, after: Option<Version>) -> anyhow::Result<()> {
        let query = ChangeQuery { resources: &ResourceSelection::All, after, limit: 1000 };
        let response = std::hint::black_box(self.store.changes(&query)).context("not started")?;
        anyhow::ensure!(
            response.changes.len() == CHANGES_BEHIND,
            "{} changes",
            response.changes.len()
        );
        Ok(())
    }
}

/// Pseudo-random numbers, the same in every run (Marsaglia's xorshift64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half times `end`, divided by 2^32: below `end`, so it fits.
        u32::try_from(((self.0 >> 32) * u64::from(end)) >> 32).unwrap_or_default()
    }
}
