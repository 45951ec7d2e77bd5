//! The results of change queries, rule by rule.

use Op::{Delete, Insert, Update};

use super::*;
use crate::change::{Change, Event, Op, ResetReason, Transaction};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::snapshot::Xid;
use crate::store::tests::*;
use crate::table::TableOid;
use crate::version::Epoch;

#[test]
fn nothing_is_answered_before_the_first_start() {
    let harness = Harness::new(GENEROUS);
    let query = ChangeQuery { resources: &ResourceSelection::All, after: None, limit: 1 };
    assert!(harness.store.changes(&query).is_none());
    assert_eq!(harness.store.applied(), None);
    assert_eq!(harness.store.newest_change(&ResourceSelection::All), None);
    assert!(harness.store.directory().resources().is_empty());
}

#[test]
fn without_a_version_every_table_is_reset() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 5, Insert)]));
    let answer = harness.poll(&["b", "a"], None);
    assert_eq!((summary(&answer).as_str(), answer.version, answer.more), ("!b !a", at(880), false));
    assert_eq!(summary(&harness.poll_all(None)), "!a !b !c");
}

#[test]
fn changes_of_several_tables_come_in_commit_order() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(2, 7, Insert), (1, 5, Insert), (2, 8, Update)]));
    harness.take(commit(960, &[(3, 1, Delete), (2, 7, Update)]));
    let answer = harness.poll_all(at(800));
    assert_eq!(summary(&answer), "a5+ b8~ c1- b7+");
    assert_eq!((answer.version, answer.newest, answer.more), (at(960), at(960), false));
    let answer = harness.poll(&["a"], at(800));
    assert_eq!(
        (summary(&answer).as_str(), answer.version, answer.newest),
        ("a5+", at(960), at(880))
    );
    assert_eq!(summary(&harness.poll_all(at(880))), "c1- b7~");
    assert_eq!(summary(&harness.poll_all(at(960))), "");
}

#[test]
fn the_version_moves_with_watermarks() {
    let mut harness = Harness::started();
    harness.take(Event::Watermark(Lsn(1600)));
    let answer = harness.poll(&["a"], at(800));
    assert_eq!((summary(&answer).as_str(), answer.version, answer.newest), ("", at(1600), at(800)));
    harness.take(Event::Watermark(Lsn(1200)));
    assert_eq!(harness.store.applied(), Some(at(1600)));
}

#[test]
fn a_version_of_another_epoch_resets() {
    let harness = Harness::started();
    let other = Version { epoch: Epoch(8), position: Position::after_commit(Lsn(800)) };
    let answer = harness.poll(&["a"], other);
    assert_eq!((summary(&answer).as_str(), answer.version), ("!a", at(800)));
}

#[test]
fn below_the_floor_only_that_table_is_reset() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 5, Insert), (2, 7, Insert)]));
    harness.take(commit_with(960, &[(1, 6, Insert)], vec![reset(2, ResetReason::Truncate)]));
    let answer = harness.poll_all(at(800));
    assert_eq!((summary(&answer).as_str(), answer.version), ("!b a5+ a6+", at(960)));
    assert_eq!(summary(&harness.poll_all(at(960))), "");
}

#[test]
fn a_future_version_is_returned_unchanged() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 5, Insert)]));
    for later in [at(960), Version { position: Position { lsn: Lsn(960), ordinal: 3 }, ..at(0) }] {
        let answer = harness.poll(&["a"], later);
        assert_eq!((summary(&answer).as_str(), answer.version, answer.more), ("", later, false));
    }
}

#[test]
fn more_continues_inside_a_commit() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert), (2, 2, Insert), (1, 3, Insert)]));
    harness.take(commit(960, &[(1, 4, Insert)]));
    let mut after = at(800);
    let mut seen = Vec::new();
    loop {
        let answer = harness.poll_limited(&["a", "b", "c"], after, 1);
        assert!(answer.version.position > after.position);
        seen.push((summary(&answer), answer.version.to_string(), answer.more));
        after = answer.version;
        if !answer.more {
            break;
        }
    }
    let expected = [
        ("a1+", "00000007-000000000000036f.00000001", true),
        ("b2+", "00000007-000000000000036f.00000002", true),
        // The commit ends here.
        ("a3+", "00000007-0000000000000370", true),
        ("a4+", "00000007-00000000000003c0", false),
    ];
    assert_eq!(seen, expected.map(|(t, v, more)| (t.to_string(), v.to_string(), more)));
    // Of table a alone, the first change of the commit is followed by the third.
    let answer = harness.poll_limited(&["a"], at(800), 2);
    assert_eq!(
        (summary(&answer).as_str(), answer.version, answer.more),
        ("a1+ a3+", at(880), true)
    );
}

#[test]
fn the_rest_of_a_commit_moves_when_it_changes_again() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert), (1, 2, Insert)]));
    let answer = harness.poll_limited(&["a"], at(800), 1);
    assert_eq!((summary(&answer).as_str(), answer.more), ("a1+", true));
    harness.take(commit(960, &[(1, 2, Update), (1, 1, Delete)]));
    // Relative to the version given: row 1 was there, row 2 not yet.
    let rest = harness.poll(&["a"], answer.version);
    assert_eq!((summary(&rest).as_str(), rest.version), ("a2+ a1-", at(960)));
}

#[test]
fn while_there_is_more_an_operation_is_relative_to_the_version_not_to_reported_changes() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert), (1, 2, Insert)]));
    harness.take(commit(960, &[(1, 1, Update)]));
    let answer = harness.poll_limited(&["a"], at(800), 1);
    assert_eq!((summary(&answer).as_str(), answer.version, answer.more), ("a2+", at(880), true));
    // Row 1 existed at that version, though it was not reported.
    assert_eq!(summary(&harness.poll(&["a"], answer.version)), "a1~");
    assert_eq!(summary(&harness.poll(&["a"], at(800))), "a2+ a1+");
}

