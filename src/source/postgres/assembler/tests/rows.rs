//! Rows of tables with cached rows.

use std::sync::Arc;

use super::*;
use crate::json_type::JsonShape;
use crate::row::{Row, RowAfter};
use crate::source::postgres::catalog::PublishedColumn;
use crate::table::{Column, RowCachePlan, RowMode};

pub(super) const ROWS: &[(bool, &str, u32)] =
    &[(true, "id", INT8), (false, "name", TEXT), (false, "odd", 600), (false, "n", INT8)];

/// `t1 (id int8, name text, odd …, n int8)`, of which all but `n` is served, with a form for all but
/// `odd`.
pub(super) fn cached() -> CatalogTable {
    cached_as("d", ROWS)
}

pub(super) fn cached_as(definition: &str, columns: &[(bool, &str, u32)]) -> CatalogTable {
    let form = |type_oid| match type_oid {
        INT8 => Some(JsonShape::Scalar(JsonType::Integer)),
        TEXT => Some(JsonShape::Scalar(JsonType::String)),
        _ => None,
    };
    let column = |(_, name, type_oid): &(bool, &str, u32)| Column {
        name: (*name).to_owned(),
        type_oid: *type_oid,
        type_name: "t".into(),
        form: form(*type_oid),
    };
    let plan = RowCachePlan {
        mode: RowMode::Lazy,
        columns: columns.iter().filter(|(_, name, _)| *name != "n").map(column).collect(),
        key: columns.iter().filter(|(key, ..)| *key).map(column).collect(),
        partitioned: false,
        filter: None,
        definition: definition.into(),
        keys_are_exact: true,
    };
    let published = columns.iter().map(|(_, name, type_oid)| PublishedColumn {
        name: (*name).to_owned(),
        type_oid: *type_oid,
        type_modifier: -1,
    });
    let mut table = items();
    table.definition = definition.into();
    table.published = published.collect();
    table.table.rows = RowCaching::Enabled(Arc::new(plan));
    table
}

/// The row changes of the only commit among the events, as text.
pub(super) fn reported_rows(events: &[Event]) -> Vec<String> {
    let [Event::Commit(transaction)] = events else { panic!("one commit, not {events:?}") };
    transaction.rows.iter().map(shown).collect()
}

fn shown(change: &RowChange) -> String {
    match change {
        RowChange::Upsert { key, image: RowAfter::Full(row), .. } => format!("{key:?} = {row:?}"),
        RowChange::Upsert { key, image: RowAfter::Unresolved, .. } => format!("{key:?} unknown"),
        RowChange::Upsert { key, image: RowAfter::Deleted, .. } => format!("{key:?} deleted"),
        RowChange::Upsert { key, image: RowAfter::Partial { row, before }, .. } => {
            let old = r#"{"id":0,"name":"OLD","odd":"ODD"}"#;
            let filled = row.fill(&Row::new(old.as_bytes()));
            format!("{key:?} from {before:?} = {:?}", filled.expect("names of the row"))
        }
        RowChange::Truncate(table) => format!("truncate {}", table.0),
        RowChange::Invalidate(table) => format!("invalidate {}", table.0),
    }
}

fn transaction(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[begin(), relation(1, b'd', ROWS)], messages, &[commit(208)]].concat()
}

/// The row changes of one transaction on [`cached`].
fn rows_of(messages: &[Vec<u8>]) -> Vec<String> {
    reported_rows(&feed(&mut started(vec![cached()]), &transaction(messages)))
}

#[test]
fn whole_rows_come_in_stream_order_with_the_transactions_id() {
    let mut assembler = started(vec![cached(), table(2, &[("id", INT8, JsonType::Integer)])]);
    let messages = transaction(&[
        insert(1, &[T("7"), T("a\"b"), Null, T("1")]),
        relation(2, b'd', ITEMS),
        insert(2, &[T("1"), T("ids only")]),
        update(1, None, &[T("7"), Null, Null, Null]),
        delete(1, b'K', &[T("9"), Null, Null, Null]),
    ]);
    let events = feed(&mut assembler, &messages);
    assert_eq!(reported(&events), ["insert 1 7", "insert 2 1", "update 1 7", "delete 1 9"]);
    assert_eq!(
        reported_rows(&events),
        [
            r#"7 = {"id":7,"name":"a\"b","odd":null}"#,
            r#"7 = {"id":7,"name":null,"odd":null}"#,
            "9 deleted"
        ]
    );
    assert!(matches!(&events[..], [Event::Commit(t)] if t.xid == XID));
}

