//! A definition that changes, seen by looks and by Relation messages in every order.

use super::rows::{ROWS, held, held_as, rows_told};
use super::*;
use crate::replication::announcement;

const WIDER: &[(bool, &str, u32)] =
    &[(true, "id", INT8), (false, "name", TEXT), (false, "x", TEXT)];

fn wider() -> CatalogTable {
    held_as("wider", WIDER)
}

fn first(assembler: &mut Assembler) {
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("1"), Null, Null, Null]), commit(208)];
    assert_eq!(rows_told(&feed(assembler, &messages)).len(), 1);
    assert!(!assembler.take_needs_refresh());
}

fn insert_wider(end: u64, relations: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[begin()], relations, &[insert(1, &[T("2"), T("b"), T("c")]), commit(end)]].concat()
}

/// The tables and resets of the only event, after a look has taken effect.
fn tables_told(events: &[Event]) -> (&Table, &[Reset]) {
    let [Event::Tables { tables, resets }] = events else { panic!("{events:?}") };
    (&tables[0], resets)
}

const RESET: Reset = Reset { table: TableOid(1), reason: ResetReason::Schema };
const WIDE_ROW: &str = r#"2 = {"id":2,"name":"b","x":"c"}"#;

#[test]
fn the_look_first_and_then_the_message_reset_once() {
    let mut assembler = started(vec![held()]);
    first(&mut assembler);
    let mut events = Vec::new();
    assembler.update_catalog(look(208, vec![wider()]), &mut events);
    assert_eq!(tables_told(&events), (&wider().table, &[RESET][..]));
    let events = feed(&mut assembler, &insert_wider(308, &[relation(1, b'd', WIDER)]));
    assert_eq!(
        (told(&events), rows_told(&events)),
        (vec!["insert 1 2".into()], vec![WIDE_ROW.into()])
    );
}

#[test]
fn the_message_first_loses_rows_until_the_look_which_need_no_other_message() {
    let mut assembler = started(vec![held()]);
    first(&mut assembler);
    for (end, relations) in [(308, vec![relation(1, b'd', WIDER)]), (408, vec![])] {
        let events = feed(&mut assembler, &insert_wider(end, &relations));
        assert_eq!(
            (told(&events), rows_told(&events)),
            (vec!["reset 1 schema".into()], vec!["lost 1".into()])
        );
        assert!(assembler.take_needs_refresh());
    }
    let mut events = Vec::new();
    assembler.update_catalog(look(408, vec![wider()]), &mut events);
    assert_eq!(tables_told(&events), (&wider().table, &[RESET][..]));
    let events = feed(&mut assembler, &insert_wider(508, &[]));
    assert_eq!(
        (told(&events), rows_told(&events)),
        (vec!["insert 1 2".into()], vec![WIDE_ROW.into()])
    );
}

#[test]
fn a_look_ahead_of_the_stream_waits_while_old_and_new_rows_come() {
    let mut assembler = started(vec![held()]);
    first(&mut assembler);
    let mut events = Vec::new();
    assembler.update_catalog(look(500, vec![wider()]), &mut events);
    assert!(events.is_empty());
    let old = [begin(), insert(1, &[T("3"), Null, Null, Null]), commit(308)];
    assert_eq!(rows_told(&feed(&mut assembler, &old)).len(), 1);
    let events = feed(&mut assembler, &insert_wider(408, &[relation(1, b'd', WIDER)]));
    assert_eq!(rows_told(&events), ["lost 1"]);
    let mut events = Vec::new();
    assembler.keepalive(Lsn(500), &mut events);
    assert_eq!(tables_told(&events[1..]).1, [RESET]);
    assert_eq!(rows_told(&feed(&mut assembler, &insert_wider(608, &[]))), [WIDE_ROW]);
}