#[test]
fn wide_ids_end_a_change_set_before_its_limit() {
    let mut harness = Harness::started();
    let wide = |name: char| Key::json(format!("\"{}{name}\"", "x".repeat(300_000)).as_bytes());
    let changes = ('a'..='f').zip(1..).map(|(name, ordinal)| Change {
        table: TableOid(1),
        key: wide(name),
        op: Insert,
        ordinal,
        scope: None,
    });
    harness.take(Event::Commit(Transaction {
        end_lsn: Lsn(880),
        committed_at: now(),
        xid: Xid(0),
        rows: vec![],
        changes: changes.collect(),
        resets: vec![],
    }));
    let keys =
        |answer: &ChangeSet| answer.changes.iter().map(|c| c.key.clone()).collect::<Vec<_>>();
    let answer = harness.poll(&["a"], at(800));
    // Three are less than a mebibyte.
    assert_eq!((keys(&answer), answer.more), (('a'..='d').map(wide).collect(), true));
    let rest = harness.poll(&["a"], answer.version);
    assert_eq!((keys(&rest), rest.more), (('e'..='f').map(wide).collect(), false));
    assert_eq!(rest.version, at(880));
}

#[test]
fn a_limit_of_zero_counts_as_one() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert), (1, 2, Insert)]));
    assert_eq!(summary(&harness.poll_limited(&["a"], at(800), 0)), "a1+");
}

#[test]
fn each_change_carries_its_position_and_time() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(2, 9, Insert), (1, 1, Insert)]));
    let answer = harness.poll(&["a"], at(800));
    let change = answer.changes.first().unwrap();
    assert_eq!(change.position, Position { lsn: Lsn(880), ordinal: 2 });
    assert_eq!(change.resource.name_json, "\"a\"");
    let age = now().0 - change.committed_at.0;
    assert!((0..60_000_000).contains(&age), "{age}");
}

/// Whether a change set without the lock exists, and is correct.
fn quick(harness: &Harness, names: &[&str], after: Version) -> Option<Version> {
    let selection = match names {
        ["*"] => ResourceSelection::All,
        names => harness.selection(names),
    };
    harness.store.unchanged(&selection, after).map(|answer| {
        assert!(answer.changes.is_empty() && answer.reset.is_empty() && !answer.more);
        answer.version
    })
}

#[test]
fn the_absence_of_news_is_visible_without_the_lock() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 5, Insert)]));
    harness.take(Event::Watermark(Lsn(960)));
    let store = harness.store.clone();
    let _held = store.shared.state.write();
    assert_eq!(harness.store.applied(), Some(at(960)));
    assert_eq!(quick(&harness, &["a", "b"], at(880)), Some(at(960)));
    assert_eq!(quick(&harness, &["b"], at(800)), Some(at(960)));
    assert_eq!(quick(&harness, &["*"], at(880)), Some(at(960)));
    // There is news, may be news, or it is unknown.
    assert_eq!(quick(&harness, &["a"], at(879)), None);
    assert_eq!(quick(&harness, &["*"], at(800)), None);
    assert_eq!(quick(&harness, &["b"], at(961)), None);
    assert_eq!(quick(&harness, &["b"], Version { epoch: Epoch(9), ..at(880) }), None);
    let inside = Version { position: Position { lsn: Lsn(880), ordinal: 1 }, ..at(0) };
    assert_eq!(quick(&harness, &["a"], inside), None);
    assert_eq!(quick(&harness, &["b"], inside), Some(at(960)));
}

#[test]
fn the_change_set_without_the_lock_equals_that_with_it() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 5, Insert)]));
    harness.take(Event::Tables { tables: abc(), resets: vec![reset(2, ResetReason::Schema)] });
    let applied = harness.store.applied().unwrap();
    for names in [&["a"][..], &["b"], &["c"], &["a", "b", "c"]] {
        let tables = harness.selection(names);
        let quick = harness.store.unchanged(&tables, applied).unwrap();
        let query = ChangeQuery { resources: &tables, after: Some(applied), limit: 1 };
        let slow = harness.store.shared.state.read().changes(&query).unwrap();
        assert_eq!((quick.version, quick.newest), (slow.version, slow.newest), "{names:?}");
        assert_eq!(harness.store.newest_change(&tables), Some(quick.newest));
    }
}

#[test]
fn a_removed_table_is_reset_for_clients_that_select_it() {
    let mut harness = Harness::started();
    let held = harness.selection(&["a", "b"]);
    harness.take(Event::Tables { tables: vec![table(2, "b")], resets: vec![] });
    let query = ChangeQuery { resources: &held, after: harness.store.applied(), limit: 10 };
    assert_eq!(summary(&harness.store.changes(&query).unwrap()), "!a");
    assert_eq!(summary(&harness.poll_all(at(800))), "");
}

#[test]
fn the_status_covers_every_table() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(2, 1, Insert), (2, 2, Insert)]));
    harness.take(commit_with(960, &[], vec![reset(3, ResetReason::Truncate)]));
    let status = harness.store.status();
    assert_eq!((status.epoch, status.applied), (Some(EPOCH), at(960).position));
    let tables: Vec<_> = status
        .tables
        .iter()
        .map(|t| (t.resource.name.as_str(), t.entries, t.floor.lsn.0, t.newest.lsn.0))
        .collect();
    assert_eq!(tables, [("a", 0, 800, 800), ("b", 2, 800, 880), ("c", 0, 960, 960)]);
    assert_eq!(status.bytes, status.tables.iter().map(|t| t.bytes).sum::<usize>());
}
