//! The effects of events, rule by rule.

use std::collections::HashSet;

use Op::{Delete, Insert, Update};

use super::*;
use crate::change::{Change, Op, ResetReason, Started, Transaction};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::snapshot::Xid;
use crate::source_status::PostmasterId;
use crate::store::tests::*;
use crate::table::{TableOid, Tracking};
use crate::version::{Epoch, Version};

fn assert_send<T: Send>(_: &T) {}

fn resets_counted(harness: &Harness, table: &str, reason: ResetReason) -> u64 {
    harness.metrics.resets.with_label_values(&[table, reason.as_str()]).get()
}

#[test]
fn the_writer_can_live_on_a_thread_of_its_own() {
    assert_send(&Harness::started().writer);
}

#[test]
fn a_repeated_commit_is_ignored() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert)]));
    harness.take(commit(960, &[(1, 1, Delete)]));
    harness.take(started(800, abc(), None));
    harness.take(commit(880, &[(1, 1, Insert)]));
    assert_eq!(harness.store.applied(), Some(at(960)));
    assert_eq!(summary(&harness.poll_all(at(880))), "a1-");
    harness.take(commit(960, &[(1, 1, Delete)]));
    harness.take(commit(1040, &[(1, 2, Insert)]));
    assert_eq!(summary(&harness.poll_all(at(800))), "a1- a2+");
    assert_eq!(harness.metrics.transactions.get(), 3);
}

#[test]
fn events_before_a_new_set_of_tables_become_visible_with_it() {
    let mut harness = Harness::started();
    let (store, before) = (harness.store.clone(), harness.store.applied());
    let changes: Vec<_> = (0..1000).map(|id| (1, id, Insert)).collect();
    let mut events: Vec<_> = (1..=50).map(|n| commit(800 + 80 * n, &changes)).collect();
    events.push(Event::Tables { tables: abc(), resets: vec![] });
    let watcher = std::thread::spawn(move || {
        let positions = std::iter::repeat_with(|| store.applied());
        positions.take_while(|position| *position != Some(at(4800))).collect::<HashSet<_>>()
    });
    harness.writer.apply(events);
    let seen = watcher.join().unwrap();
    assert!(seen.iter().all(|position| *position == before), "{seen:?}");
}

#[test]
fn a_reset_clears_the_table_at_its_commit() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert)]));
    let resets = vec![reset(1, ResetReason::LargeTransaction)];
    harness.take(commit_with(960, &[(2, 1, Insert)], resets));
    assert_eq!(summary(&harness.poll_all(at(880))), "!a b1+");
    assert_eq!(summary(&harness.poll_all(at(960))), "");
    harness.take(commit(1040, &[(1, 1, Update)]));
    assert_eq!(summary(&harness.poll_all(at(960))), "a1~");
    assert_eq!(resets_counted(&harness, "a", ResetReason::LargeTransaction), 1);
}

#[test]
fn a_table_without_a_key_is_reset_by_any_change() {
    let mut harness = Harness::new(GENEROUS);
    let mut keyless = table(1, "a");
    keyless.tracking = Tracking::ResetOnly("it has no primary key".into());
    harness.take(started(800, vec![keyless, table(2, "b")], None));
    harness.take(commit(880, &[(1, 1, Insert), (2, 5, Insert), (1, 2, Insert)]));
    let answer = harness.poll_all(at(800));
    assert_eq!((summary(&answer).as_str(), answer.newest), ("!a b5+", at(880)));
    assert_eq!(summary(&harness.poll_all(at(880))), "");
    assert_eq!(resets_counted(&harness, "a", ResetReason::NoKey), 1);
}

#[test]
fn a_change_to_an_unpublished_table_is_ignored() {
    let mut harness = Harness::started();
    harness.take(commit_with(880, &[(99, 1, Insert)], vec![reset(98, ResetReason::Truncate)]));
    let answer = harness.poll_all(at(800));
    assert_eq!((summary(&answer).as_str(), answer.version, answer.newest), ("", at(880), at(800)));
    assert_eq!(harness.metrics.transactions.get(), 0);
}