#[test]
fn at_a_start_with_a_newer_look_older_rows_are_lost_until_the_change_has_passed() {
    let mut assembler = Assembler::new(LIMITS);
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        look(500, vec![wider()]),
        Some(1000),
        None,
    );
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("1"), Null, Null, Null]), commit(208)];
    let events = feed(&mut assembler, &messages);
    assert_eq!(
        (told(&events), rows_told(&events)),
        (vec!["reset 1 schema".into()], vec!["lost 1".into()])
    );
    let events = feed(&mut assembler, &insert_wider(308, &[relation(1, b'd', WIDER)]));
    assert_eq!(told(&events), ["reset 1 schema"]);
    assert_eq!(rows_told(&feed(&mut assembler, &insert_wider(408, &[]))), [WIDE_ROW]);
}

#[test]
fn a_change_that_was_taken_back_needs_no_look_that_shows_it() {
    let mut assembler = started(vec![held()]);
    first(&mut assembler);
    feed(&mut assembler, &insert_wider(308, &[relation(1, b'd', WIDER)]));
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("3"), Null, Null, Null]), commit(408)];
    assert_eq!(rows_told(&feed(&mut assembler, &messages)), ["lost 1"]);
    let mut events = Vec::new();
    assembler.update_catalog(look(408, vec![held()]), &mut events);
    assert!(events.is_empty());
    let messages = [begin(), insert(1, &[T("4"), Null, Null, Null]), commit(508)];
    assert_eq!(rows_told(&feed(&mut assembler, &messages)).len(), 1);
}

#[test]
fn a_message_that_comes_again_unchanged_wants_a_look_whose_fingerprint_tells() {
    let mut assembler = started(vec![held()]);
    first(&mut assembler);
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("3"), Null, Null, Null]), commit(308)];
    assert_eq!(rows_told(&feed(&mut assembler, &messages)).len(), 1);
    assert!(assembler.take_needs_refresh());
    let mut events = Vec::new();
    let rewritten = held_as("another xmin", ROWS);
    assembler.update_catalog(look(308, vec![rewritten.clone()]), &mut events);
    assert_eq!(tables_told(&events), (&rewritten.table, &[RESET][..]));
    let messages = [begin(), insert(1, &[T("4"), Null, Null, Null]), commit(408)];
    assert_eq!(rows_told(&feed(&mut assembler, &messages)).len(), 1);
}

fn announcement(flags: u8, prefix: &str, content: &str) -> Vec<u8> {
    let mut bytes = vec![b'M', flags];
    bytes.extend(300_u64.to_be_bytes());
    bytes.extend(prefix.as_bytes());
    bytes.push(0);
    bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content.as_bytes());
    bytes
}

#[test]
fn announced_tables_are_reset_in_their_commit_and_their_rows_lost() {
    let mut assembler = started(vec![held(), table(2, &[("id", INT8, JsonType::Integer)])]);
    first(&mut assembler);
    let messages = [
        begin(),
        insert(1, &[T("3"), Null, Null, Null]),
        announcement(1, "highwater", "2,1,99"),
        insert(1, &[T("4"), Null, Null, Null]),
        commit(308),
    ];
    let events = feed(&mut assembler, &messages);
    assert_eq!(told(&events), ["reset 2 schema", "reset 1 schema"]);
    assert_eq!(rows_told(&events), ["lost 1"]);
    assert!(assembler.take_needs_refresh());
}

#[test]
fn announcements_that_cant_be_read_want_a_look_and_those_of_others_nothing() {
    let mut assembler = started(vec![held()]);
    let send = |assembler: &mut Assembler, message, end| {
        feed(assembler, &[begin(), message, commit(end)]);
        assembler.take_needs_refresh()
    };
    assert!(send(&mut assembler, announcement(1, "highwater", "nonsense"), 308));
    assert!(send(&mut assembler, announcement(1, "highwater", ""), 408));
    assert!(!send(&mut assembler, announcement(1, "others", "1"), 508));
    assert!(!send(&mut assembler, announcement(0, "highwater", "1"), 608));
}

