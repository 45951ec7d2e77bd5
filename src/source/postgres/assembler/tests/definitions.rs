//! A definition that changes, shown by refreshes and by Relation messages in every order.

use super::rows::{ROWS, cached, cached_as, reported_rows};
use super::*;
use crate::source::postgres::announcement;

const WIDER: &[(bool, &str, u32)] =
    &[(true, "id", INT8), (false, "name", TEXT), (false, "x", TEXT)];

fn wider() -> CatalogTable {
    cached_as("wider", WIDER)
}

fn first(assembler: &mut Assembler) {
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("1"), Null, Null, Null]), commit(208)];
    assert_eq!(reported_rows(&feed(assembler, &messages)).len(), 1);
    assert!(!assembler.take_needs_refresh());
}

fn insert_wider(end: u64, relations: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[begin()], relations, &[insert(1, &[T("2"), T("b"), T("c")]), commit(end)]].concat()
}

/// The tables and resets of the only event, after a refresh has taken effect.
fn updated_tables(events: &[Event]) -> (&Table, &[Reset]) {
    let [Event::Tables { tables, resets }] = events else { panic!("{events:?}") };
    (&tables[0], resets)
}

const RESET: Reset = Reset { table: TableOid(1), reason: ResetReason::Schema };
const WIDE_ROW: &str = r#"2 = {"id":2,"name":"b","x":"c"}"#;

#[test]
fn a_refresh_and_then_the_message_reset_once() {
    let mut assembler = started(vec![cached()]);
    first(&mut assembler);
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(208, vec![wider()]), &mut events);
    assert_eq!(updated_tables(&events), (&wider().table, &[RESET][..]));
    let events = feed(&mut assembler, &insert_wider(308, &[relation(1, b'd', WIDER)]));
    assert_eq!(
        (reported(&events), reported_rows(&events)),
        (vec!["insert 1 2".into()], vec![WIDE_ROW.into()])
    );
}

#[test]
fn a_message_before_the_refresh_invalidates_rows_until_it_and_is_not_needed_again() {
    let mut assembler = started(vec![cached()]);
    first(&mut assembler);
    for (end, relations) in [(308, vec![relation(1, b'd', WIDER)]), (408, vec![])] {
        let events = feed(&mut assembler, &insert_wider(end, &relations));
        assert_eq!(
            (reported(&events), reported_rows(&events)),
            (vec!["reset 1 schema".into()], vec!["invalidate 1".into()])
        );
        assert!(assembler.take_needs_refresh());
    }
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(408, vec![wider()]), &mut events);
    assert_eq!(updated_tables(&events), (&wider().table, &[RESET][..]));
    let events = feed(&mut assembler, &insert_wider(508, &[]));
    assert_eq!(
        (reported(&events), reported_rows(&events)),
        (vec!["insert 1 2".into()], vec![WIDE_ROW.into()])
    );
}

#[test]
fn a_refresh_ahead_of_the_stream_waits_while_old_and_new_rows_arrive() {
    let mut assembler = started(vec![cached()]);
    first(&mut assembler);
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(500, vec![wider()]), &mut events);
    assert!(events.is_empty());
    let old = [begin(), insert(1, &[T("3"), Null, Null, Null]), commit(308)];
    assert_eq!(reported_rows(&feed(&mut assembler, &old)).len(), 1);
    let events = feed(&mut assembler, &insert_wider(408, &[relation(1, b'd', WIDER)]));
    assert_eq!(reported_rows(&events), ["invalidate 1"]);
    let mut events = Vec::new();
    assembler.keepalive(Lsn(500), &mut events);
    assert_eq!(updated_tables(&events[1..]).1, [RESET]);
    assert_eq!(reported_rows(&feed(&mut assembler, &insert_wider(608, &[]))), [WIDE_ROW]);
}

#[test]
fn a_start_with_a_newer_refresh_invalidates_older_rows_until_the_change_has_passed() {
    let mut assembler = Assembler::new(LIMITS);
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        catalog_at(500, vec![wider()]),
        Some(1000),
        None,
    );
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("1"), Null, Null, Null]), commit(208)];
    let events = feed(&mut assembler, &messages);
    assert_eq!(
        (reported(&events), reported_rows(&events)),
        (vec!["reset 1 schema".into()], vec!["invalidate 1".into()])
    );
    let events = feed(&mut assembler, &insert_wider(308, &[relation(1, b'd', WIDER)]));
    assert_eq!(reported(&events), ["reset 1 schema"]);
    assert_eq!(reported_rows(&feed(&mut assembler, &insert_wider(408, &[]))), [WIDE_ROW]);
}

#[test]
fn a_reverted_change_needs_no_refresh_that_shows_it() {
    let mut assembler = started(vec![cached()]);
    first(&mut assembler);
    feed(&mut assembler, &insert_wider(308, &[relation(1, b'd', WIDER)]));
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("3"), Null, Null, Null]), commit(408)];
    assert_eq!(reported_rows(&feed(&mut assembler, &messages)), ["invalidate 1"]);
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(408, vec![cached()]), &mut events);
    assert!(events.is_empty());
    let messages = [begin(), insert(1, &[T("4"), Null, Null, Null]), commit(508)];
    assert_eq!(reported_rows(&feed(&mut assembler, &messages)).len(), 1);
}

