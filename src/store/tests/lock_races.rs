//! One writer and several readers at once: no change set shows half a commit, and none loses one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::harness::*;
use crate::change::{Event, Op, ResetReason};
use crate::lsn::Lsn;
use crate::store::{ChangeQuery, ResourceSelection, Store};
use crate::version::{Position, Version};

const COMMITS: u64 = 5_900;
/// Interval, in commits, between truncations of both tables.
const TRUNCATED: u64 = 500;
const IDS: u64 = 300;

/// The n-th commit: the same three ids in table `a` and in `b`; or a truncation of both.
fn nth(n: u64) -> Event {
    let id = |k: u64| i64::try_from((n * 7 + k * 31) % IDS).unwrap();
    let changes = [0, 1, 2].map(|k| (1, id(k), Op::Update));
    let both: Vec<_> = changes.into_iter().chain(changes.map(|(_, id, op)| (2, id, op))).collect();
    let lsn = 800 + n * 80;
    if n.is_multiple_of(TRUNCATED) {
        let resets = [1, 2].map(|table| reset(table, ResetReason::Truncate));
        return commit_with(lsn, &[(3, 1, Op::Update)], resets.to_vec());
    }
    commit(lsn, &both)
}

/// A reader's view: the position of the last change to each id of the two tables since the last
/// reset.
struct ReaderKnowledge {
    tables: [BTreeMap<String, Lsn>; 2],
    read_at: Position,
}

impl ReaderKnowledge {
    fn new() -> Self {
        Self { tables: Default::default(), read_at: Position::START }
    }

    /// Follows the store from `after` until `done`, and checks every change set.
    fn follow(
        store: &Store,
        tables: &ResourceSelection,
        limit: usize,
        done: impl Fn(Position) -> bool,
    ) -> Self {
        let mut known = Self::new();
        let mut after = at(800);
        while !done(after.position) {
            after = known.poll(store, tables, limit, after);
        }
        known
    }

    fn poll(
        &mut self,
        store: &Store,
        tables: &ResourceSelection,
        limit: usize,
        after: Version,
    ) -> Version {
        let answer =
            store.changes(&ChangeQuery { resources: tables, after: Some(after), limit }).unwrap();
        assert!(answer.version.position >= after.position);
        let of_table = |oid: u32| answer.changes.iter().filter(move |c| c.resource.oid().0 == oid);
        let reset = |oid: u32| answer.reset.iter().any(|table| table.oid().0 == oid);
        assert_eq!(reset(1), reset(2), "a truncation shows in one table only");
        if !answer.more && after.position.ordinal == Position::WHOLE {
            let ids =
                |oid| of_table(oid).map(|c| (c.key.clone(), c.position.lsn)).collect::<Vec<_>>();
            assert_eq!(ids(1), ids(2), "half a commit, after {:?}", after.position);
        }
        for (place, oid) in self.tables.iter_mut().zip([1, 2]) {
            if reset(oid) {
                place.clear();
                self.read_at = answer.version.position;
            }
            for change in of_table(oid) {
                assert!(
                    change.position > after.position && change.position <= answer.version.position
                );
                place.insert(format!("{:?}", change.key), change.position.lsn);
            }
        }
        answer.version
    }
}

#[test]
fn no_change_set_shows_half_a_commit_and_none_loses_one() {
    let mut harness = Harness::started();
    let last = Position::after_commit(Lsn(800 + COMMITS * 80));
    let selections =
        [ResourceSelection::All, harness.selection(&["a", "b"]), harness.selection(&["b", "a"])];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (store, over) = (harness.store.clone(), &over);
        let readers: Vec<_> = selections
            .iter()
            .zip([100_000, 1_000, 2])
            .map(|(tables, limit)| {
                let store = store.clone();
                scope.spawn(move || {
                    ReaderKnowledge::follow(&store, tables, limit, |seen| seen == last)
                })
            })
            .collect();
        // Another reader starts from the beginning every time.
        let tables = &selections[1];
        let again = scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                ReaderKnowledge::new().poll(&store, tables, 100_000, at(800));
            }
        });
        let mut n = 1;
        while n <= COMMITS {
            let batch = 1 + n % 7;
            harness.writer.apply((n..n + batch).filter(|n| *n <= COMMITS).map(nth).collect());
            n += batch;
        }
        over.store(true, Ordering::Relaxed);
        again.join().unwrap();
        let mut truth = ReaderKnowledge::new();
        truth.poll(
            &harness.store,
            &selections[1],
            100_000,
            at(800 + COMMITS / TRUNCATED * TRUNCATED * 80),
        );
        for reader in readers {
            let known = reader.join().unwrap();
            for (table, mut truth) in known.tables.into_iter().zip(truth.tables.clone()) {
                assert_eq!(truth.len(), usize::try_from(IDS).unwrap());
                truth.retain(|_, lsn| *lsn > known.read_at.lsn);
                assert_eq!(table, truth);
            }
        }
    });
}
