//! Which waiters are woken, and which are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::*;
use crate::change::{Event, Op, ResetReason};
use crate::lsn::Lsn;
use crate::store::tests::*;
use crate::version::Epoch;

const SOON: Duration = Duration::from_secs(5);

/// Polls a waiting future once, so that it subscribes; it must not be ready.
macro_rules! enlisted {
    ($waiting:ident) => {
        let mut $waiting = std::pin::pin!($waiting);
        assert!($waiting.as_mut().now_or_never().is_none());
    };
}

#[tokio::test]
async fn a_commit_wakes_the_waiters_of_its_table_only() {
    let mut harness = Harness::started();
    let store = harness.store.clone();
    let (a, b) = (harness.selection(&["a"]), harness.selection(&["b"]));
    let (waits_a, waits_b) =
        (store.wait_for_change(&a, at(800)), store.wait_for_change(&b, at(800)));
    enlisted!(waits_a);
    enlisted!(waits_b);
    harness.take(commit(880, &[(1, 1, Op::Insert)]));
    timeout(SOON, waits_a).await.unwrap();
    assert!(waits_b.as_mut().now_or_never().is_none());
    harness.take(commit(960, &[(2, 1, Op::Insert)]));
    timeout(SOON, waits_b).await.unwrap();
}

/// Counts the wake-ups of a waiting task.
#[derive(Default)]
struct WakeUps(AtomicUsize);

impl Wake for WakeUps {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test]
async fn a_commit_costs_the_waiters_of_another_table_nothing() {
    let mut harness = Harness::started();
    let store = harness.store.clone();
    let b = harness.selection(&["b", "c"]);
    let wake_ups = Arc::<WakeUps>::default();
    let mut waits = Box::pin(store.wait_for_change(&b, at(800)));
    let waker = Waker::from(wake_ups.clone());
    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    for n in 1..=100 {
        harness.take(commit(800 + n * 8, &[(1, 1, Op::Update)]));
        harness.take(Event::Watermark(Lsn(804 + n * 8)));
    }
    assert_eq!(wake_ups.0.load(Relaxed), 0);
    harness.take(commit(8000, &[(2, 1, Op::Update)]));
    assert_eq!(wake_ups.0.load(Relaxed), 1);
}

#[tokio::test]
async fn many_tables_and_all_wait_for_any_change() {
    let mut harness = Harness::new(GENEROUS);
    let names: Vec<String> = (1..=20).map(|n| format!("t{n}")).collect();
    let tables = names.iter().zip(1..).map(|(name, oid)| table(oid, name)).collect();
    harness.take(started(800, tables, None));
    let store = harness.store.clone();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (all, many, few) =
        (ResourceSelection::All, harness.selection(&names), harness.selection(&names[..16]));
    let (waits_all, waits_many, waits_few) = (
        store.wait_for_change(&all, at(800)),
        store.wait_for_change(&many, at(800)),
        store.wait_for_change(&few, at(800)),
    );
    enlisted!(waits_all);
    enlisted!(waits_many);
    enlisted!(waits_few);
    harness.take(commit(880, &[(20, 1, Op::Insert)]));
    timeout(SOON, waits_all).await.unwrap();
    timeout(SOON, waits_many).await.unwrap();
    assert!(waits_few.as_mut().now_or_never().is_none());
    harness.take(commit(960, &[(16, 1, Op::Insert)]));
    timeout(SOON, waits_few).await.unwrap();
}

#[tokio::test]
async fn a_version_with_news_does_not_wait() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Op::Insert), (1, 2, Op::Insert)]));
    let a = harness.selection(&["a"]);
    let over = |after| harness.store.wait_for_change(&a, after).now_or_never().is_some();
    assert!(over(at(800)));
    assert!(over(Version { epoch: Epoch(8), ..at(880) }));
    let inside = |ordinal| Version { position: Position { lsn: Lsn(880), ordinal }, ..at(0) };
    assert!(over(inside(1)));
    // The version is after all changes of that commit, or before its end.
    assert!(!over(inside(2)));
    assert!(!over(at(880)));
    assert!(!over(at(960)));
}