#[test]
fn a_reset_between_commits_reaches_clients_with_the_applied_version() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert)]));
    let mut held = at(880);
    for _ in 0..300 {
        let resets = vec![reset(1, ResetReason::Schema)];
        harness.take(Event::Tables { tables: abc(), resets });
        let answer = harness.poll_all(held);
        assert_eq!(summary(&answer), "!a");
        assert!(
            answer.version.position > held.position && answer.version.position < at(888).position
        );
        assert!(answer.version.to_string() > held.to_string());
        // And only once.
        let again = harness.poll_all(answer.version);
        assert_eq!((summary(&again).as_str(), again.version), ("", answer.version));
        held = answer.version;
    }
    // The server sends the commit again: it still is a repetition. The next one is not.
    harness.take(commit(880, &[(1, 1, Insert)]));
    assert_eq!(summary(&harness.poll_all(held)), "");
    harness.take(commit(904, &[(1, 2, Insert)]));
    assert_eq!(summary(&harness.poll_all(held)), "a2+");
    assert_eq!(resets_counted(&harness, "a", ResetReason::Schema), 300);
}

#[test]
fn the_same_tables_again_change_nothing() {
    let mut harness = Harness::started();
    let before = harness.store.directory();
    harness.take(Event::Tables { tables: abc(), resets: vec![] });
    harness.take(started(800, abc(), None));
    assert_eq!(harness.store.applied(), Some(at(800)));
    assert_eq!(summary(&harness.poll_all(at(800))), "");
    assert!(Arc::ptr_eq(&before, &harness.store.directory()));
}

#[test]
fn a_table_that_joins_is_reset_for_earlier_versions() {
    let mut harness = Harness::started();
    let mut tables = abc();
    tables.push(table(4, "d"));
    harness.take(Event::Tables { tables, resets: vec![] });
    let answer = harness.poll_all(at(800));
    assert_eq!(summary(&answer), "!d");
    harness.take(commit(880, &[(4, 1, Insert)]));
    assert_eq!(summary(&harness.poll_all(answer.version)), "d1+");
}

#[test]
fn a_table_that_left_and_came_back_is_reset() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert)]));
    harness.take(Event::Tables { tables: vec![table(2, "b"), table(3, "c")], resets: vec![] });
    assert!(harness.store.directory().resolve("a").is_none());
    assert_eq!(summary(&harness.poll_all(at(800))), "");
    harness.take(Event::Tables { tables: abc(), resets: vec![reset(1, ResetReason::Membership)] });
    assert_eq!(summary(&harness.poll_all(at(880))), "!a");
    assert_eq!(resets_counted(&harness, "a", ResetReason::Membership), 1);
}

#[test]
fn another_definition_resets() {
    let with = |change: fn(&mut crate::table::Table)| {
        let mut harness = Harness::started();
        harness.take(commit(880, &[(1, 1, Insert)]));
        let mut tables = abc();
        change(tables.first_mut().unwrap());
        harness.take(started(800, tables, None));
        summary(&harness.poll_all(at(880)))
    };
    assert_eq!(with(|_| ()), "");
    assert_eq!(with(|table| table.key_columns.push("other".into())), "!a");
    assert_eq!(with(|table| table.tracking = Tracking::ResetOnly("no key".into())), "!a");
    assert_eq!(with(|table| table.name.name = "renamed".into()), "!renamed");
    assert_eq!(with(|table| table.oid = TableOid(9)), "!a");
}

#[test]
fn tables_that_swap_names_keep_their_metrics() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert), (3, 1, Insert)]));
    harness.take(Event::Tables { tables: vec![table(1, "b"), table(2, "a")], resets: vec![] });
    let count = |table| harness.metrics.changes.with_label_values(&[table, "insert"]).get();
    assert_eq!((count("a"), count("b"), count("c")), (1, 0, 0));
    let directory = harness.store.directory();
    assert_eq!(directory.resolve("a").map(|table| table.oid()), Some(TableOid(2)));
}

#[test]
fn a_stream_that_continues_keeps_everything() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert)]));
    harness.take(started(840, abc(), None));
    harness.take(commit(960, &[(1, 2, Insert)]));
    let answer = harness.poll_all(at(800));
    assert_eq!((summary(&answer).as_str(), answer.version), ("a1+ a2+", at(960)));
}

#[test]
fn a_stream_that_is_broken_resets_everything() {
    for (from, next) in [(800, 960), (880, 960), (1600, 1680)] {
        let mut harness = Harness::started();
        harness.take(commit(880, &[(1, 1, Insert)]));
        harness.take(started(from, abc(), Some(ResetReason::SlotLost)));
        let answer = harness.poll_all(at(880));
        assert_eq!(summary(&answer), "!a !b !c", "from {from}");
        assert!(answer.version.position > at(880).position);
        harness.take(commit(next, &[(1, 2, Insert)]));
        assert_eq!(summary(&harness.poll_all(answer.version)), "a2+", "from {from}");
        assert_eq!(resets_counted(&harness, "b", ResetReason::SlotLost), 1);
    }
}

