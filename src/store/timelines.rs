//! A server is promoted: which of the versions from before stay true.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::testing::*;
use crate::change::Op::Insert;
use crate::change::{Event, ResetReason, Started};
use crate::history::{TimelineHistory, TimelineSwitch};
use crate::lsn::Lsn;
use crate::source::PostmasterId;
use crate::version::Version;

/// Timeline 2, which left timeline 1 at 960: the first one's version at an LSN, and the start.
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
    let mut bench = Harness::new(GENEROUS);
    let history = TimelineHistory::new(7, 5, 1, &[]);
    let start = Started {
        history,
        server: PostmasterId::default(),
        from: Lsn(800),
        tables: abc(),
        broken: None,
    };
    bench.take(Event::Started(start));
    bench.take(commit(880, &[(1, 1, Insert)]));
    bench.take(Event::Watermark(Lsn(watermark)));
    bench
}

#[test]
fn a_timeline_that_shares_everything_held_goes_on_with_it() {
    let mut bench = on_the_first_timeline(960);
    let (old, start) = promoted(960, None);
    bench.take(start);
    assert_eq!(told(&bench.poll_all(old(960))), "");
    bench.take(commit(1040, &[(1, 2, Insert)]));
    let answer = bench.poll_all(old(880));
    assert_eq!((told(&answer).as_str(), answer.version.position), ("a2+", at(1040).position));
    assert_ne!(answer.version.epoch, old(880).epoch, "new answers belong to the new timeline");
    assert_eq!(told(&bench.poll_all(old(800))), "a1+ a2+");
    // What the old one did after it was left never happened here.
    assert_eq!(told(&bench.poll_all(old(968))), "!a !b !c");
    assert!(bench.store.is_ahead(Version { epoch: answer.version.epoch, ..at(1048) }));
    assert!(!bench.store.is_ahead(old(1048)) && !bench.store.is_ahead(old(960)));
}

#[test]
fn a_timeline_that_was_begun_before_what_is_held_clears_everything() {
    for broken in [None, Some(ResetReason::SlotLost)] {
        let mut bench = on_the_first_timeline(968);
        let (old, start) = promoted(840, broken);
        bench.take(start);
        bench.take(commit(880, &[(1, 1, Insert)]));
        // We told of what it lacks: nobody who followed the old one is believed, wherever they are.
        for lsn in [800, 840, 880, 960, 968] {
            assert_eq!(told(&bench.poll_all(old(lsn))), "!a !b !c", "{lsn}");
        }
        // Nor after the next connection.
        let (_, again) = promoted(880, None);
        bench.take(again);
        assert_eq!(told(&bench.poll_all(old(880))), "!a !b !c");
        let now = bench.store.applied().unwrap();
        assert_eq!(now.position, at(880).position);
        assert_eq!(told(&bench.poll_all(Version { position: at(840).position, ..now })), "a1+");
    }
}

#[test]
fn a_store_that_begins_on_a_timeline_knows_the_versions_before_it() {
    let mut bench = Harness::new(GENEROUS);
    let (old, start) = promoted(800, None);
    bench.take(start);
    assert!(bench.store.is_ahead(old(960)) && !bench.store.is_ahead(old(968)));
    bench.take(commit(880, &[(1, 1, Insert)]));
    bench.take(commit(1040, &[(1, 2, Insert)]));
    assert_eq!(told(&bench.poll_all(old(800))), "a1+ a2+");
    assert_eq!(told(&bench.poll_all(old(960))), "a2+");
    assert_eq!(told(&bench.poll_all(old(968))), "!a !b !c");
}

#[test]
fn a_timeline_followed_from_later_on_resets_everything() {
    let mut bench = on_the_first_timeline(960);
    let (old, start) = promoted(1000, Some(ResetReason::SlotLost));
    bench.take(start);
    let answer = bench.poll_all(old(960));
    assert_eq!(told(&answer), "!a !b !c");
    assert!(answer.version.position > at(1000).position);
    assert_eq!(told(&bench.poll_all(answer.version)), "");
}

#[tokio::test]
async fn who_waits_does_not_notice_a_timeline_that_goes_on() {
    let mut bench = on_the_first_timeline(960);
    let (store, a) = (bench.store.clone(), bench.selection(&["a"]));
    let (old, start) = promoted(960, None);
    let waits = store.wait_for_change(&a, old(960));
    tokio::pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    bench.take(start);
    assert!(waits.as_mut().now_or_never().is_none());
    bench.take(commit(1040, &[(1, 2, Insert)]));
    timeout(Duration::from_secs(5), waits).await.unwrap();
    // One that asks for a version from after the old one was left has something to hear at once.
    assert!(store.wait_for_change(&a, old(1048)).now_or_never().is_some());
}