#[test]
fn what_a_look_finds_is_announced_and_who_found_the_same_has_nothing_to_add() {
    let [mut first, mut second] = [(); 2].map(|()| started(vec![items()]));
    let mut changed = items();
    changed.table.name = TableName::new("public", "renamed");
    let look_at = |assembler: &mut Assembler, seen_at, began: &str| {
        let began = began.parse().unwrap();
        let look = Catalog { began, ..look(seen_at, vec![changed.clone()]) };
        assembler.update_catalog(look, &mut Vec::new());
        assembler.keepalive(Lsn(seen_at), &mut Vec::new());
        assembler.take_delta()
    };
    let found = look_at(&mut first, 200, "700:700:");
    assert_eq!(found.keys().collect::<Vec<_>>(), [&TableOid(1)]);
    assert_eq!(look_at(&mut first, 200, "700:700:"), CatalogDelta::new(), "once");
    let text = announcement::format(&found);
    for (assembler, looks_again) in [(&mut first, false), (&mut second, true)] {
        let messages = [begin(), announcement(1, "highwater", &text), commit(308)];
        assert_eq!(told(&feed(assembler, &messages)), ["reset 1 schema"]);
        assert_eq!(assembler.is_awaiting_refresh(), looks_again);
        assert_eq!(assembler.take_needs_refresh(), looks_again);
    }
    assert_eq!(look_at(&mut second, 400, "740:740:"), CatalogDelta::new(), "announced");
    assert!(!second.is_awaiting_refresh());
}

#[test]
fn what_a_look_finds_beyond_an_announcement_is_announced() {
    let mut assembler = started(vec![items()]);
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "1:abc"), commit(308)]);
    let changed = CatalogTable { definition: "changed".into(), ..items() };
    assembler.update_catalog(look(308, vec![changed.clone()]), &mut Vec::new());
    assert_eq!(assembler.take_delta().len(), 1, "another fingerprint");
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "1"), commit(408)]);
    let changed = CatalogTable { definition: "again".into(), ..changed };
    assembler.update_catalog(look(408, vec![changed]), &mut Vec::new());
    assert_eq!(assembler.take_delta().len(), 0, "the change itself was announced");
}

#[test]
fn what_was_told_without_the_look_that_was_awaited_is_announced_with_it() {
    let changed = CatalogTable { definition: "changed".into(), ..items() };
    for goes_on in [false, true] {
        let mut assembler = started(vec![items()]);
        feed(&mut assembler, &[begin(), announcement(1, "highwater", "1"), commit(308)]);
        if goes_on {
            assembler.release_without_refresh();
        }
        assembler.update_catalog(look(308, vec![changed.clone()]), &mut Vec::new());
        assert_eq!(assembler.take_delta().len(), usize::from(goes_on));
    }
    // The slot was lost before the look.
    for (now, announced) in [(items(), 0), (changed.clone(), 1)] {
        let mut assembler = started(vec![items()]);
        let again = look(400, vec![now]);
        let broken = Some(ResetReason::SlotLost);
        assembler.start(Epoch(1).into(), PostmasterId::default(), Lsn(300), again, None, broken);
        assert_eq!(assembler.take_delta().len(), announced);
    }
    // An earlier run may have told it.
    let mut assembler = Assembler::new(LIMITS);
    let first = look(400, vec![changed]);
    assembler.start(Epoch(1).into(), PostmasterId::default(), Lsn(100), first, Some(1000), None);
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "1"), commit(308)]);
    assembler.keepalive(Lsn(400), &mut Vec::new());
    assert_eq!(assembler.take_delta().len(), 1);
}

#[test]
fn what_was_dropped_before_the_first_look_may_have_been_a_partition() {
    let root = CatalogTable { is_partitioned: true, ..items() };
    let other = table(2, &[("id", INT8, JsonType::Integer)]);
    let mut assembler = Assembler::new(LIMITS);
    let first = look(400, vec![root, other]);
    assembler.start(Epoch(1).into(), PostmasterId::default(), Lsn(100), first, None, None);
    let dropped = |end| [begin(), announcement(1, "highwater", ""), commit(end)];
    assert_eq!(told(&feed(&mut assembler, &dropped(308))), ["reset 1 membership"]);
    // From here on, looks show what goes.
    let events = feed(&mut assembler, &dropped(408));
    let resets = |event: &Event| matches!(event, Event::Commit(t) if !t.resets.is_empty());
    assert!(resets(&events[0]), "{events:?}");
    let events = feed(&mut assembler, &dropped(508));
    assert!(!events.iter().any(resets), "{events:?}");
}