#[test]
fn a_stream_that_begins_after_a_gap_resets_everything() {
    let mut harness = Harness::started();
    harness.take(started(880, abc(), None));
    let answer = harness.poll_all(at(800));
    assert_eq!(summary(&answer), "!a !b !c");
    assert!(answer.version.position > at(880).position);
    // Also for a client that got as far on another instance.
    assert_eq!(summary(&harness.poll_all(at(880))), "!a !b !c");
}

#[test]
fn another_history_clears_everything() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert)]));
    let epoch = Epoch(8);
    let start = Started {
        history: epoch.into(),
        server: PostmasterId::default(),
        from: Lsn(80),
        tables: abc(),
        broken: None,
    };
    harness.take(Event::Started(start));
    let answer = harness.poll_all(at(880));
    let position = Position::after_commit(Lsn(80));
    assert_eq!(summary(&answer), "!a !b !c");
    assert_eq!(answer.version, Version { epoch, position });
    assert_eq!(summary(&harness.poll_all(answer.version)), "");
    harness.take(commit(160, &[(1, 1, Update)]));
    assert_eq!(summary(&harness.poll_all(answer.version)), "a1~");
    assert_eq!(resets_counted(&harness, "a", ResetReason::NewHistory), 1);
}

#[test]
fn events_before_the_first_start_are_ignored() {
    let mut harness = Harness::new(GENEROUS);
    harness.take(commit(880, &[(1, 1, Insert)]));
    harness.take(Event::Watermark(Lsn(960)));
    harness.take(Event::Tables { tables: abc(), resets: vec![] });
    assert_eq!(harness.store.applied(), None);
}

#[test]
fn a_table_evicts_beyond_max_changes() {
    let mut harness = Harness::started_with(LogLimits { max_changes: 2, ..GENEROUS });
    harness.take(commit(880, &[(1, 1, Insert), (1, 2, Insert), (2, 7, Insert)]));
    harness.take(commit(960, &[(1, 3, Insert)]));
    let answer = harness.poll_all(at(800));
    assert_eq!(summary(&answer), "!a b7+");
    assert_eq!(summary(&harness.poll_all(at(880))), "a3+");
}

#[test]
fn a_commit_larger_than_max_changes_leaves_a_table_correct() {
    let mut harness = Harness::started_with(LogLimits { max_changes: 2, ..GENEROUS });
    harness.take(commit(880, &[(1, 1, Insert), (1, 2, Insert), (1, 3, Insert)]));
    assert_eq!(summary(&harness.poll_all(at(800))), "!a");
    assert_eq!(summary(&harness.poll_all(at(880))), "");
    harness.take(commit(960, &[(1, 1, Update)]));
    assert_eq!(summary(&harness.poll_all(at(880))), "a1~");
}

#[test]
fn the_largest_table_evicts_at_max_bytes() {
    let limit = 400_000;
    let mut harness = Harness::started_with(LogLimits { max_bytes: limit, ..GENEROUS });
    harness.take(commit(808, &[(2, 1, Insert)]));
    let mut lsn = 808;
    for start in (0..20_000).step_by(100) {
        lsn += 8;
        let changes: Vec<_> = (start..start + 100).map(|id| (1, id, Insert)).collect();
        harness.take(commit(lsn, &changes));
        assert!(harness.store.status().bytes <= limit);
    }
    assert_eq!(summary(&harness.poll(&["a"], at(808))), "!a");
    assert_eq!(summary(&harness.poll(&["b"], at(800))), "b1+");
    assert!(harness.store.status().tables.first().unwrap().entries > 2_000);
    // Another table grows: the memory of the first is really given back.
    for start in (0..20_000).step_by(100) {
        lsn += 8;
        let changes: Vec<_> = (start..start + 100).map(|id| (3, id, Insert)).collect();
        harness.take(commit(lsn, &changes));
        assert!(harness.store.status().bytes <= limit);
    }
    let status = harness.store.status();
    let [a, _, c] = status.tables.as_slice() else { panic!("three tables") };
    assert!(c.entries > 1_000 && a.bytes + c.bytes <= limit, "{} {}", a.bytes, c.bytes);
}

