//! Vocabulary of the store's tests: tables, commits, polls.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Registry;
use jiff::Timestamp;

use crate::change::{Change, CommitTime, Event, Op, Reset, ResetReason, Started, Transaction};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::store::{
    ChangeQuery, ChangeSet, Limits, LogLimits, Resource, ResourceSelection, Store, StoreMetrics,
    Writer, open,
};

use crate::snapshot::Xid;
use crate::source_status::{PostmasterId, StreamRequests};
use crate::table::{RowCaching, Table, TableName, TableOid, Tracking};
use crate::version::{Epoch, Position, Version};

pub(in crate::store) const EPOCH: Epoch = Epoch(7);

pub(in crate::store) const GENEROUS: LogLimits =
    LogLimits { max_changes: 1_000_000, max_age: Duration::from_hours(24), max_bytes: 1 << 30 };

pub(in crate::store) fn table(oid: u32, name: &str) -> Table {
    Table {
        oid: TableOid(oid),
        name: TableName::new("public", name),
        key_columns: vec!["id".into()],
        tracking: Tracking::Ids,
        rows: RowCaching::Disabled,
        scope: vec![],
    }
}

pub(in crate::store) fn started(
    from: u64,
    tables: Vec<Table>,
    broken: Option<ResetReason>,
) -> Event {
    Event::Started(Started {
        history: EPOCH.into(),
        server: PostmasterId::default(),
        from: Lsn(from),
        tables,
        broken,
    })
}

pub(in crate::store) fn reset(table: u32, reason: ResetReason) -> Reset {
    Reset { table: TableOid(table), reason }
}

/// A commit that ends at `lsn`, with its changes as (table, id, operation), and its resets.
pub(in crate::store) fn commit_with(
    lsn: u64,
    changes: &[(u32, i64, Op)],
    resets: Vec<Reset>,
) -> Event {
    let changes = changes.iter().zip(1..).map(|(&(table, id, op), ordinal)| Change {
        table: TableOid(table),
        key: Key::integer(id),
        op,
        ordinal,
        scope: None,
    });
    Event::Commit(Transaction {
        end_lsn: Lsn(lsn),
        committed_at: now(),
        xid: Xid(0),
        rows: vec![],
        changes: changes.collect(),
        resets,
    })
}

pub(in crate::store) fn commit(lsn: u64, changes: &[(u32, i64, Op)]) -> Event {
    commit_with(lsn, changes, vec![])
}

pub(in crate::store) fn now() -> CommitTime {
    CommitTime::from_timestamp(Timestamp::now())
}

/// The version after everything up to `lsn`.
pub(in crate::store) fn at(lsn: u64) -> Version {
    Version { epoch: EPOCH, position: Position::after_commit(Lsn(lsn)) }
}

/// A store with its writer and metrics.
pub(in crate::store) struct Harness {
    pub(in crate::store) writer: Writer,
    pub(in crate::store) store: Store,
    pub(in crate::store) metrics: StoreMetrics,
}

impl Harness {
    pub(in crate::store) fn new(limits: LogLimits) -> Self {
        Self::with_limits(Limits { log: limits, ..Limits::default() })
    }

    pub(in crate::store) fn with_limits(limits: Limits) -> Self {
        let metrics = StoreMetrics::register(&Registry::default()).unwrap();
        let (writer, store) = open(limits, StreamRequests::default(), metrics.clone());
        Self { writer, store, metrics }
    }

    /// Tables 1 `a`, 2 `b` and 3 `c`, from position 800 on.
    pub(in crate::store) fn started() -> Self {
        Self::started_with(GENEROUS)
    }

    pub(in crate::store) fn started_with(limits: LogLimits) -> Self {
        let mut harness = Self::new(limits);
        harness.take(started(800, abc(), None));
        harness
    }

    pub(in crate::store) fn take(&mut self, event: Event) {
        self.writer.apply(vec![event]);
    }

    pub(in crate::store) fn selection(&self, names: &[&str]) -> ResourceSelection {
        let directory = self.store.directory();
        ResourceSelection::unscoped(
            names.iter().map(|name| directory.resolve(name).unwrap().clone()),
        )
    }

    pub(in crate::store) fn poll(
        &self,
        names: &[&str],
        after: impl Into<Option<Version>>,
    ) -> ChangeSet {
        self.poll_limited(names, after, 1000)
    }

    pub(in crate::store) fn poll_limited(
        &self,
        names: &[&str],
        after: impl Into<Option<Version>>,
        limit: usize,
    ) -> ChangeSet {
        let tables = self.selection(names);
        self.store.changes(&ChangeQuery { resources: &tables, after: after.into(), limit }).unwrap()
    }

    pub(in crate::store) fn poll_all(&self, after: impl Into<Option<Version>>) -> ChangeSet {
        let query =
            ChangeQuery { resources: &ResourceSelection::All, after: after.into(), limit: 1000 };
        self.store.changes(&query).unwrap()
    }
}

pub(in crate::store) fn abc() -> Vec<Table> {
    vec![table(1, "a"), table(2, "b"), table(3, "c")]
}

/// A change set in short notation: `a1+ b2~ c3-`, resets first as `!a`.
pub(in crate::store) fn summary(answer: &ChangeSet) -> String {
    let resets = answer.reset.iter().map(|table: &Arc<Resource>| format!("!{}", table.name));
    let changes = answer.changes.iter().map(|change| {
        let sign = match change.op {
            Op::Insert => '+',
            Op::Update => '~',
            Op::Delete => '-',
        };
        format!("{}{:?}{sign}", change.resource.name, change.key)
    });
    resets.chain(changes).collect::<Vec<_>>().join(" ")
}
