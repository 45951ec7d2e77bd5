//! The log alone: the changes it returns, evicts and counts.

use Op::{Delete, Insert, Update};

use super::*;
use crate::lsn::Lsn;

const PLENTY: usize = usize::MAX;

fn at(lsn: u64) -> Position {
    Position { lsn: Lsn(lsn * 8), ordinal: 1 }
}

fn after(lsn: u64) -> Position {
    Position::after_commit(Lsn(lsn * 8))
}

fn empty() -> VersionLog {
    VersionLog::new(Position::START, CommitTime(0))
}

/// A log with these changes to these ids, at positions 1, 2, 3, … and the same seconds.
fn log_of(changes: &[(i64, Op)], max_changes: usize) -> VersionLog {
    let mut log = empty();
    for ((id, op), lsn) in changes.iter().zip(1..) {
        let time = CommitTime(i64::try_from(lsn).unwrap() * 1_000_000);
        log.apply(Key::integer(*id), *op, at(lsn), time, max_changes);
    }
    log
}

fn summary(log: &VersionLog, lsn: u64) -> String {
    let one = |change: LatestChange| {
        let sign = match change.op {
            Op::Insert => '+',
            Op::Update => '~',
            Op::Delete => '-',
        };
        format!("{:?}{sign}", change.key)
    };
    log.after(after(lsn)).map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_id_is_reported_once_in_the_order_of_its_last_change() {
    let log = log_of(&[(1, Update), (2, Update), (1, Update), (3, Update), (2, Update)], PLENTY);
    assert_eq!(summary(&log, 0), "1~ 3~ 2~");
    assert_eq!(summary(&log, 3), "3~ 2~");
    assert_eq!(summary(&log, 5), "");
    assert_eq!(log.head(), at(5));
    assert_eq!(log.floor(), Position::START);
}

#[test]
fn the_operation_is_relative_to_the_position() {
    let log = log_of(&[(1, Insert), (1, Update), (2, Update), (3, Delete), (1, Update)], PLENTY);
    assert_eq!(summary(&log, 0), "2~ 3- 1+");
    assert_eq!(summary(&log, 1), "2~ 3- 1~");
    assert_eq!(summary(&log, 3), "3- 1~");
}

#[test]
fn a_row_inserted_again_existed_or_not_depending_on_the_position() {
    // Exists before 1; gone 1..2; exists 2..4; gone 4..6; exists 6..
    let changes =
        [(1, Delete), (1, Insert), (9, Update), (1, Delete), (9, Update), (1, Insert), (1, Update)];
    let log = log_of(&changes, PLENTY);
    let sign = |lsn| summary(&log, lsn).replace("9~ ", "");
    let seen: Vec<String> = (0..7).map(sign).collect();
    assert_eq!(seen, ["1~", "1+", "1~", "1~", "1+", "1+", "1~"]);
    assert_eq!(log.len(), 2 + 2);
}

#[test]
fn a_row_inserted_and_deleted_is_reported_as_deleted() {
    let log = log_of(&[(1, Insert), (1, Delete)], PLENTY);
    assert_eq!(summary(&log, 0), "1-");
}

#[test]
fn missing_operations_in_the_stream_are_tolerated() {
    // Inserted again without a delete: it existed all the time.
    let log = log_of(&[(1, Insert), (1, Insert)], PLENTY);
    assert_eq!(summary(&log, 1), "1~");
    // Deleted twice: a client that has it must get the delete; and it did not exist in between.
    let log = log_of(&[(1, Delete), (1, Delete), (9, Update), (1, Update)], PLENTY);
    assert_eq!(summary(&log, 2), "9~ 1+");
    assert_eq!(summary(&log, 1), "9~ 1+");
    assert_eq!(summary(&log, 0), "9~ 1~");
}

#[test]
fn the_oldest_changes_beyond_max_changes_are_evicted() {
    let mut log = log_of(&[(1, Update), (2, Update), (1, Update), (3, Update), (4, Update)], 3);
    assert_eq!(log.floor(), at(2));
    assert_eq!(log.floor_time(), CommitTime(2_000_000));
    assert_eq!(summary(&log, 2), "1~ 3~ 4~");
    log.apply(Key::integer(5), Insert, at(6), CommitTime(0), 3);
    assert_eq!(log.floor(), at(3));
    // An evicted id is added anew.
    log.apply(Key::integer(2), Insert, at(7), CommitTime(0), 3);
    assert_eq!(summary(&log, 5), "5+ 2+");
    log.apply(Key::integer(3), Delete, at(8), CommitTime(0), 0);
    assert_eq!((log.floor(), log.len()), (at(8), 0));
}

#[test]
fn earlier_lifetimes_count_and_are_evicted_in_order() {
    let mut log =
        log_of(&[(1, Delete), (1, Insert), (1, Delete), (2, Update), (1, Insert)], PLENTY);
    assert_eq!((log.len(), log.ids()), (4, 2));
    // The oldest entry is the position of the first reinsertion, then 2's update.
    assert!(log.evict_oldest());
    assert_eq!((log.floor(), log.len()), (at(2), 3));
    assert_eq!((summary(&log, 2), summary(&log, 3)), ("2~ 1~".into(), "2~ 1+".into()));
    assert!(log.evict_oldest());
    assert_eq!((log.floor(), log.len()), (at(4), 2));
    assert_eq!(summary(&log, 4), "1+");
    assert!(log.evict_oldest());
    assert!(log.evict_oldest());
    assert!(!log.evict_oldest());
    assert_eq!((log.floor(), log.bytes()), (at(5), empty().bytes()));
}

#[test]
fn old_changes_expire() {
    let mut log = log_of(&[(1, Update), (2, Update), (3, Update)], PLENTY);
    while log.expire_oldest(CommitTime(3_000_000)) {}
    assert_eq!((summary(&log, 2), log.floor()), ("3~".into(), at(2)));
}

#[test]
fn a_reset_removes_everything() {
    let mut log = log_of(&[(1, Update), (2, Delete), (2, Insert)], PLENTY);
    drop(log.reset(after(9), CommitTime(5)));
    assert_eq!((log.floor(), log.head(), log.floor_time()), (after(9), after(9), CommitTime(5)));
    assert_eq!((summary(&log, 9), log.len()), (String::new(), 0));
    log.apply(Key::integer(1), Update, at(10), CommitTime(0), PLENTY);
    assert_eq!(summary(&log, 9), "1~");
}

#[test]
fn giving_memory_back_keeps_the_entries() {
    let mut changes: Vec<(i64, Op)> = (0..4000).map(|id| (id, Insert)).collect();
    changes.extend((3000..3500).flat_map(|id| [(id, Delete), (id, Insert), (id, Update)]));
    let mut log = log_of(&changes, PLENTY);
    for _ in 0..2500 {
        log.evict_oldest();
    }
    let before = (summary(&log, 2500), summary(&log, 5000), log.len());
    let bytes = log.bytes();
    assert!(log.has_spare_chunk() && log.is_sparse());
    while log.has_spare_chunk() {
        log.release_chunk();
    }
    assert!(log.bytes() + 2 * 48 * SPARE <= bytes, "{} of {bytes}", log.bytes());
    assert_eq!((summary(&log, 2500), summary(&log, 5000), log.len()), before);
    for (id, lsn) in (2500..4000).zip(10_000..) {
        log.apply(Key::integer(id), Update, at(lsn), CommitTime(0), PLENTY);
    }
    assert_eq!(log.ids(), 1500);
    while log.evict_oldest() {}
    assert_eq!(log.bytes(), empty().bytes());
}

#[test]
fn text_keys_count_their_heap_bytes() {
    let mut log = empty();
    let before = log.bytes();
    log.apply(Key::json(&[b'x'; 10_000]), Insert, at(1), CommitTime(0), PLENTY);
    assert!(log.bytes() >= before + 10_000);
    log.apply(Key::json(&[b'x'; 10_000]), Update, at(2), CommitTime(0), PLENTY);
    assert!(log.bytes() < before + 12_000);
    assert!(log.evict_oldest());
    assert_eq!(log.bytes(), before);
}

#[test]
fn an_integer_id_costs_less_than_100_bytes() {
    let ids = 200_000_i64;
    let mut log = empty();
    // The second time in another order than the first.
    let again = (0..ids).map(|n| n * 7919 % ids);
    for (id, lsn) in (0..ids).chain(again).zip(1..) {
        log.apply(Key::integer(id), Update, at(lsn), CommitTime(0), PLENTY);
        let each = log.bytes() / log.ids();
        assert!(each < 100 || log.ids() < 10_000, "{each} bytes each at {} ids", log.ids());
    }
    assert_eq!(log.ids(), usize::try_from(ids).unwrap());
}
