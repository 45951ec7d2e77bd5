//! The assembler fed with messages as a server sends them.

mod definitions;
mod interleaved;
mod rows;
mod streams;

use super::*;
use crate::change::Reset;
use crate::json_type::JsonType;
use crate::pgoutput::decode;
use crate::snapshot::Snapshot;
use crate::source::postgres::catalog::{CatalogKeyColumn, CatalogTable};
use crate::table::{RowCaching, Table, TableName, Tracking};
use crate::version::Epoch;

const INT8: u32 = 20;
const TEXT: u32 = 25;
const XID: Xid = Xid(731);
const LIMITS: TransactionLimits =
    TransactionLimits { max_changes: 100, max_bytes: 1 << 20, max_streamed_bytes: 1 << 22 };

/// A column's value in a tuple.
#[derive(Clone, Copy)]
enum V {
    T(&'static str),
    Null,
    Unchanged,
}
use V::{Null, T, Unchanged};

fn tuple(kind: u8, values: &[V]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            T(text) => {
                bytes.push(b't');
                bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                bytes.extend(text.as_bytes());
            }
            Null => bytes.push(b'n'),
            Unchanged => bytes.push(b'u'),
        }
    }
    bytes
}

fn row(tag: u8, oid: u32, tuples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(oid.to_be_bytes());
    for tuple in tuples {
        bytes.extend(tuple);
    }
    bytes
}

fn insert(oid: u32, values: &[V]) -> Vec<u8> {
    row(b'I', oid, &[tuple(b'N', values)])
}

fn update(oid: u32, old: Option<(u8, &[V])>, new: &[V]) -> Vec<u8> {
    let mut tuples: Vec<Vec<u8>> =
        old.map(|(kind, values)| tuple(kind, values)).into_iter().collect();
    tuples.push(tuple(b'N', new));
    row(b'U', oid, &tuples)
}

fn delete(oid: u32, kind: u8, values: &[V]) -> Vec<u8> {
    row(b'D', oid, &[tuple(kind, values)])
}

fn relation(oid: u32, identity: u8, columns: &[(bool, &str, u32)]) -> Vec<u8> {
    let mut bytes = vec![b'R'];
    bytes.extend(oid.to_be_bytes());
    bytes.extend(b"public\0t\0");
    bytes.push(identity);
    bytes.extend(u16::try_from(columns.len()).unwrap().to_be_bytes());
    for (key, name, type_oid) in columns {
        bytes.push(u8::from(*key));
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(type_oid.to_be_bytes());
        bytes.extend((-1_i32).to_be_bytes());
    }
    bytes
}

fn begin() -> Vec<u8> {
    let mut bytes = vec![b'B'];
    bytes.extend([0; 16]);
    bytes.extend(XID.0.to_be_bytes());
    bytes
}

fn commit(end: u64) -> Vec<u8> {
    let mut bytes = vec![b'C', 0];
    bytes.extend((end - 8).to_be_bytes());
    bytes.extend(end.to_be_bytes());
    bytes.extend(77_i64.to_be_bytes());
    bytes
}

fn truncate(oids: &[u32]) -> Vec<u8> {
    let mut bytes = vec![b'T'];
    bytes.extend(u32::try_from(oids.len()).unwrap().to_be_bytes());
    bytes.push(0);
    for oid in oids {
        bytes.extend(oid.to_be_bytes());
    }
    bytes
}

fn table(oid: u32, key: &[(&str, u32, JsonType)]) -> CatalogTable {
    let key_columns = key.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let tracking =
        if key.is_empty() { Tracking::ResetOnly("no key".into()) } else { Tracking::Ids };
    CatalogTable {
        table: Table {
            oid: TableOid(oid),
            name: TableName::new("public", format!("t{oid}")),
            key_columns,
            tracking,
            rows: RowCaching::Disabled,
            scope: vec![],
        },
        key: key
            .iter()
            .map(|(name, type_oid, kind)| CatalogKeyColumn {
                name: (*name).to_owned(),
                type_oid: *type_oid,
                kind: *kind,
            })
            .collect(),
        scope: vec![],
        scope_error: None,
        published: vec![],
        membership: "m".into(),
        definition: "d".into(),
        changed_transactions_ago: 1000,
        is_partitioned: false,
        leaves: vec![],
    }
}

fn items() -> CatalogTable {
    table(1, &[("id", INT8, JsonType::Integer)])
}

