//! Promotion of a standby: which of the earlier versions stay valid.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::harness::*;
use crate::change::Op::Insert;
use crate::change::{Event, ResetReason, Started};
use crate::history::{TimelineHistory, TimelineSwitch};
use crate::lsn::Lsn;
use crate::source_status::PostmasterId;
use crate::version::Version;

/// Timeline 2, which branched off timeline 1 at 960: the first one's version at an LSN, and the start.
fn promoted(from: u64, broken: Option<ResetReason>) -> (impl Fn(u64) -> Version, Event) {
    let switch = TimelineSwitch { timeline: 1, at: Lsn(960) };
    let [first, second] = [(1, &[][..]), (2, &[switch][..])]
        .map(|(timeline, switches)| TimelineHistory::new(7, 5, timeline, switches));
    let version = move |lsn| Version { epoch: first.epoch(), ..at(lsn) };
    let start = Started {
        history: second,
        server: PostmasterId::default(),
        from: Lsn(from),
        tables: abc(),
        broken,
    };
    (version, Event::Started(start))
}

/// On timeline 1, with a commit at 880 and a watermark.
fn on_the_first_timeline(watermark: u64) -> Harness {
    let mut harness = Harness::new(GENEROUS);
    let history = TimelineHistory::new(7, 5, 1, &[]);
    let start = Started {
        history,
        server: PostmasterId::default(),
        from: Lsn(800),
        tables: abc(),
        broken: None,
    };
    harness.take(Event::Started(start));
    harness.take(commit(880, &[(1, 1, Insert)]));
    harness.take(Event::Watermark(Lsn(watermark)));
    harness
}

#[test]
fn a_timeline_that_shares_all_applied_commits_continues_the_logs() {
    let mut harness = on_the_first_timeline(960);
    let (old, start) = promoted(960, None);
    harness.take(start);
    assert_eq!(summary(&harness.poll_all(old(960))), "");
    harness.take(commit(1040, &[(1, 2, Insert)]));
    let answer = harness.poll_all(old(880));
    assert_eq!((summary(&answer).as_str(), answer.version.position), ("a2+", at(1040).position));
    assert_ne!(answer.version.epoch, old(880).epoch, "new answers belong to the new timeline");
    assert_eq!(summary(&harness.poll_all(old(800))), "a1+ a2+");
    // Commits of the old timeline after the branch never happened here.
    assert_eq!(summary(&harness.poll_all(old(968))), "!a !b !c");
    assert!(harness.store.is_ahead(Version { epoch: answer.version.epoch, ..at(1048) }));
    assert!(!harness.store.is_ahead(old(1048)) && !harness.store.is_ahead(old(960)));
}

#[test]
fn a_timeline_that_branched_off_before_the_applied_position_clears_everything() {
    for broken in [None, Some(ResetReason::SlotLost)] {
        let mut harness = on_the_first_timeline(968);
        let (old, start) = promoted(840, broken);
        harness.take(start);
        harness.take(commit(880, &[(1, 1, Insert)]));
        // Commits were reported that it lacks: no version of the old timeline is accepted.
        for lsn in [800, 840, 880, 960, 968] {
            assert_eq!(summary(&harness.poll_all(old(lsn))), "!a !b !c", "{lsn}");
        }
        // Nor is one after the next connection.
        let (_, again) = promoted(880, None);
        harness.take(again);
        assert_eq!(summary(&harness.poll_all(old(880))), "!a !b !c");
        let now = harness.store.applied().unwrap();
        assert_eq!(now.position, at(880).position);
        assert_eq!(
            summary(&harness.poll_all(Version { position: at(840).position, ..now })),
            "a1+"
        );
    }
}

#[test]
fn a_store_that_begins_on_a_timeline_knows_the_versions_before_it() {
    let mut harness = Harness::new(GENEROUS);
    let (old, start) = promoted(800, None);
    harness.take(start);
    assert!(harness.store.is_ahead(old(960)) && !harness.store.is_ahead(old(968)));
    harness.take(commit(880, &[(1, 1, Insert)]));
    harness.take(commit(1040, &[(1, 2, Insert)]));
    assert_eq!(summary(&harness.poll_all(old(800))), "a1+ a2+");
    assert_eq!(summary(&harness.poll_all(old(960))), "a2+");
    assert_eq!(summary(&harness.poll_all(old(968))), "!a !b !c");
}

#[test]
fn a_timeline_followed_from_later_on_resets_everything() {
    let mut harness = on_the_first_timeline(960);
    let (old, start) = promoted(1000, Some(ResetReason::SlotLost));
    harness.take(start);
    let answer = harness.poll_all(old(960));
    assert_eq!(summary(&answer), "!a !b !c");
    assert!(answer.version.position > at(1000).position);
    assert_eq!(summary(&harness.poll_all(answer.version)), "");
}

#[tokio::test]
async fn a_waiter_is_not_woken_by_a_timeline_that_continues() {
    let mut harness = on_the_first_timeline(960);
    let (store, a) = (harness.store.clone(), harness.selection(&["a"]));
    let (old, start) = promoted(960, None);
    let waits = store.wait_for_change(&a, old(960));
    tokio::pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    harness.take(start);
    assert!(waits.as_mut().now_or_never().is_none());
    harness.take(commit(1040, &[(1, 2, Insert)]));
    timeout(Duration::from_secs(5), waits).await.unwrap();
    // A version of the old timeline from after the branch gets a reset at once.
    assert!(store.wait_for_change(&a, old(1048)).now_or_never().is_some());
}
