//! Round trips, damage, and the golden files of every format.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::change::{
    Change, CommitTime, Op, Reset, ResetReason, ScopeTransition, Started, Transaction,
};
use crate::history::{TimelineHistory, TimelineSwitch};
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::lsn::Lsn;
use crate::row::{PartialRow, Row, RowAfter, RowChange};
use crate::scope::ScopeValues;
use crate::snapshot::Xid;
use crate::source_status::PostmasterId;
use crate::table::{
    Column, RowCachePlan, RowCaching, RowMode, Table, TableName, TableOid, Tracking,
};

/// One batch with every kind of event, and every variant inside them. The golden file of format 1,
/// which an independent encoder has written, contains it; so it must not change.
fn every_kind() -> Vec<Event> {
    let switches = [TimelineSwitch { timeline: 1, at: Lsn(0x300_0028) }];
    let tables = vec![
        table(16_384, "items", Tracking::Ids, RowCaching::Enabled(Arc::new(plan()))),
        table(
            16_390,
            "logs",
            Tracking::ResetOnly("it has no primary key".into()),
            RowCaching::Disabled,
        ),
        table(16_396, "big", Tracking::Ids, RowCaching::Unavailable("too large".into())),
    ];
    vec![
        Event::Started(Started {
            history: TimelineHistory::new(7_312_345_678_901_234_567, 16_384, 2, &switches),
            server: PostmasterId(1_700_000_000_000_000),
            from: Lsn(0x16_B374_D848),
            tables: tables.clone(),
            broken: Some(ResetReason::SlotLost),
        }),
        Event::Commit(commit()),
        Event::Watermark(Lsn(u64::MAX)),
        Event::Tables {
            tables,
            resets: [
                ResetReason::Truncate,
                ResetReason::LargeTransaction,
                ResetReason::NoKey,
                ResetReason::UnknownKey,
                ResetReason::Schema,
                ResetReason::Membership,
                ResetReason::SlotLost,
                ResetReason::NewHistory,
                ResetReason::Reload,
            ]
            .map(|reason| Reset { table: TableOid(16_384), reason })
            .into(),
        },
    ]
}

fn table(oid: u32, name: &str, tracking: Tracking, rows: RowCaching) -> Table {
    Table {
        oid: TableOid(oid),
        name: TableName::new("public", name),
        key_columns: vec!["id".into()],
        tracking,
        rows,
        scope: vec![column("owner", Some(JsonShape::Scalar(JsonType::Integer)))],
    }
}

fn plan() -> RowCachePlan {
    let tags = JsonShape::Array { element: JsonType::String, delimiter: b',' };
    RowCachePlan {
        mode: RowMode::Preload,
        columns: vec![column("tags", Some(tags)), column("geometry", None)],
        key: vec![column("id", Some(JsonShape::Scalar(JsonType::Integer)))],
        partitioned: true,
        filter: Some("(id > 0)".into()),
        definition: "d 23:-1:1".into(),
        keys_are_exact: true,
    }
}

fn column(name: &str, form: Option<JsonShape>) -> Column {
    Column { name: name.into(), type_oid: 23, type_name: "integer".into(), form }
}