const ITEMS: &[(bool, &str, u32)] = &[(true, "id", INT8), (false, "name", TEXT)];

fn catalog_at(as_of: u64, tables: Vec<CatalogTable>) -> Catalog {
    let snapshot: Snapshot = "9:9:".parse().unwrap();
    Catalog { as_of: Lsn(as_of), snapshot: snapshot.clone(), snapshot_before: snapshot, tables }
}

/// An assembler that has started at 100 with these tables.
fn started(tables: Vec<CatalogTable>) -> Assembler {
    let mut assembler = Assembler::new(LIMITS);
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        catalog_at(100, tables),
        None,
        None,
    );
    assembler
}

/// Feeds messages and returns the events.
fn feed(assembler: &mut Assembler, messages: &[Vec<u8>]) -> Vec<Event> {
    let mut events = Vec::new();
    for bytes in messages {
        assembler.push(&decode(bytes).unwrap(), &mut events).unwrap();
    }
    events
}

/// The changes of the only commit among the events, as text.
fn reported(events: &[Event]) -> Vec<String> {
    let [Event::Commit(transaction)] = events else { panic!("one commit, not {events:?}") };
    let changes = transaction.changes.iter();
    let mut all: Vec<String> =
        changes.map(|c| format!("{} {} {:?}", c.op.as_str(), c.table.0, c.key)).collect();
    all.extend(
        transaction.resets.iter().map(|r| format!("reset {} {}", r.table.0, r.reason.as_str())),
    );
    all
}

#[test]
fn a_transaction_is_emitted_at_its_commit_and_not_before() {
    let mut assembler = started(vec![items()]);
    let open = [
        begin(),
        relation(1, b'd', ITEMS),
        insert(1, &[T("7"), T("a")]),
        update(1, None, &[T("8"), T("b")]),
        delete(1, b'K', &[T("9"), Null]),
    ];
    assert!(feed(&mut assembler, &open).is_empty());
    let events = feed(&mut assembler, &[commit(208)]);
    assert_eq!(reported(&events), ["insert 1 7", "update 1 8", "delete 1 9"]);
    assert_eq!(assembler.position(), Lsn(208));
}

#[test]
fn a_changed_key_is_a_delete_and_an_insert() {
    let mut assembler = started(vec![items()]);
    let messages = [
        begin(),
        relation(1, b'd', ITEMS),
        update(1, Some((b'K', &[T("7"), Null])), &[T("8"), T("a")]),
        commit(208),
    ];
    assert_eq!(reported(&feed(&mut assembler, &messages)), ["delete 1 7", "insert 1 8"]);
}

#[test]
fn with_identity_full_the_primary_key_is_the_id() {
    let mut assembler = started(vec![items()]);
    let columns = &[(true, "id", INT8), (true, "name", TEXT)];
    let messages = [
        begin(),
        relation(1, b'f', columns),
        update(1, Some((b'O', &[T("7"), T("a")])), &[T("7"), T("b")]),
        update(1, Some((b'O', &[T("7"), T("b")])), &[T("8"), T("b")]),
        delete(1, b'O', &[T("8"), T("b")]),
        commit(208),
    ];
    assert_eq!(
        reported(&feed(&mut assembler, &messages)),
        ["update 1 7", "delete 1 7", "insert 1 8", "delete 1 8"]
    );
}

