//! Transactions that arrive in blocks, before they commit.

use super::rows::{ROWS, held, rows_told};
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

/// What the event trigger says of table 1; names its top-level transaction only.
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
fn two_transactions_in_turns_come_out_at_their_commits_one_after_the_other() {
    let mut assembler = started(vec![items()]);
    let open = [
        block(TOP, true, &[described(TOP), row(TOP, "1")]),
        block(OTHER, true, &[described(OTHER), row(OTHER, "2")]),
        block(TOP, false, &[row(TOP, "3")]),
    ];
    assert!(feed_streamed(&mut assembler, &open.concat()).is_empty());
    let events = feed_streamed(&mut assembler, &[stream_commit(OTHER, 208)]);
    assert_eq!(told(&events), ["insert 1 2"]);
    assert!(matches!(&events[..], [Event::Commit(t)] if t.xid == Xid(OTHER)));
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 308)]);
    assert_eq!(told(&events), ["insert 1 1", "insert 1 3"]);
    assert!(matches!(&events[..], [Event::Commit(t)] if t.xid == Xid(TOP)));
}

#[test]
fn what_is_rolled_back_leaves_no_trace_and_takes_no_ordinal() {
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
    assert_eq!(told(&events), ["insert 1 1", "insert 1 6"]);
    assert_eq!(ordinals(&events), [2, 4]);
}

#[test]
fn the_whole_transaction_rolled_back_is_nothing() {
    let mut assembler = started(vec![items()]);
    let messages = [
        block(TOP, true, &[described(TOP), row(TOP, "1")]),
        vec![stream_abort(TOP, TOP)],
        vec![begin(), relation(1, b'd', ITEMS), insert(1, &[T("2"), Null]), commit(208)],
    ];
    assert_eq!(told(&feed_streamed(&mut assembler, &messages.concat())), ["insert 1 2"]);
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
    assert_eq!(told(&events), ["insert 1 1"]);
}

#[test]
fn a_lost_connection_drops_every_open_transaction_and_all_is_sent_again() {
    let mut assembler = started(vec![items()]);
    let first = block(TOP, true, &[described(TOP), row(TOP, "1")]);
    feed_streamed(&mut assembler, &first);
    feed_streamed(&mut assembler, &[stream_start(TOP, false), row(TOP, "2")]);
    assembler.resume(Epoch(1).into(), PostmasterId::default(), look(100, vec![items()]));
    let again = [first, vec![stream_commit(TOP, 208)]].concat();
    assert_eq!(told(&feed_streamed(&mut assembler, &again)), ["insert 1 1"]);
    // After a crash the server may send once more what was confirmed.
    assembler.resume(Epoch(1).into(), PostmasterId::default(), look(208, vec![items()]));
    assert!(feed_streamed(&mut assembler, &again).is_empty());
    assert_eq!(assembler.position(), Lsn(208));
}

#[test]
fn a_definition_inside_a_transaction_is_its_own_until_the_commit() {
    let mut assembler = started(vec![items()]);
    let swapped = &[(false, "name", TEXT), (true, "id", INT8)];
    let before = [begin(), relation(1, b'd', ITEMS), insert(1, &[T("1"), Null]), commit(208)];
    feed_streamed(&mut assembler, &before);
    let altered = of(TOP, &relation(1, b'd', swapped));
    let altered = [altered, of(TOP, &insert(1, &[Null, T("2")]))];
    feed_streamed(&mut assembler, &block(TOP, true, &altered));
    // Another one still writes as before, and is not described again.
    let others = [begin(), insert(1, &[T("3"), Null]), commit(308)];
    assert_eq!(told(&feed_streamed(&mut assembler, &others)), ["insert 1 3"]);
    assert!(!assembler.take_needs_refresh(), "nothing is to be seen yet");
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 408)]);
    assert_eq!(told(&events), ["reset 1 schema"]);
    assert!(assembler.take_needs_refresh());
    // From here on it is everybody's.
    let later = [begin(), insert(1, &[Null, T("4")]), commit(508)];
    assert_eq!(told(&feed_streamed(&mut assembler, &later)), ["insert 1 4"]);
}

#[test]
fn a_definition_that_is_rolled_back_or_outdated_is_nobodys() {
    let swapped = &[(false, "name", TEXT), (true, "id", INT8)];
    for is_rolled_back in [true, false] {
        let mut assembler = started(vec![items()]);
        let open = of(TOP, &relation(1, b'd', if is_rolled_back { swapped } else { ITEMS }));
        feed_streamed(&mut assembler, &block(TOP, true, &[open]));
        let columns = if is_rolled_back { ITEMS } else { swapped };
        let values = if is_rolled_back { [T("1"), Null] } else { [Null, T("1")] };
        let newer = [begin(), relation(1, b'd', columns), insert(1, &values), commit(208)];
        assert_eq!(told(&feed_streamed(&mut assembler, &newer)), ["insert 1 1"]);
        let end = if is_rolled_back { stream_abort(TOP, TOP) } else { stream_commit(TOP, 308) };
        feed_streamed(&mut assembler, &[end]);
        let later = [begin(), insert(1, &values), commit(408)];
        assert_eq!(told(&feed_streamed(&mut assembler, &later)), ["insert 1 1"]);
    }
}