#[test]
fn a_repeated_message_requests_a_refresh_whose_fingerprint_decides() {
    let mut assembler = started(vec![cached()]);
    first(&mut assembler);
    let messages =
        [begin(), relation(1, b'd', ROWS), insert(1, &[T("3"), Null, Null, Null]), commit(308)];
    assert_eq!(reported_rows(&feed(&mut assembler, &messages)).len(), 1);
    assert!(assembler.take_needs_refresh());
    let mut events = Vec::new();
    let rewritten = cached_as("another xmin", ROWS);
    assembler.update_catalog(catalog_at(308, vec![rewritten.clone()]), &mut events);
    assert_eq!(updated_tables(&events), (&rewritten.table, &[RESET][..]));
    let messages = [begin(), insert(1, &[T("4"), Null, Null, Null]), commit(408)];
    assert_eq!(reported_rows(&feed(&mut assembler, &messages)).len(), 1);
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
fn announced_tables_are_reset_in_their_commit_and_their_rows_invalidated() {
    let mut assembler = started(vec![cached(), table(2, &[("id", INT8, JsonType::Integer)])]);
    first(&mut assembler);
    let messages = [
        begin(),
        insert(1, &[T("3"), Null, Null, Null]),
        announcement(1, "highwater", "2,1,99"),
        insert(1, &[T("4"), Null, Null, Null]),
        commit(308),
    ];
    let events = feed(&mut assembler, &messages);
    assert_eq!(reported(&events), ["reset 2 schema", "reset 1 schema"]);
    assert_eq!(reported_rows(&events), ["invalidate 1"]);
    assert!(assembler.take_needs_refresh());
}

#[test]
fn malformed_announcements_request_a_refresh_and_those_of_others_nothing() {
    let mut assembler = started(vec![cached()]);
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
fn a_change_found_by_a_refresh_is_announced_once_among_instances() {
    let [mut first, mut second] = [(); 2].map(|()| started(vec![items()]));
    let mut changed = items();
    changed.table.name = TableName::new("public", "renamed");
    let refresh_at = |assembler: &mut Assembler, as_of, snapshot_before: &str| {
        let snapshot_before = snapshot_before.parse().unwrap();
        let catalog = Catalog { snapshot_before, ..catalog_at(as_of, vec![changed.clone()]) };
        assembler.update_catalog(catalog, &mut Vec::new());
        assembler.keepalive(Lsn(as_of), &mut Vec::new());
        assembler.take_delta()
    };
    let found = refresh_at(&mut first, 200, "700:700:");
    assert_eq!(found.keys().collect::<Vec<_>>(), [&TableOid(1)]);
    assert_eq!(refresh_at(&mut first, 200, "700:700:"), CatalogDelta::new(), "once");
    let text = announcement::format(&found);
    for (assembler, needs_refresh) in [(&mut first, false), (&mut second, true)] {
        let messages = [begin(), announcement(1, "highwater", &text), commit(308)];
        assert_eq!(reported(&feed(assembler, &messages)), ["reset 1 schema"]);
        assert_eq!(assembler.is_awaiting_refresh(), needs_refresh);
        assert_eq!(assembler.take_needs_refresh(), needs_refresh);
    }
    assert_eq!(refresh_at(&mut second, 400, "740:740:"), CatalogDelta::new(), "announced");
    assert!(!second.is_awaiting_refresh());
}

#[test]
fn a_change_beyond_an_announced_one_is_announced() {
    let mut assembler = started(vec![items()]);
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "1:abc"), commit(308)]);
    let changed = CatalogTable { definition: "changed".into(), ..items() };
    assembler.update_catalog(catalog_at(308, vec![changed.clone()]), &mut Vec::new());
    assert_eq!(assembler.take_delta().len(), 1, "another fingerprint");
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "1"), commit(408)]);
    let changed = CatalogTable { definition: "again".into(), ..changed };
    assembler.update_catalog(catalog_at(408, vec![changed]), &mut Vec::new());
    assert_eq!(assembler.take_delta().len(), 0, "the change itself was announced");
}

#[test]
fn events_sent_before_an_awaited_refresh_are_followed_by_an_announcement() {
    let changed = CatalogTable { definition: "changed".into(), ..items() };
    for is_released in [false, true] {
        let mut assembler = started(vec![items()]);
        feed(&mut assembler, &[begin(), announcement(1, "highwater", "1"), commit(308)]);
        if is_released {
            assembler.release_without_refresh();
        }
        assembler.update_catalog(catalog_at(308, vec![changed.clone()]), &mut Vec::new());
        assert_eq!(assembler.take_delta().len(), usize::from(is_released));
    }
    // The slot was lost before the refresh.
    for (now, announced) in [(items(), 0), (changed.clone(), 1)] {
        let mut assembler = started(vec![items()]);
        let again = catalog_at(400, vec![now]);
        let broken = Some(ResetReason::SlotLost);
        assembler.start(Epoch(1).into(), PostmasterId::default(), Lsn(300), again, None, broken);
        assert_eq!(assembler.take_delta().len(), announced);
    }
    // An earlier process may have reported it.
    let mut assembler = Assembler::new(LIMITS);
    let first = catalog_at(400, vec![changed]);
    assembler.start(Epoch(1).into(), PostmasterId::default(), Lsn(100), first, Some(1000), None);
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "1"), commit(308)]);
    assembler.keepalive(Lsn(400), &mut Vec::new());
    assert_eq!(assembler.take_delta().len(), 1);
}