#[test]
fn one_key_larger_than_max_bytes_is_a_reset() {
    let mut harness = Harness::started_with(LogLimits { max_bytes: 10_000, ..GENEROUS });
    let change = Change {
        table: TableOid(1),
        key: Key::json(&vec![b'1'; 20_000]),
        op: Insert,
        ordinal: 1,
        scope: None,
    };
    harness.take(Event::Commit(Transaction {
        end_lsn: Lsn(880),
        committed_at: now(),
        xid: Xid(0),
        rows: vec![],
        changes: vec![change],
        resets: vec![],
    }));
    assert_eq!(summary(&harness.poll_all(at(800))), "!a");
    assert!(harness.store.status().bytes < 10_000);
}

#[test]
fn changes_older_than_max_age_expire() {
    let mut harness = Harness::started();
    let ids: Vec<_> = (0..5_000).map(|id| (1, id, Insert)).collect();
    harness.take(commit(880, &ids));
    harness.take(commit(960, &[(2, 1, Insert)]));
    harness.writer.expire(Timestamp::now());
    assert_eq!(harness.poll(&["a"], at(800)).changes.len(), 1000);
    assert_eq!(harness.metrics.log_entries.with_label_values(&["a"]).get(), 5_000);
    let bytes = harness.metrics.log_bytes.get();
    assert!(bytes > 5_000 * 72, "{bytes}");
    let tomorrow = Timestamp::now() + GENEROUS.max_age + std::time::Duration::from_mins(1);
    harness.writer.expire(tomorrow);
    assert_eq!(summary(&harness.poll_all(at(800))), "!a !b");
    // A client that has all evicted changes continues.
    assert_eq!(summary(&harness.poll_all(at(960))), "");
    assert_eq!(harness.metrics.log_entries.with_label_values(&["a"]).get(), 0);
    assert!(harness.metrics.log_bytes.get() < 5_000);
    let age = harness.metrics.log_floor_age_seconds.with_label_values(&["a"]).get();
    assert!((86_400.0..90_000.0).contains(&age), "{age}");
}

#[test]
fn applied_changes_are_counted() {
    let mut harness = Harness::started();
    harness.take(commit(880, &[(1, 1, Insert), (1, 2, Update), (2, 1, Update)]));
    harness.take(commit(960, &[(1, 1, Delete)]));
    harness.take(commit(1040, &[]));
    let count = |table, op| harness.metrics.changes.with_label_values(&[table, op]).get();
    assert_eq!((count("a", "insert"), count("a", "update"), count("a", "delete")), (1, 1, 1));
    assert_eq!(count("b", "update"), 1);
    assert_eq!(harness.metrics.transactions.get(), 2);
    let visible = &harness.metrics.commit_to_visible_seconds;
    assert_eq!(visible.get_sample_count(), 2);
    assert!(visible.get_sample_sum() < 60.0);
}

#[test]
fn a_batch_is_applied_in_slices_and_whole() {
    let mut harness = Harness::started();
    let ids: Vec<_> = (0..1_500).map(|id| (1, id, Insert)).collect();
    let events = (1..=10).map(|n| commit(800 + n * 80, &ids)).collect();
    harness.writer.apply(events);
    assert_eq!(harness.store.applied(), Some(at(1600)));
    assert_eq!(harness.store.status().tables.first().unwrap().entries, 1_500);
}

#[test]
fn resets_are_kept_across_a_new_definition() {
    let mut harness = Harness::started();
    harness.take(commit_with(880, &[], vec![reset(1, ResetReason::Truncate)]));
    harness.take(commit(960, &[(1, 1, Insert), (1, 2, Delete)]));
    let mut redefined = table(1, "a");
    redefined.key_columns = vec!["other".into()];
    let tables = vec![redefined, table(2, "b"), table(3, "c")];
    harness.take(Event::Tables { tables, resets: vec![] });
    let status = harness.store.status();
    let (a, b) = (&status.tables[0], &status.tables[1]);
    let last = a.resets.last.unwrap();
    assert_eq!((a.resets.count, last.reason), (2, ResetReason::Schema));
    assert_eq!(last.position, status.applied);
    assert_eq!((a.changes.inserts, a.changes.deletes), (1, 1));
    assert_eq!((b.resets.count, b.resets.last), (0, None));
}