#[tokio::test]
async fn a_reset_between_commits_wakes() {
    let mut harness = Harness::started();
    let store = harness.store.clone();
    let a = harness.selection(&["a"]);
    let waits = store.wait_for_change(&a, at(800));
    enlisted!(waits);
    harness.take(Event::Watermark(Lsn(808)));
    assert!(waits.as_mut().now_or_never().is_none());
    harness.take(Event::Tables { tables: abc(), resets: vec![reset(1, ResetReason::Schema)] });
    timeout(SOON, waits).await.unwrap();
}

#[tokio::test]
async fn a_table_that_leaves_or_is_replaced_wakes() {
    let mut harness = Harness::started();
    let store = harness.store.clone();
    let (a, b) = (harness.selection(&["a"]), harness.selection(&["b"]));
    let (waits_a, waits_b) =
        (store.wait_for_change(&a, at(800)), store.wait_for_change(&b, at(800)));
    enlisted!(waits_a);
    enlisted!(waits_b);
    harness
        .take(Event::Tables { tables: vec![table(2, "renamed"), table(3, "c")], resets: vec![] });
    timeout(SOON, waits_a).await.unwrap();
    timeout(SOON, waits_b).await.unwrap();
    // A waiter with the table's old definition is still woken by changes under the new one.
    let applied = store.applied().unwrap();
    let waits = store.wait_for_change(&b, applied);
    enlisted!(waits);
    harness.take(commit(960, &[(2, 1, Op::Insert)]));
    timeout(SOON, waits).await.unwrap();
}

#[tokio::test]
async fn another_history_wakes() {
    let mut harness = Harness::started();
    let store = harness.store.clone();
    let a = harness.selection(&["a"]);
    let (waits_a, waits_all) = (
        store.wait_for_change(&a, at(800)),
        store.wait_for_change(&ResourceSelection::All, at(800)),
    );
    enlisted!(waits_a);
    enlisted!(waits_all);
    let Event::Started(mut other) = started(80, abc(), None) else { panic!("a start") };
    other.history = Epoch(8).into();
    harness.take(Event::Started(other));
    timeout(SOON, waits_a).await.unwrap();
    timeout(SOON, waits_all).await.unwrap();
}

#[tokio::test]
async fn a_wait_for_a_position_ends_when_it_is_applied() {
    let mut harness = Harness::new(GENEROUS);
    let store = harness.store.clone();
    let waits = store.wait_applied(at(960).position);
    enlisted!(waits);
    harness.take(started(800, abc(), None));
    harness.take(commit(880, &[(1, 1, Op::Insert)]));
    assert!(waits.as_mut().now_or_never().is_none());
    harness.take(Event::Watermark(Lsn(960)));
    timeout(SOON, waits).await.unwrap();
    assert!(store.wait_applied(at(960).position).now_or_never().is_some());
}

#[tokio::test]
async fn closing_ends_all_waits() {
    let harness = Harness::started();
    let store = harness.store.clone();
    let a = harness.selection(&["a"]);
    let (change, position) =
        (store.wait_for_change(&a, at(800)), store.wait_applied(at(960).position));
    enlisted!(change);
    enlisted!(position);
    harness.store.close();
    timeout(SOON, change).await.unwrap();
    timeout(SOON, position).await.unwrap();
    assert!(store.is_closed());
    assert!(store.wait_for_change(&a, at(800)).now_or_never().is_some());
    assert_eq!(summary(&harness.poll(&["a"], at(800))), "");
}

/// A waiter on another thread responds to every commit; a lost wake-up would hang it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    const COMMITS: u64 = 2_000;
    let mut harness = Harness::started();
    let store = harness.store.clone();
    let selections =
        [harness.selection(&["a"]), harness.selection(&["a", "b"]), ResourceSelection::All];
    let mut follow = tokio::task::JoinSet::new();
    for tables in selections {
        let store = store.clone();
        follow.spawn(async move {
            let last = at(800 + COMMITS * 8);
            let mut seen = at(800);
            while seen.position < last.position {
                store.wait_for_change(&tables, seen).await;
                seen = store.newest_change(&tables).unwrap();
            }
        });
    }
    for n in 1..=COMMITS {
        harness.take(commit(800 + n * 8, &[(1, 1, Op::Update)]));
        if n % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    timeout(SOON * 4, follow.join_all()).await.expect("every waiter hears of the last commit");
}