#[test]
fn a_drop_before_the_first_refresh_may_have_been_a_partition() {
    let root = CatalogTable { is_partitioned: true, ..items() };
    let other = table(2, &[("id", INT8, JsonType::Integer)]);
    let mut assembler = Assembler::new(LIMITS);
    let first = catalog_at(400, vec![root, other]);
    assembler.start(Epoch(1).into(), PostmasterId::default(), Lsn(100), first, None, None);
    let dropped = |end| [begin(), announcement(1, "highwater", ""), commit(end)];
    assert_eq!(reported(&feed(&mut assembler, &dropped(308))), ["reset 1 membership"]);
    // From here on, refreshes show what is dropped.
    let events = feed(&mut assembler, &dropped(408));
    let resets = |event: &Event| matches!(event, Event::Commit(t) if !t.resets.is_empty());
    assert!(resets(&events[0]), "{events:?}");
    let events = feed(&mut assembler, &dropped(508));
    assert!(!events.iter().any(resets), "{events:?}");
}

#[test]
fn an_announcement_is_awaited_until_a_refresh_begun_after_it_is_in_effect() {
    let mut assembler = started(vec![items()]);
    let [open, ended] = ["731:740:731", "740:740:"].map(|text| text.parse().unwrap());
    feed(&mut assembler, &[begin(), announcement(1, "highwater", "99"), commit(208)]);
    assert!(assembler.is_awaiting_refresh() && assembler.take_needs_refresh());
    let mut refreshes = |as_of, snapshot_before: Snapshot| {
        let catalog = Catalog { snapshot_before, ..catalog_at(as_of, vec![items()]) };
        assembler.update_catalog(catalog, &mut Vec::new());
        let before = assembler.is_awaiting_refresh();
        assembler.keepalive(Lsn(as_of), &mut Vec::new());
        (before, assembler.is_awaiting_refresh(), assembler.take_needs_refresh())
    };
    assert_eq!(refreshes(300, open), (true, true, true), "another refresh is requested");
    assert_eq!(refreshes(400, ended), (true, false, false));
}

#[test]
fn a_change_of_the_published_set_is_noticed_when_it_is_in_effect() {
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
    assembler.update_catalog(catalog_at(500, vec![attached, other]), &mut Vec::new());
    assert!(!assembler.take_membership_changed());
    assembler.keepalive(Lsn(500), &mut Vec::new());
    assert!(assembler.take_membership_changed());
    assembler.update_catalog(catalog_at(500, vec![]), &mut Vec::new());
    assert!(assembler.take_membership_changed(), "tables left");
    assembler.update_catalog(catalog_at(500, vec![]), &mut Vec::new());
    assert!(!assembler.take_membership_changed());
}

#[test]
fn a_leaf_named_by_the_stream_and_shown_by_no_refresh_resets_the_roots() {
    let root = CatalogTable { is_partitioned: true, leaves: vec![TableOid(5)], ..items() };
    let mut assembler = started(vec![root.clone(), table(2, &[("id", INT8, JsonType::Integer)])]);
    let named = |oid, end| [begin(), relation(oid, b'd', ITEMS), commit(end)];
    let resets = |assembler: &mut Assembler, catalog: Catalog| {
        let mut events = Vec::new();
        assembler.update_catalog(catalog, &mut events);
        let tables = events.into_iter().find_map(|event| match event {
            Event::Tables { resets, .. } => Some(resets),
            _ => None,
        });
        tables.unwrap_or_default().into_iter().map(|reset| reset.table).collect::<Vec<_>>()
    };
    feed(&mut assembler, &named(5, 208));
    assert_eq!(resets(&mut assembler, catalog_at(208, vec![root.clone()])), [], "known");
    feed(&mut assembler, &named(6, 308));
    assert_eq!(resets(&mut assembler, catalog_at(208, vec![root.clone()])), [], "an older refresh");
    assert_eq!(resets(&mut assembler, catalog_at(308, vec![root.clone()])), [TableOid(1)]);
    assert!(assembler.take_membership_changed());
    assert_eq!(resets(&mut assembler, catalog_at(308, vec![root.clone()])), [], "reported once");
    feed(&mut assembler, &named(7, 408));
    let membership = "with another leaf".to_owned();
    let attached = CatalogTable { leaves: vec![TableOid(5), TableOid(7)], membership, ..root };
    assert_eq!(resets(&mut assembler, catalog_at(408, vec![attached])), [TableOid(1)], "once");
}
