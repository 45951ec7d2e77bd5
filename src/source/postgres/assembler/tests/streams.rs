//! Streamed transactions: they arrive in blocks, before they commit.

use super::rows::{ROWS, cached, reported_rows};
use super::*;
use crate::pgoutput::decode_streamed;

const TOP: u32 = 900;
const OTHER: u32 = 950;

/// A message of a block: with the id of its (sub)transaction after the tag.
pub(super) fn of(xid: u32, message: &[u8]) -> Vec<u8> {
    [&message[..1], &xid.to_be_bytes(), &message[1..]].concat()
}

pub(super) fn stream_start(xid: u32, first: bool) -> Vec<u8> {
    [&[b'S'][..], &xid.to_be_bytes(), &[u8::from(first)]].concat()
}

pub(super) fn stream_abort(xid: u32, sub: u32) -> Vec<u8> {
    [&[b'A'][..], &xid.to_be_bytes(), &sub.to_be_bytes()].concat()
}

pub(super) fn stream_commit(xid: u32, end: u64) -> Vec<u8> {
    // As a Commit, with the id after the tag.
    [&[b'c'][..], &xid.to_be_bytes(), &commit(end)[1..]].concat()
}

/// A block of `xid` that holds these messages.
pub(super) fn block(xid: u32, first: bool, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[stream_start(xid, first)], messages, &[b"E".to_vec()]].concat()
}

/// The event trigger's message for table 1; names its top-level transaction only.
fn announcement() -> Vec<u8> {
    [b"M\x01\0\0\0\0\0\0\0\0highwater\0".as_slice(), &1_u32.to_be_bytes(), b"1"].concat()
}

/// Feeds messages as a session does.
pub(super) fn feed_streamed(assembler: &mut Assembler, messages: &[Vec<u8>]) -> Vec<Event> {
    let mut events = Vec::new();
    for bytes in messages {
        if assembler.in_block() {
            assembler.push_streamed(&decode_streamed(bytes).unwrap(), &mut events).unwrap();
        } else {
            assembler.push(&decode(bytes).unwrap(), &mut events).unwrap();
        }
    }
    events
}

/// The ordinals of the only commit among the events.
fn ordinals(events: &[Event]) -> Vec<u32> {
    let [Event::Commit(transaction)] = events else { panic!("one commit, not {events:?}") };
    transaction.changes.iter().map(|change| change.ordinal).collect()
}

fn described(xid: u32) -> Vec<u8> {
    of(xid, &relation(1, b'd', ITEMS))
}

fn row(xid: u32, id: &'static str) -> Vec<u8> {
    of(xid, &insert(1, &[T(id), Null]))
}

#[test]
fn interleaved_transactions_are_emitted_at_their_commits() {
    let mut assembler = started(vec![items()]);
    let open = [
        block(TOP, true, &[described(TOP), row(TOP, "1")]),
        block(OTHER, true, &[described(OTHER), row(OTHER, "2")]),
        block(TOP, false, &[row(TOP, "3")]),
    ];
    assert!(feed_streamed(&mut assembler, &open.concat()).is_empty());
    let events = feed_streamed(&mut assembler, &[stream_commit(OTHER, 208)]);
    assert_eq!(reported(&events), ["insert 1 2"]);
    assert!(matches!(&events[..], [Event::Commit(t)] if t.xid == Xid(OTHER)));
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 308)]);
    assert_eq!(reported(&events), ["insert 1 1", "insert 1 3"]);
    assert!(matches!(&events[..], [Event::Commit(t)] if t.xid == Xid(TOP)));
}

#[test]
fn a_rolled_back_part_leaves_no_trace_and_takes_no_ordinal() {
    let mut assembler = started(vec![items()]);
    let (a, b, inner) = (TOP + 1, TOP + 2, TOP + 3);
    let messages = [
        block(TOP, true, &[described(TOP), row(TOP, "1"), row(a, "2")]),
        vec![stream_abort(TOP, a)],
        block(TOP, false, &[row(b, "3"), row(inner, "4"), of(b, &truncate(&[1])), row(b, "5")]),
        vec![stream_abort(TOP, inner), stream_abort(TOP, b)],
        block(TOP, false, &[row(TOP, "6")]),
        vec![stream_commit(TOP, 208)],
    ];
    let events = feed_streamed(&mut assembler, &messages.concat());
    assert_eq!(reported(&events), ["insert 1 1", "insert 1 6"]);
    assert_eq!(ordinals(&events), [2, 4]);
}

