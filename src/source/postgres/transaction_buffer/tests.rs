//! The transaction buffer at and beyond its limits.

use super::*;
use crate::scope::ScopeValues;

const T: TableOid = TableOid(1);
const U: TableOid = TableOid(2);

fn limits(max_changes: usize, max_bytes: usize) -> TransactionLimits {
    TransactionLimits { max_changes, max_bytes, max_streamed_bytes: usize::MAX }
}

fn buffer(max_changes: usize) -> TransactionBuffer {
    TransactionBuffer::new(limits(max_changes, 1 << 20))
}

fn push(buffer: &mut TransactionBuffer, table: TableOid, op: Op, key: Key) {
    buffer.next_row();
    buffer.push(table, op, key, None);
}

fn ops(changes: &[Change]) -> Vec<(u32, Op, String)> {
    changes.iter().map(|c| (c.ordinal, c.op, format!("{:?}", c.key))).collect()
}

#[test]
fn keeps_stream_order_and_counts_from_one() {
    let mut buffer = buffer(10);
    push(&mut buffer, T, Op::Insert, Key::integer(7));
    push(&mut buffer, U, Op::Delete, Key::integer(8));
    buffer.finish();
    let (changes, resets, _) = buffer.take();
    assert_eq!(ops(&changes), [(2, Op::Insert, "7".into()), (4, Op::Delete, "8".into())]);
    assert!(resets.is_empty() && buffer.is_empty());
    push(&mut buffer, T, Op::Update, Key::integer(7));
    assert_eq!(buffer.take().0[0].ordinal, 2);
}

#[test]
fn exactly_the_limit_is_reported_and_one_more_row_resets() {
    for (rows, is_reset) in [(5, false), (6, true)] {
        let mut buffer = buffer(5);
        for id in 0..rows {
            push(&mut buffer, T, Op::Insert, Key::integer(id));
            push(&mut buffer, U, Op::Update, Key::integer(0));
        }
        buffer.finish();
        let (changes, resets, _) = buffer.take();
        assert_eq!(resets.iter().any(|r| r.table == T), is_reset, "{rows} rows");
        assert!(changes.iter().any(|c| c.table == U), "other tables are reported");
        assert_eq!(changes.iter().any(|c| c.table == T), !is_reset);
    }
}

#[test]
fn a_few_rows_changed_often_are_reported() {
    let mut buffer = buffer(5);
    for round in 0..10_000 {
        push(&mut buffer, T, Op::Update, Key::integer(round % 5));
        assert!(buffer.changes.len() <= 16, "{} buffered", buffer.changes.len());
    }
    buffer.finish();
    let (changes, resets, _) = buffer.take();
    assert!(resets.is_empty());
    let mut reported: Vec<_> = changes.iter().map(|c| format!("{:?}", c.key)).collect();
    reported.sort();
    reported.dedup();
    assert_eq!(reported, ["0", "1", "2", "3", "4"]);
}

#[test]
fn merging_reports_the_net_effect_of_the_commit() {
    let mut buffer = buffer(4);
    let rows = [
        (Op::Insert, 1),
        (Op::Update, 1), // insert
        (Op::Delete, 2),
        (Op::Insert, 2), // update
        (Op::Insert, 3),
        (Op::Delete, 3), // nothing
        (Op::Update, 4),
        (Op::Delete, 4), // delete
    ];
    for (op, id) in rows {
        push(&mut buffer, T, op, Key::integer(id));
    }
    buffer.merge(T);
    let (changes, ..) = buffer.take();
    let expected =
        [(4, Op::Insert, "1".into()), (8, Op::Update, "2".into()), (16, Op::Delete, "4".into())];
    assert_eq!(ops(&changes), expected);
}

#[test]
fn wide_keys_are_bounded_by_bytes() {
    let mut buffer = TransactionBuffer::new(limits(1_000_000, 100_000));
    push(&mut buffer, U, Op::Update, Key::integer(1));
    for id in 0..100_u8 {
        push(&mut buffer, T, Op::Insert, Key::json(&[id; 8_000]));
        assert!(buffer.bytes <= 100_000 + 9_000);
    }
    let (changes, resets, _) = buffer.take();
    assert_eq!(resets, [Reset { table: T, reason: ResetReason::LargeTransaction }]);
    assert_eq!(changes.len(), 1);
}

#[test]
fn a_reset_table_is_not_buffered_again() {
    let mut buffer = buffer(10);
    push(&mut buffer, T, Op::Insert, Key::integer(1));
    buffer.reset(T, ResetReason::Truncate);
    push(&mut buffer, T, Op::Insert, Key::integer(2));
    buffer.reset(T, ResetReason::NoKey);
    let (changes, resets, _) = buffer.take();
    assert!(changes.is_empty());
    assert_eq!(resets, [Reset { table: T, reason: ResetReason::Truncate }]);
}