#[test]
fn what_the_event_trigger_says_counts_at_the_commit() {
    let mut assembler = started(vec![CatalogTable { is_partitioned: true, ..held() }]);
    let message = of(TOP, &announcement());
    feed_streamed(&mut assembler, &block(TOP, true, &[message]));
    assert!(!assembler.take_needs_refresh() && !assembler.take_membership_changed());
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 208)]);
    assert_eq!(
        (told(&events), rows_told(&events)),
        (vec!["reset 1 schema".into()], vec!["lost 1".into()])
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
    assert_eq!(told(&feed_streamed(&mut assembler, &messages.concat())), ["insert 1 1"]);
}

#[test]
fn rows_before_a_part_that_is_rolled_back_are_told() {
    let mut assembler = started(vec![held()]);
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
    assert_eq!(told(&events), ["insert 1 1", "insert 1 3"]);
    let row = |id| format!(r#"{id} = {{"id":{id},"name":null,"odd":null}}"#);
    assert_eq!(rows_told(&events), [row(1), row(3)]);
}

#[test]
fn a_definition_stays_as_it_was_last_described_although_its_subtransaction_is_rolled_back() {
    let mut assembler = started(vec![held()]);
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
        (told(&events), rows_told(&events)),
        (vec!["reset 1 schema".into()], vec!["lost 1".into()])
    );
}

#[test]
fn a_look_at_another_definition_gives_up_what_was_read_by_the_old_one() {
    let mut assembler = started(vec![held(), table(2, &[("id", INT8, JsonType::Integer)])]);
    let open = [
        of(TOP, &relation(1, b'd', ROWS)),
        of(TOP, &insert(1, &[T("1"), Null, Null, Null])),
        of(TOP, &relation(2, b'd', ITEMS)),
        of(TOP, &insert(2, &[T("5"), Null])),
    ];
    feed_streamed(&mut assembler, &block(TOP, true, &open));
    let mut other = held();
    other.definition = "other".into();
    let mut events = Vec::new();
    assembler.update_catalog(look(100, vec![other]), &mut events);
    assert!(matches!(&events[..], [Event::Tables { tables, .. }] if tables.len() == 1));
    let events = feed_streamed(&mut assembler, &[stream_commit(TOP, 208)]);
    assert_eq!(told(&events), ["reset 1 schema"], "and nothing of the table that left");
    assert_eq!(rows_told(&events), ["lost 1"]);
}

#[test]
fn all_open_transactions_together_are_bounded_and_the_largest_is_given_up() {
    let limits = TransactionLimits { max_streamed_bytes: 20_000, ..LIMITS };
    let mut assembler = Assembler::new(limits);
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        look(100, vec![items()]),
        None,
        None,
    );
    feed_streamed(&mut assembler, &block(OTHER, true, &[described(OTHER), row(OTHER, "1")]));
    for round in 0..100 {
        for xid in TOP..TOP + 10 {
            let mut messages: Vec<_> = (round == 0).then(|| described(xid)).into_iter().collect();
            messages.extend([row(xid, "7"), row(xid, "8")]);
            feed_streamed(&mut assembler, &block(xid, round == 0, &messages));
            let all: usize = assembler.streams.values().map(|open| open.stage.bytes()).sum();
            assert!(all <= 20_000, "{all} bytes");
        }
    }
    let events = feed_streamed(&mut assembler, &[stream_commit(OTHER, 208)]);
    assert_eq!(told(&events), ["insert 1 1"], "small ones are told");
    let mut given_up = 0;
    for xid in TOP..TOP + 10 {
        let commit = stream_commit(xid, 208 + u64::from(xid));
        let told = told(&feed_streamed(&mut assembler, &[commit]));
        if told == ["reset 1 large_transaction"] {
            given_up += 1;
        } else {
            assert!(told.iter().all(|change| change.starts_with("insert 1 ")), "{told:?}");
        }
    }
    assert!((1..10).contains(&given_up), "{given_up} of ten that are alike");
}

#[test]
fn more_savepoints_than_there_is_room_for_are_a_reset() {
    let limits = TransactionLimits { max_bytes: 10_000, ..LIMITS };
    let mut assembler = Assembler::new(limits);
    let tables = vec![items(), table(2, &[("id", INT8, JsonType::Integer)])];
    assembler.start(
        Epoch(1).into(),
        PostmasterId::default(),
        Lsn(100),
        look(100, tables),
        None,
        None,
    );
    feed_streamed(&mut assembler, &block(TOP, true, &[described(TOP), row(TOP, "1")]));
    for sub in TOP + 1..TOP + 2_000 {
        // Of a table that nobody knows: only the place is kept.
        let nothing = of(sub, &insert(3, &[T("1")]));
        feed_streamed(&mut assembler, &block(TOP, false, &[nothing]));
        let staged = assembler.streams[&Xid(TOP)].stage.bytes();
        assert!(staged <= 10_000, "{staged} bytes");
    }
    let last = [of(TOP, &relation(2, b'd', ITEMS)), of(TOP, &insert(2, &[T("1"), Null]))];
    let messages =
        [vec![stream_abort(TOP, TOP + 1)], block(TOP, false, &last), vec![stream_commit(TOP, 208)]];
    let mut told = told(&feed_streamed(&mut assembler, &messages.concat()));
    told.sort();
    assert_eq!(told, ["reset 1 large_transaction", "reset 2 large_transaction"]);
}

#[test]
fn blocks_out_of_place_are_refused() {
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
        let refused = assembler.push(&decode(last).unwrap(), &mut out);
        assert!(matches!(refused, Err(AssembleError::OutOfPlace { .. })), "{messages:?}");
    }
}

#[test]
fn what_servers_sent_comes_out_as_it_was_meant() {
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