#[test]
fn a_rolled_back_transaction_emits_nothing() {
    let mut assembler = started(vec![items()]);
    let messages = [
        block(TOP, true, &[described(TOP), row(TOP, "1")]),
        vec![stream_abort(TOP, TOP)],
        vec![begin(), relation(1, b'd', ITEMS), insert(1, &[T("2"), Null]), commit(208)],
    ];
    assert_eq!(reported(&feed_streamed(&mut assembler, &messages.concat())), ["insert 1 2"]);
    let unknown = [stream_abort(TOP, TOP), stream_abort(OTHER, OTHER + 1)];
    assert!(feed_streamed(&mut assembler, &unknown).is_empty(), "it had sent nothing");
}

#[test]
fn the_watermark_moves_between_blocks_but_not_inside_one() {
    let mut assembler = started(vec![items()]);
    feed_streamed(&mut assembler, &block(TOP, true, &[described(TOP), row(TOP, "1")]));
    let mut events = Vec::new();
    assembler.keepalive(Lsn(150), &mut events);
    assert_eq!(events, [Event::Watermark(Lsn(150))], "what is open ends later");
    feed_streamed(&mut assembler, &[stream_start(TOP, false)]);
    assembler.keepalive(Lsn(160), &mut events);
    assert_eq!(events.len(), 1);
    let events = feed_streamed(&mut assembler, &[b"E".to_vec(), stream_commit(TOP, 208)]);
    assert_eq!(reported(&events), ["insert 1 1"]);
}

#[test]
fn a_lost_connection_drops_every_open_transaction() {
    let mut assembler = started(vec![items()]);
    let first = block(TOP, true, &[described(TOP), row(TOP, "1")]);
    feed_streamed(&mut assembler, &first);
    feed_streamed(&mut assembler, &[stream_start(TOP, false), row(TOP, "2")]);
    assembler.resume(Epoch(1).into(), PostmasterId::default(), catalog_at(100, vec![items()]));
    let again = [first, vec![stream_commit(TOP, 208)]].concat();
    assert_eq!(reported(&feed_streamed(&mut assembler, &again)), ["insert 1 1"]);
    // After a crash the server may send what was confirmed again.
    assembler.resume(Epoch(1).into(), PostmasterId::default(), catalog_at(208, vec![items()]));
    assert!(feed_streamed(&mut assembler, &again).is_empty());
    assert_eq!(assembler.position(), Lsn(208));
}

#[test]
fn a_definition_inside_a_transaction_is_private_until_the_commit() {
    let mut assembler = started(vec![items()]);
    let swapped = &[(false, "name", TEXT), (true, "id", INT8)];
    let before = [begin(), relation(1, b'd', ITEMS), insert(1, &[T("1"), Null]), commit(208)];
    feed_streamed(&mut assembler, &before);
    let altered = of(TOP, &relation(1, b'd', swapped));
    let altered = [altered, of(TOP, &insert(1, &[Null, T("2")]))];
    feed_streamed(&mut assembler, &block(TOP, true, &altered));
    // Another transaction still writes as before, and the table is not described to it again.
    let others = [begin(), insert(1, &[T("3"), Null]), commit(308)];
    assert_eq!(reported(&feed_streamed(&mut assembler, &others)), ["insert 1 3"]);
    assert!(!assembler.take_needs_refresh(), "the catalog does not show it yet");
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 408)]);
    assert_eq!(reported(&events), ["reset 1 schema"]);
    assert!(assembler.take_needs_refresh());
    // From here on it applies to all.
    let later = [begin(), insert(1, &[Null, T("4")]), commit(508)];
    assert_eq!(reported(&feed_streamed(&mut assembler, &later)), ["insert 1 4"]);
}

#[test]
fn a_rolled_back_or_outdated_definition_is_dropped() {
    let swapped = &[(false, "name", TEXT), (true, "id", INT8)];
    for is_rolled_back in [true, false] {
        let mut assembler = started(vec![items()]);
        let open = of(TOP, &relation(1, b'd', if is_rolled_back { swapped } else { ITEMS }));
        feed_streamed(&mut assembler, &block(TOP, true, &[open]));
        let columns = if is_rolled_back { ITEMS } else { swapped };
        let values = if is_rolled_back { [T("1"), Null] } else { [Null, T("1")] };
        let newer = [begin(), relation(1, b'd', columns), insert(1, &values), commit(208)];
        assert_eq!(reported(&feed_streamed(&mut assembler, &newer)), ["insert 1 1"]);
        let end = if is_rolled_back { stream_abort(TOP, TOP) } else { stream_commit(TOP, 308) };
        feed_streamed(&mut assembler, &[end]);
        let later = [begin(), insert(1, &values), commit(408)];
        assert_eq!(reported(&feed_streamed(&mut assembler, &later)), ["insert 1 1"]);
    }
}