#[test]
fn what_is_announced_is_awaited_until_a_look_that_began_after_it_is_in_effect() {
    let mut assembler = started(vec![items()]);
    let [open, ended] = ["731:740:731", "740:740:"].map(|began| began.parse().unwrap());
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "99"), commit(208)]);
    assert!(assembler.is_awaiting_refresh() && assembler.take_needs_refresh());
    let mut looks = |seen_at, began: Snapshot| {
        let look = Catalog { began, ..look(seen_at, vec![items()]) };
        assembler.update_catalog(look, &mut Vec::new());
        let before = assembler.is_awaiting_refresh();
        assembler.keepalive(Lsn(seen_at), &mut Vec::new());
        (before, assembler.is_awaiting_refresh(), assembler.take_needs_refresh())
    };
    assert_eq!(looks(300, open), (true, true, true), "another look is wanted");
    assert_eq!(looks(400, ended), (true, false, false));
}

#[test]
fn a_commit_or_a_look_that_changes_what_is_published_is_noticed_when_it_is_in_effect() {
    let root = CatalogTable { is_partitioned: true, ..items() };
    let other = table(2, &[("id", INT8, JsonType::Integer)]);
    let mut assembler = started(vec![root.clone(), other.clone()]);
    let announced = |tables, end| [begin(), announcement(1, "highwater", tables), commit(end)];
    feed(&mut assembler, &announced("2", 208));
    assert!(!assembler.take_membership_changed(), "only a table's own definition");
    for (tables, end) in [("1", 308), ("2,3", 408)] {
        let [begin, message, commit] = announced(tables, end);
        feed(&mut assembler, &[begin, message]);
        assert!(!assembler.take_membership_changed(), "not committed");
        feed(&mut assembler, &[commit]);
        assert!(assembler.take_membership_changed());
        assert!(!assembler.take_membership_changed());
    }
    let attached = CatalogTable { membership: "with another leaf".into(), ..root };
    assembler.update_catalog(look(500, vec![attached, other]), &mut Vec::new());
    assert!(!assembler.take_membership_changed());
    assembler.keepalive(Lsn(500), &mut Vec::new());
    assert!(assembler.take_membership_changed());
    assembler.update_catalog(look(500, vec![]), &mut Vec::new());
    assert!(assembler.take_membership_changed(), "tables left");
    assembler.update_catalog(look(500, vec![]), &mut Vec::new());
    assert!(!assembler.take_membership_changed());
}

#[test]
fn a_leaf_that_the_stream_named_and_no_look_shows_resets_the_roots() {
    let root = CatalogTable { is_partitioned: true, leaves: vec![TableOid(5)], ..items() };
    let mut assembler = started(vec![root.clone(), table(2, &[("id", INT8, JsonType::Integer)])]);
    let named = |oid, end| [begin(), relation(oid, b'd', ITEMS), commit(end)];
    let resets = |assembler: &mut Assembler, look: Catalog| {
        let mut events = Vec::new();
        assembler.update_catalog(look, &mut events);
        let tables = events.into_iter().find_map(|event| match event {
            Event::Tables { resets, .. } => Some(resets),
            _ => None,
        });
        tables.unwrap_or_default().into_iter().map(|reset| reset.table).collect::<Vec<_>>()
    };
    feed(&mut assembler, &named(5, 208));
    assert_eq!(resets(&mut assembler, look(208, vec![root.clone()])), [], "known");
    feed(&mut assembler, &named(6, 308));
    assert_eq!(resets(&mut assembler, look(208, vec![root.clone()])), [], "an older look");
    assert_eq!(resets(&mut assembler, look(308, vec![root.clone()])), [TableOid(1)]);
    assert!(assembler.take_membership_changed());
    assert_eq!(resets(&mut assembler, look(308, vec![root.clone()])), [], "told once");
    feed(&mut assembler, &named(7, 408));
    let membership = "with another leaf".to_owned();
    let attached = CatalogTable { leaves: vec![TableOid(5), TableOid(7)], membership, ..root };
    assert_eq!(resets(&mut assembler, look(408, vec![attached])), [TableOid(1)], "once");
}