#[test]
fn a_value_without_a_certain_form_makes_the_row_unknown() {
    let reported = rows_of(&[
        insert(1, &[T("1"), T("a"), T("(1,2)"), Null]),
        insert(1, &[T("2"), T("a"), Null, T("not served")]),
    ]);
    assert_eq!(reported, ["1 unknown", r#"2 = {"id":2,"name":"a","odd":null}"#]);
    // A number that is none.
    let columns = &[(true, "id", INT8), (false, "v", INT8)];
    let mut assembler = started(vec![cached_as("d", columns)]);
    let messages = [begin(), relation(1, b'd', columns), insert(1, &[T("1"), T("x")]), commit(208)];
    assert_eq!(reported_rows(&feed(&mut assembler, &messages)), ["1 unknown"]);
}

#[test]
fn an_unchanged_large_value_is_taken_from_the_row_before() {
    let reported = rows_of(&[update(1, None, &[T("7"), Unchanged, Unchanged, T("2")])]);
    assert_eq!(reported, [r#"7 from None = {"id":7,"name":"OLD","odd":"ODD"}"#]);
    // A column that is not served needs no value.
    let reported = rows_of(&[update(1, None, &[T("7"), T("a"), Null, Unchanged])]);
    assert_eq!(reported, [r#"7 = {"id":7,"name":"a","odd":null}"#]);
}

#[test]
fn with_identity_full_it_is_in_the_old_tuple() {
    let old: &[V] = &[T("7"), T("large"), Null, Null];
    let reported = rows_of(&[
        update(1, Some((b'O', old)), &[T("7"), Unchanged, Unchanged, T("2")]),
        update(1, Some((b'O', old)), &[T("8"), Unchanged, Null, T("2")]),
    ]);
    assert_eq!(
        reported,
        [
            r#"7 = {"id":7,"name":"large","odd":null}"#,
            r#"8 = {"id":8,"name":"large","odd":null}"#,
            "7 deleted"
        ]
    );
}

#[test]
fn null_in_an_old_key_is_not_a_value() {
    let key: &[V] = &[T("7"), Null, Null, Null];
    let reported = rows_of(&[update(1, Some((b'K', key)), &[T("8"), Unchanged, Null, Null])]);
    assert_eq!(reported, [r#"8 from Some(7) = {"id":8,"name":"OLD","odd":null}"#, "7 deleted"]);
    let reported = rows_of(&[update(1, Some((b'K', key)), &[T("8"), T("a"), Null, Null])]);
    assert_eq!(reported, [r#"8 = {"id":8,"name":"a","odd":null}"#, "7 deleted"]);
}

#[test]
fn truncate_clears_and_later_rows_are_reported() {
    let mut assembler = started(vec![cached()]);
    let messages = transaction(&[
        insert(1, &[T("1"), Null, Null, Null]),
        truncate(&[1]),
        insert(1, &[T("2"), Null, Null, Null]),
    ]);
    let events = feed(&mut assembler, &messages);
    assert_eq!(reported(&events), ["reset 1 truncate"]);
    assert_eq!(reported_rows(&events), ["truncate 1", r#"2 = {"id":2,"name":null,"odd":null}"#]);
}

#[test]
fn an_unknown_key_invalidates_the_rows_of_the_transaction() {
    let reported = rows_of(&[
        insert(1, &[T("1"), Null, Null, Null]),
        delete(1, b'K', &[Null, Null, Null, Null]),
        insert(1, &[T("2"), Null, Null, Null]),
    ]);
    assert_eq!(reported, ["invalidate 1"]);
}

#[test]
fn an_interrupted_transaction_leaves_no_rows_behind() {
    let mut assembler = started(vec![cached()]);
    feed(&mut assembler, &transaction(&[insert(1, &[T("1"), Null, Null, Null])])[..3]);
    assembler.resume(Epoch(1).into(), PostmasterId::default(), catalog_at(100, vec![cached()]));
    let events = feed(&mut assembler, &transaction(&[insert(1, &[T("2"), Null, Null, Null])]));
    assert_eq!(reported_rows(&events), [r#"2 = {"id":2,"name":null,"odd":null}"#]);
}

#[test]
fn rows_beyond_the_limit_of_ids_are_still_reported() {
    let mut assembler = started(vec![cached()]);
    let ids: Vec<&'static str> = (0..=LIMITS.max_changes).map(|n| &*n.to_string().leak()).collect();
    let inserts: Vec<_> = ids.iter().map(|id| insert(1, &[T(id), Null, Null, Null])).collect();
    let events = feed(&mut assembler, &transaction(&inserts));
    assert_eq!(reported(&events), ["reset 1 large_transaction"]);
    assert_eq!(reported_rows(&events).len(), LIMITS.max_changes + 1);
}