#[test]
fn an_announcement_takes_effect_at_the_commit() {
    let mut assembler = started(vec![CatalogTable { is_partitioned: true, ..cached() }]);
    let message = of(TOP, &announcement());
    feed_streamed(&mut assembler, &block(TOP, true, &[message]));
    assert!(!assembler.take_needs_refresh() && !assembler.take_membership_changed());
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 208)]);
    assert_eq!(
        (reported(&events), reported_rows(&events)),
        (vec!["reset 1 schema".into()], vec!["invalidate 1".into()])
    );
    assert!(assembler.take_needs_refresh() && assembler.take_membership_changed());
}

#[test]
fn a_message_of_the_transaction_ends_no_subtransaction() {
    // The server names the transaction only, wherever the message was written.
    let mut assembler = started(vec![items()]);
    let sub = TOP + 1;
    let messages = [
        block(TOP, true, &[described(TOP), row(TOP, "1"), row(sub, "2"), of(TOP, &announcement())]),
        vec![stream_abort(TOP, sub), stream_commit(TOP, 208)],
    ];
    assert_eq!(reported(&feed_streamed(&mut assembler, &messages.concat())), ["insert 1 1"]);
}

#[test]
fn rows_before_a_rolled_back_part_are_reported() {
    let mut assembler = started(vec![cached()]);
    let sub = TOP + 1;
    let set = |xid, id| of(xid, &insert(1, &[T(id), Null, Null, Null]));
    let open =
        [of(TOP, &relation(1, b'd', ROWS)), set(TOP, "1"), set(sub, "2"), of(sub, &truncate(&[1]))];
    let messages = [
        block(TOP, true, &open),
        vec![stream_abort(TOP, sub)],
        block(TOP, false, &[set(TOP, "3")]),
        vec![stream_commit(TOP, 208)],
    ];
    let events = feed_streamed(&mut assembler, &messages.concat());
    assert_eq!(reported(&events), ["insert 1 1", "insert 1 3"]);
    let row = |id| format!(r#"{id} = {{"id":{id},"name":null,"odd":null}}"#);
    assert_eq!(reported_rows(&events), [row(1), row(3)]);
}

#[test]
fn a_definition_stays_as_it_was_last_described_although_its_subtransaction_is_rolled_back() {
    let mut assembler = started(vec![cached()]);
    let sub = TOP + 1;
    let wider: Vec<_> = ROWS.iter().copied().chain([(false, "x", TEXT)]).collect();
    let set = of(TOP, &insert(1, &[T("1"), Null, Null, Null]));
    let open =
        [of(TOP, &relation(1, b'd', ROWS)), set.clone(), of(sub, &relation(1, b'd', &wider))];
    let messages = [
        block(TOP, true, &open),
        vec![stream_abort(TOP, sub)],
        block(TOP, false, &[set]),
        vec![stream_commit(TOP, 208)],
    ];
    let events = feed_streamed(&mut assembler, &messages.concat());
    assert_eq!(
        (reported(&events), reported_rows(&events)),
        (vec!["reset 1 schema".into()], vec!["invalidate 1".into()])
    );
}

#[test]
fn a_refreshed_definition_overflows_what_was_decoded_by_the_old_one() {
    let mut assembler = started(vec![cached(), table(2, &[("id", INT8, JsonType::Integer)])]);
    let open = [
        of(TOP, &relation(1, b'd', ROWS)),
        of(TOP, &insert(1, &[T("1"), Null, Null, Null])),
        of(TOP, &relation(2, b'd', ITEMS)),
        of(TOP, &insert(2, &[T("5"), Null])),
    ];
    feed_streamed(&mut assembler, &block(TOP, true, &open));
    let mut other = cached();
    other.definition = "other".into();
    let mut events = Vec::new();
    assembler.update_catalog(catalog_at(100, vec![other]), &mut events);
    assert!(matches!(&events[..], [Event::Tables { tables, .. }] if tables.len() == 1));
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 208)]);
    assert_eq!(reported(&events), ["reset 1 schema"], "and nothing of the table that left");
    assert_eq!(reported_rows(&events), ["invalidate 1"]);
}

#[test]
fn open_transactions_together_are_bounded_and_the_largest_overflows() {
    let limits = TransactionLimits { max_streamed_bytes: 20_000, ..LIMITS };
    let mut assembler = Assembler::new(limits);
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        catalog_at(100, vec![items()]),
        None,
        None,
    );
    feed_streamed(&mut assembler, &block(OTHER, true, &[described(OTHER), row(OTHER, "1")]));
    for round in 0..100 {
        for xid in TOP..TOP + 10 {
            let mut messages: Vec<_> = (round == 0).then(|| described(xid)).into_iter().collect();
            messages.extend([row(xid, "7"), row(xid, "8")]);
            feed_streamed(&mut assembler, &block(xid, round == 0, &messages));
            let all: usize = assembler.streams.values().map(|open| open.buffer.bytes()).sum();
            assert!(all <= 20_000, "{all} bytes");
        }
    }
    let events = feed_streamed(&mut assembler, &[stream_commit(OTHER, 208)]);
    assert_eq!(reported(&events), ["insert 1 1"], "small ones are reported");
    let mut overflowed = 0;
    for xid in TOP..TOP + 10 {
        let commit = stream_commit(xid, 208 + u64::from(xid));
        let reported = reported(&feed_streamed(&mut assembler, &[commit]));
        if reported == ["reset 1 large_transaction"] {
            overflowed += 1;
        } else {
            assert!(reported.iter().all(|change| change.starts_with("insert 1 ")), "{reported:?}");
        }
    }
    assert!((1..10).contains(&overflowed), "{overflowed} of ten that are alike");
}