#[test]
fn a_changed_key_is_two_rows_with_separate_ordinals() {
    let mut buffer = buffer(10);
    push(&mut buffer, T, Op::Insert, Key::integer(1));
    buffer.next_row();
    let found = |id| ScopedKey { key: Key::integer(id), scope: None };
    buffer.push_key_change(T, found(1), found(2));
    let (changes, ..) = buffer.take();
    let expected =
        [(2, Op::Insert, "1".into()), (3, Op::Delete, "1".into()), (4, Op::Insert, "2".into())];
    assert_eq!(ops(&changes), expected);
}

fn whole(table: TableOid, id: i64, bytes: usize) -> RowChange {
    let image = crate::row::RowAfter::Full(crate::row::Row::new(&vec![b'x'; bytes]));
    RowChange::Upsert { table, key: Key::integer(id), image }
}

#[test]
fn rows_share_the_bytes_with_ids_and_the_largest_table_overflows() {
    let mut buffer = TransactionBuffer::new(limits(1_000_000, 100_000));
    push(&mut buffer, U, Op::Update, Key::integer(1));
    buffer.push_row(whole(U, 1, 10));
    for id in 0..100_000 {
        push(&mut buffer, T, Op::Insert, Key::integer(id));
        buffer.push_row(whole(T, id, 1_000));
        assert!(buffer.bytes() <= 102_000, "{id}");
    }
    buffer.finish();
    let (changes, resets, rows) = buffer.take();
    assert_eq!(resets, [Reset { table: T, reason: ResetReason::LargeTransaction }]);
    assert_eq!(changes.len(), 1);
    assert_eq!(rows, [whole(U, 1, 10), RowChange::Invalidate(T)]);
    assert!(buffer.is_empty() && buffer.accepts_rows(T));
}

#[test]
fn a_buffer_with_rows_alone_is_not_empty() {
    let mut buffer = buffer(10);
    buffer.push_row(RowChange::Truncate(T));
    assert!(!buffer.is_empty());
    assert_eq!(buffer.take().2, [RowChange::Truncate(T)]);
    assert!(buffer.is_empty());
}

#[test]
fn invalidated_rows_stay_invalidated_until_the_commit() {
    let mut buffer = buffer(10);
    buffer.push_row(whole(T, 1, 1));
    buffer.invalidate_rows(T);
    buffer.push_row(RowChange::Truncate(T));
    buffer.push_row(whole(T, 2, 1));
    buffer.invalidate_rows(T);
    assert_eq!(buffer.take().2, [RowChange::Invalidate(T)]);
    buffer.push_row(RowChange::Truncate(T));
    assert_eq!(buffer.take().2, [RowChange::Truncate(T)]);
}

fn scope(owner: i64) -> ScopeValues {
    ScopeValues::json(format!("[{owner}]").as_bytes())
}

fn moves(changes: &[Change]) -> Vec<String> {
    let shown = |change: &Change| {
        let scope = change.scope.as_deref().unwrap();
        let (before, after) = (&scope.before, &scope.after);
        format!("{} {:?} {:?} {before:?} {after:?}", change.ordinal, change.op, change.key)
    };
    changes.iter().map(shown).collect()
}

#[test]
fn a_row_that_leaves_its_scope_is_merged_into_a_delete_and_an_insert() {
    let mut buffer = buffer(1);
    let mut update = |owner_before: Option<i64>, owner_after: i64| {
        buffer.next_row();
        let before = owner_before.map(scope);
        let moved = ScopeTransition { before, after: Some(scope(owner_after)) };
        buffer.push(T, Op::Update, Key::integer(1), Some(Box::new(moved)));
    };
    update(None, 5);
    update(Some(5), 6);
    update(Some(6), 7);
    buffer.finish();
    let reported = moves(&buffer.take().0);
    assert_eq!(reported, ["4 Delete 1 Some([5]) None", "6 Insert 1 None Some([7])"]);
}

#[test]
fn a_row_that_returns_to_its_scope_is_merged_into_an_update() {
    let mut buffer = buffer(1);
    for (before, after) in [(5, 6), (6, 5)] {
        buffer.next_row();
        let moved = ScopeTransition { before: Some(scope(before)), after: Some(scope(after)) };
        buffer.push(T, Op::Update, Key::integer(1), Some(Box::new(moved)));
    }
    buffer.finish();
    assert_eq!(moves(&buffer.take().0), ["4 Update 1 None Some([5])"]);
}
