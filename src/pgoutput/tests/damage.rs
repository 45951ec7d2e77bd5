//! Damaged messages are rejected; nothing panics.

use proptest::prelude::*;

use super::fixtures::captured;
use super::round_trip::any_message;
use super::*;

/// Asserts that a truncated message is rejected, except a Stream Abort truncated to its shorter form.
fn assert_every_cut_is_rejected(streamed: bool, bytes: &[u8]) {
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        match decode_at(streamed, cut) {
            Err(_) => {}
            Ok(Streamed {
                message: LogicalMessage::StreamAbort(StreamAbort { position: None, .. }),
                ..
            }) if length == 9 => {}
            Ok(other) => panic!("{length} of {} bytes were read as {other:?}", bytes.len()),
        }
    }
}

/// Iterates over everything that is decoded lazily.
fn walk(message: &LogicalMessage<'_>) {
    let walk_tuple = |tuple: Tuple<'_>| assert_eq!(tuple.columns().count(), tuple.len());
    match message {
        LogicalMessage::Insert(insert) => walk_tuple(insert.new),
        LogicalMessage::Update(update) => {
            update.old.iter().for_each(|old| walk_tuple(old.tuple()));
            walk_tuple(update.new);
        }
        LogicalMessage::Delete(delete) => walk_tuple(delete.old.tuple()),
        LogicalMessage::Truncate(truncate) => {
            assert_eq!(truncate.oids().count(), truncate.oids().len());
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_are_decoded_or_rejected(streamed: bool, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(decoded) = decode_at(streamed, &bytes) {
            walk(&decoded.message);
        }
    }

    #[test]
    fn a_message_with_one_byte_changed_is_decoded_or_rejected(
        (streamed, mut bytes) in any_message(), at: prop::sample::Index, to: u8,
    ) {
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(decoded) = decode_at(streamed, &bytes) {
            walk(&decoded.message);
        }
    }

    #[test]
    fn a_truncated_message_is_rejected((streamed, bytes) in any_message()) {
        assert_every_cut_is_rejected(streamed, &bytes);
    }

    #[test]
    fn a_message_with_trailing_bytes_is_rejected((streamed, mut bytes) in any_message(), more: u8) {
        bytes.push(more);
        prop_assert!(decode_at(streamed, &bytes).is_err());
    }
}

#[test]
fn a_truncated_captured_message_is_rejected() {
    for scenario in captured() {
        for (streamed, bytes) in &scenario.messages {
            assert_every_cut_is_rejected(*streamed, bytes);
        }
    }
}