#[test]
fn too_many_savepoints_are_a_reset() {
    let limits = TransactionLimits { max_bytes: 10_000, ..LIMITS };
    let mut assembler = Assembler::new(limits);
    let tables = vec![items(), table(2, &[("id", INT8, JsonType::Integer)])];
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        catalog_at(100, tables),
        None,
        None,
    );
    feed_streamed(&mut assembler, &block(TOP, true, &[described(TOP), row(TOP, "1")]));
    for sub in TOP + 1..TOP + 2_000 {
        // Of an unknown table: only the mark is kept.
        let nothing = of(sub, &insert(3, &[T("1")]));
        feed_streamed(&mut assembler, &block(TOP, false, &[nothing]));
        let buffered = assembler.streams[&Xid(TOP)].buffer.bytes();
        assert!(buffered <= 10_000, "{buffered} bytes");
    }
    let last = [of(TOP, &relation(2, b'd', ITEMS)), of(TOP, &insert(2, &[T("1"), Null]))];
    let messages =
        [vec![stream_abort(TOP, TOP + 1)], block(TOP, false, &last), vec![stream_commit(TOP, 208)]];
    let mut reported = reported(&feed_streamed(&mut assembler, &messages.concat()));
    reported.sort();
    assert_eq!(reported, ["reset 1 large_transaction", "reset 2 large_transaction"]);
}

#[test]
fn blocks_out_of_place_are_rejected() {
    for messages in [
        vec![stream_start(TOP, false)],
        vec![stream_commit(TOP, 208)],
        vec![begin(), stream_start(TOP, true)],
        vec![begin(), stream_commit(TOP, 208)],
        vec![begin(), stream_abort(TOP, TOP)],
        vec![stream_start(TOP, true), stream_start(OTHER, true)],
        vec![stream_start(TOP, true), stream_abort(TOP, TOP)],
        vec![stream_start(TOP, true), begin()],
        vec![stream_start(TOP, true), commit(208)],
    ] {
        let mut assembler = started(vec![items()]);
        let mut out = Vec::new();
        let (last, before) = messages.split_last().unwrap();
        for message in before {
            assembler.push(&decode(message).unwrap(), &mut out).unwrap();
        }
        let rejected = assembler.push(&decode(last).unwrap(), &mut out);
        assert!(matches!(rejected, Err(AssembleError::OutOfPlace { .. })), "{messages:?}");
    }
}

#[test]
fn captured_streams_are_assembled_as_expected() {
    use crate::pgoutput::tests::captured;
    for scenario in captured() {
        let expected: &[&str] = match scenario.name {
            "streaming" => &["insert 40", "delete 40", "insert 41,update 41,delete 41"],
            "streaming_rollback" => &["insert 40", "delete 40", "insert 44"],
            "parallel" => &["insert 40", "delete 40", "insert 71"],
            // In the order of the commits.
            "streaming_in_turns" | "parallel_in_turns" => &[
                "insert 40",
                "delete 40",
                "insert 48",
                "insert 49",
                "insert 45,update 45",
                "delete 45,delete 48,delete 49",
            ],
            _ => continue,
        };
        let described = scenario.messages.iter().find_map(|(streamed, bytes)| {
            let at = if *streamed { 5 } else { 1 };
            let name = bytes.get(at + 4..)?;
            (bytes[0] == b'R' && name.starts_with(b"public\0items\0"))
                .then(|| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
        });
        let catalog = table(described.unwrap(), &[("id", 23, JsonType::Integer)]);
        let mut assembler = started(vec![catalog]);
        let bytes: Vec<Vec<u8>> =
            scenario.messages.iter().map(|(_, bytes)| bytes.clone()).collect();
        let events = feed_streamed(&mut assembler, &bytes);
        let commits: Vec<String> = events
            .iter()
            .filter_map(|event| {
                let Event::Commit(transaction) = event else { return None };
                let changes = transaction.changes.iter();
                let changes: Vec<_> =
                    changes.map(|c| format!("{} {:?}", c.op.as_str(), c.key)).collect();
                Some(changes.join(","))
            })
            .collect();
        assert_eq!(commits, expected, "{scenario}");
    }
}