#[test]
fn several_columns_come_in_key_order() {
    let key = [("b", TEXT, JsonType::String), ("a", INT8, JsonType::Integer)];
    let mut assembler = started(vec![table(1, &key)]);
    let columns = &[(true, "a", INT8), (false, "x", TEXT), (true, "b", TEXT)];
    let messages = [
        begin(),
        relation(1, b'd', columns),
        insert(1, &[T("5"), T("-"), T("it's \"q\"")]),
        commit(208),
    ];
    assert_eq!(reported(&feed(&mut assembler, &messages)), [r#"insert 1 ["it's \"q\"",5]"#]);
}

#[test]
fn an_unchanged_toasted_key_is_read_from_the_old_tuple_or_resets() {
    let tables = vec![table(1, &[("id", TEXT, JsonType::String)])];
    let columns = &[(true, "id", TEXT)];
    let mut assembler = started(tables);
    let messages = [
        begin(),
        relation(1, b'd', columns),
        update(1, Some((b'K', &[T("long")])), &[Unchanged]),
        commit(208),
    ];
    assert_eq!(reported(&feed(&mut assembler, &messages)), [r#"update 1 "long""#]);
    let messages = [begin(), update(1, None, &[Unchanged]), commit(308)];
    assert_eq!(reported(&feed(&mut assembler, &messages)), ["reset 1 unknown_key"]);
}

#[test]
fn truncate_and_tables_without_key_are_resets() {
    let mut assembler = started(vec![items(), table(2, &[])]);
    let messages = [
        begin(),
        relation(1, b'd', ITEMS),
        insert(1, &[T("1"), Null]),
        truncate(&[1, 99]),
        insert(1, &[T("2"), Null]),
        relation(2, b'd', &[(false, "v", TEXT)]),
        insert(2, &[T("x")]),
        insert(2, &[T("y")]),
        commit(208),
    ];
    assert_eq!(reported(&feed(&mut assembler, &messages)), ["reset 1 truncate", "reset 2 no_key"]);
}

#[test]
fn a_repeated_commit_is_ignored() {
    let mut assembler = started(vec![items()]);
    let first = [begin(), relation(1, b'd', ITEMS), insert(1, &[T("1"), Null]), commit(208)];
    assert_eq!(feed(&mut assembler, &first).len(), 1);
    assembler.resume(Epoch(1).into(), PostmasterId::default(), catalog_at(300, vec![items()]));
    assert!(feed(&mut assembler, &first).is_empty());
    assert_eq!(assembler.position(), Lsn(208));
}

#[test]
fn an_interrupted_transaction_leaves_nothing_behind() {
    let mut assembler = started(vec![items()]);
    feed(&mut assembler, &[begin(), relation(1, b'd', ITEMS), insert(1, &[T("1"), Null])]);
    assembler.resume(Epoch(1).into(), PostmasterId::default(), catalog_at(100, vec![items()]));
    let again = [begin(), relation(1, b'd', ITEMS), insert(1, &[T("2"), Null]), commit(208)];
    assert_eq!(reported(&feed(&mut assembler, &again)), ["insert 1 2"]);
}

#[test]
fn watermarks_move_only_between_transactions() {
    let mut assembler = started(vec![items()]);
    let mut events = Vec::new();
    assembler.keepalive(Lsn(120), &mut events);
    assembler.keepalive(Lsn(110), &mut events);
    assembler.keepalive(Lsn(130), &mut events);
    assert_eq!(events, [Event::Watermark(Lsn(130))], "neighbours are merged");
    feed(&mut assembler, &[begin()]);
    events.clear();
    assembler.keepalive(Lsn(500), &mut events);
    assert!(events.is_empty());
    assert_eq!(feed(&mut assembler, &[commit(208)]), [Event::Watermark(Lsn(208))]);
}

#[test]
fn a_table_that_joined_is_reset_again_when_the_transactions_open_then_have_ended() {
    let mut assembler = started(vec![]);
    let mut refresh_with = |as_of: u64, snapshot: &str| {
        let catalog =
            Catalog { snapshot: snapshot.parse().unwrap(), ..catalog_at(as_of, vec![items()]) };
        let mut events = Vec::new();
        assembler.update_catalog(catalog, &mut events);
        assembler.keepalive(Lsn(as_of), &mut events);
        let resets = events.iter().map(|event| match event {
            Event::Tables { resets, .. } => resets.len(),
            _ => 0,
        });
        resets.sum::<usize>()
    };
    assert_eq!(refresh_with(200, "7:9:7"), 1, "joined");
    assert_eq!(refresh_with(300, "7:12:7,11"), 0, "7 is still open");
    assert_eq!(refresh_with(400, "11:14:11"), 1, "7 has ended");
    assert_eq!(refresh_with(500, "16:16:"), 0, "11 began after the table had joined");
}

#[test]
fn a_table_that_joins_appears_with_a_reset_once_the_refresh_is_passed() {
    let mut assembler = started(vec![items()]);
    let messages = [begin(), relation(2, b'd', ITEMS), insert(2, &[T("1"), Null]), commit(208)];
    assert_eq!(feed(&mut assembler, &messages), [Event::Watermark(Lsn(208))]);
    assert!(assembler.take_needs_refresh());
    let joined = table(2, &[("id", INT8, JsonType::Integer)]);
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(300, vec![items(), joined]), &mut events);
    assert!(events.is_empty(), "the refresh is ahead of the stream");
    assembler.keepalive(Lsn(300), &mut events);
    let [Event::Watermark(Lsn(300)), Event::Tables { tables, resets }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(tables.len(), 2);
    assert_eq!(*resets, [Reset { table: TableOid(2), reason: ResetReason::Membership }]);
    // The server has described it already, and does so only once.
    let events = feed(&mut assembler, &[begin(), insert(2, &[T("2"), Null]), commit(408)]);
    let [Event::Commit(transaction)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((transaction.changes.len(), transaction.resets.len()), (1, 0));
}

#[test]
fn leaving_and_joining_between_two_refreshes_is_noticed() {
    let mut assembler = started(vec![items()]);
    let again = CatalogTable { membership: "another row of pg_publication_rel".into(), ..items() };
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(100, vec![again]), &mut events);
    let [Event::Tables { resets, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*resets, [Reset { table: TableOid(1), reason: ResetReason::Membership }]);
}

#[test]
fn a_table_changed_while_disconnected_is_reset_after_a_restart() {
    for (since, is_reset) in [(999, false), (1000, true)] {
        let mut assembler = Assembler::new(LIMITS);
        assembler.start(
            Epoch(1).into(),
            PostmasterId::default(),
            Lsn(100),
            catalog_at(200, vec![items()]),
            Some(since),
            None,
        );
        let mut events = Vec::new();
        assembler.keepalive(Lsn(200), &mut events);
        assert_eq!(
            events.iter().any(|e| matches!(e, Event::Tables { .. })),
            is_reset,
            "{events:?}"
        );
    }
}

#[test]
fn a_changed_shape_resets_and_a_changed_key_is_not_guessed() {
    let mut assembler = started(vec![items()]);
    feed(
        &mut assembler,
        &[begin(), relation(1, b'd', ITEMS), insert(1, &[T("1"), Null]), commit(208)],
    );
    // A column more: same key.
    let wider = &[(true, "id", INT8), (false, "name", TEXT), (false, "more", TEXT)];
    let messages =
        [begin(), relation(1, b'd', wider), insert(1, &[T("2"), Null, Null]), commit(308)];
    assert_eq!(reported(&feed(&mut assembler, &messages)), ["reset 1 schema"]);
    let messages = [begin(), insert(1, &[T("3"), Null, Null]), commit(408)];
    assert_eq!(reported(&feed(&mut assembler, &messages)), ["insert 1 3"]);
    // Another key: unknown until a refresh shows it.
    assembler.take_needs_refresh();
    let other = &[(false, "id", INT8), (true, "name", TEXT), (false, "more", TEXT)];
    let messages =
        [begin(), relation(1, b'd', other), insert(1, &[T("4"), T("a"), Null]), commit(508)];
    assert_eq!(reported(&feed(&mut assembler, &messages)), ["reset 1 schema"]);
    assert!(assembler.take_needs_refresh());
    // The refresh shows the new key. The server has announced it already, in the transaction that
    // changed it, and need not do so again (PostgreSQL 14 does not).
    let renamed = CatalogTable {
        definition: "other".into(),
        ..table(1, &[("name", TEXT, JsonType::String)])
    };
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(508, vec![renamed]), &mut events);
    assert!(matches!(&events[..], [Event::Tables { resets, .. }] if resets.len() == 1));
    let messages = [begin(), insert(1, &[T("5"), T("b"), Null]), commit(608)];
    assert_eq!(reported(&feed(&mut assembler, &messages)), [r#"insert 1 "b""#]);
}

#[test]
fn a_stream_that_violates_the_protocol_is_rejected() {
    let mut assembler = started(vec![items()]);
    let mut push = |bytes: &[u8]| assembler.push(&decode(bytes).unwrap(), &mut Vec::new());
    assert!(matches!(push(&commit(208)), Err(AssembleError::OutOfPlace { .. })));
    push(&begin()).unwrap();
    assert!(matches!(push(&begin()), Err(AssembleError::OutOfPlace { .. })));
    assert!(matches!(push(b"E"), Err(AssembleError::OutOfPlace { .. })));
    let prepare = [&[b'b'][..], &[0; 28], b"gid\0"].concat();
    assert!(matches!(push(&prepare), Err(AssembleError::NotAskedFor("Begin Prepare"))));
}