fn commit() -> Transaction {
    let scope = |json: &[u8]| Some(ScopeValues::json(json));
    let change =
        |key, op, ordinal, scope| Change { table: TableOid(16_384), key, op, ordinal, scope };
    let moved = ScopeTransition { before: scope(b"[1]"), after: scope(br#"["a",null]"#) };
    let (table, key) = (TableOid(16_384), Key::integer(-7));
    let image = |image| RowChange::Upsert { table, key: key.clone(), image };
    let partial = PartialRow::new(br#"{"id":-7,"big":null}"#, &[1]);
    Transaction {
        end_lsn: Lsn(0x16_B374_D900),
        committed_at: CommitTime(-1),
        xid: Xid(u32::MAX),
        changes: vec![
            change(Key::integer(i64::MIN), Op::Insert, 2, None),
            change(Key::json(br#""b\u00e4""#), Op::Update, 4, Some(Box::new(moved))),
            change(Key::json(b"[1,2]"), Op::Delete, u32::MAX - 1, None),
        ],
        resets: vec![Reset { table: TableOid(u32::MAX), reason: ResetReason::Truncate }],
        rows: vec![
            image(RowAfter::Full(Row::new(br#"{"id":-7}"#))),
            image(RowAfter::Partial { row: partial, before: Some(Key::integer(0)) }),
            image(RowAfter::Unresolved),
            image(RowAfter::Deleted),
            RowChange::Truncate(table),
            RowChange::Invalidate(table),
        ],
    }
}

#[test]
fn every_kind_of_event_round_trips() {
    assert_eq!(decode(&encode(&every_kind()).unwrap()), Ok(every_kind()));
    assert_eq!(decode(&encode(&[]).unwrap()), Ok(vec![]));
}

#[test]
fn the_golden_file_of_format_1_decodes_and_is_what_this_release_writes() {
    let golden = include_bytes!("../../tests/fixtures/codec/format_1.bin");
    assert_eq!(decode(golden), Ok(every_kind()));
    let written = encode(&every_kind()).unwrap();
    assert!(written == golden, "the encoding changed: raise FORMAT and add a golden file");
}

#[test]
fn a_commit_of_one_row_is_small() {
    let change = Change {
        table: TableOid(16_384),
        key: Key::integer(1_000_000),
        op: Op::Update,
        ordinal: 2,
        scope: None,
    };
    let commit = |changes| {
        Event::Commit(Transaction {
            end_lsn: Lsn(0x16_B374_D848),
            committed_at: CommitTime(850_000_000_000_000),
            xid: Xid(1_000_000),
            changes,
            resets: vec![],
            rows: vec![],
        })
    };
    let bytes = |changes| encode(&[commit(changes)]).unwrap().len() - HEADER_BYTES - 1;
    let (alone, with_change) = (bytes(vec![]), bytes(vec![change]));
    assert_eq!((alone, with_change - alone), (21, 10));
}

#[test]
fn an_unknown_format_is_refused_by_its_number() {
    let mut bytes = encode(&every_kind()).unwrap();
    bytes[1] = 2;
    assert_eq!(decode(&bytes), Err(CodecError::UnknownFormat(2)));
    let message = CodecError::UnknownFormat(2).to_string();
    assert!(message.contains("format 2") && message.contains("reads format 1"), "{message}");
}

#[test]
fn every_flipped_byte_and_every_cut_is_detected() {
    let bytes = encode(&every_kind()).unwrap();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x20;
        assert!(decode(&damaged).is_err(), "byte {place}");
        assert!(decode(&bytes[..place]).is_err(), "cut at {place}");
    }
}

#[test]
fn bytes_after_the_batch_are_refused() {
    let mut payload = postcard::to_stdvec(&every_kind()).unwrap();
    payload.push(0);
    let mut bytes = FORMAT.to_be_bytes().to_vec();
    bytes.extend(checksum(FORMAT, &payload).to_be_bytes());
    bytes.extend(payload);
    assert_eq!(decode(&bytes), Err(CodecError::TrailingBytes(1)));
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        any::<i64>().prop_map(Key::integer),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|text| Key::json(&text)),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Op::Insert), Just(Op::Update), Just(Op::Delete)]
}

fn any_scope() -> impl Strategy<Value = Option<ScopeValues>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..20).prop_map(|j| ScopeValues::json(&j)))
}

prop_compose! {
    fn any_change()(
        table: u32,
        key in any_key(),
        op in any_op(),
        ordinal: u32,
        scope in prop::option::of((any_scope(), any_scope())),
    ) -> Change {
        let scope = scope.map(|(before, after)| Box::new(ScopeTransition { before, after }));
        Change { table: TableOid(table), key, op, ordinal, scope }
    }
}

fn any_row_change() -> impl Strategy<Value = RowChange> {
    let json = || prop::collection::vec(any::<u8>(), 0..60);
    let image = prop_oneof![
        json().prop_map(|json| RowAfter::Full(Row::new(&json))),
        (json(), prop::collection::vec(any::<u16>(), 0..4), prop::option::of(any_key())).prop_map(
            |(json, missing, before)| {
                RowAfter::Partial { row: PartialRow::new(&json, &missing), before }
            }
        ),
        Just(RowAfter::Unresolved),
        Just(RowAfter::Deleted),
    ];
    prop_oneof![
        (any::<u32>(), any_key(), image).prop_map(|(oid, key, image)| RowChange::Upsert {
            table: TableOid(oid),
            key,
            image
        }),
        any::<u32>().prop_map(|oid| RowChange::Truncate(TableOid(oid))),
        any::<u32>().prop_map(|oid| RowChange::Invalidate(TableOid(oid))),
    ]
}

prop_compose! {
    fn any_commit()(
        end_lsn: u64,
        committed_at: i64,
        xid: u32,
        changes in prop::collection::vec(any_change(), 0..8),
        rows in prop::collection::vec(any_row_change(), 0..8),
    ) -> Event {
        Event::Commit(Transaction {
            end_lsn: Lsn(end_lsn),
            committed_at: CommitTime(committed_at),
            xid: Xid(xid),
            changes,
            resets: vec![],
            rows,
        })
    }
}

proptest! {
    #[test]
    fn commits_and_watermarks_round_trip(
        events in prop::collection::vec(
            prop_oneof![any_commit(), any::<u64>().prop_map(|lsn| Event::Watermark(Lsn(lsn)))],
            0..6,
        ),
    ) {
        prop_assert_eq!(decode(&encode(&events).unwrap()), Ok(events));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(payload: Vec<u8>) {
        let _ = decode(&payload);
        // Also behind a header that fits, where the checksum does not protect the decoder.
        let mut bytes = FORMAT.to_be_bytes().to_vec();
        bytes.extend(checksum(FORMAT, &payload).to_be_bytes());
        bytes.extend(payload);
        let _ = decode(&bytes);
    }
}
