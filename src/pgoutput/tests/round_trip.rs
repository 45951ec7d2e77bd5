//! Every message there can be, written byte by byte, is read and can be written again.

use proptest::collection::vec;
use proptest::prelude::*;

use super::encode::encode;
use super::*;

/// Some bytes of a message.
type ArbitraryPart = BoxedStrategy<Vec<u8>>;

fn parts(parts: Vec<ArbitraryPart>) -> ArbitraryPart {
    parts.prop_map(|parts| parts.concat()).boxed()
}

fn raw(bytes: &'static [u8]) -> ArbitraryPart {
    Just(bytes.to_vec()).boxed()
}

/// A number of so many bytes.
fn number(bytes: usize) -> ArbitraryPart {
    vec(any::<u8>(), bytes).boxed()
}

fn flag() -> ArbitraryPart {
    (0..2_u8).prop_map(|flag| std::vec![flag]).boxed()
}

fn string() -> ArbitraryPart {
    "[^\0]{0,12}".prop_map(|text| format!("{text}\0").into_bytes()).boxed()
}

/// A length or count in so many bytes.
fn length(length: usize, bytes: usize) -> Vec<u8> {
    let all = length.to_be_bytes();
    all[all.len() - bytes..].to_vec()
}

/// Any bytes after their length.
fn counted() -> ArbitraryPart {
    let content = vec(any::<u8>(), 0..40);
    content.prop_map(|bytes| [length(bytes.len(), 4), bytes].concat()).boxed()
}

/// Some of a thing after their number.
fn several(count_bytes: usize, thing: ArbitraryPart) -> ArbitraryPart {
    vec(thing, 0..6)
        .prop_map(move |things| [length(things.len(), count_bytes), things.concat()].concat())
        .boxed()
}

fn tuple() -> ArbitraryPart {
    let column = prop_oneof![
        raw(b"n"),
        raw(b"u"),
        parts(vec![raw(b"t"), counted()]),
        parts(vec![raw(b"b"), counted()]),
    ];
    several(2, column.boxed())
}

fn old_tuple() -> ArbitraryPart {
    parts(vec![prop_oneof![raw(b"K"), raw(b"O")].boxed(), tuple()])
}

fn relation() -> ArbitraryPart {
    let identity = prop_oneof![raw(b"d"), raw(b"n"), raw(b"f"), raw(b"i")].boxed();
    let column = parts(vec![flag(), string(), number(4), number(4)]);
    parts(vec![number(4), string(), string(), identity, several(2, column)])
}

fn truncate() -> ArbitraryPart {
    (vec(any::<u32>(), 0..5), 0..4_u8)
        .prop_map(|(oids, flags)| {
            let oids: Vec<_> = oids.iter().map(|oid| oid.to_be_bytes()).collect();
            [&length(oids.len(), 4), &[flags][..], oids.as_flattened()].concat()
        })
        .boxed()
}

/// What follows the tag, and the transaction id where there is one.
fn body(tag: u8) -> ArbitraryPart {
    let new = || parts(vec![raw(b"N"), tuple()]);
    match tag {
        b'B' => number(20),
        b'C' => parts(vec![raw(&[0]), number(24)]),
        b'O' => parts(vec![number(8), string()]),
        b'R' => relation(),
        b'Y' => parts(vec![number(4), string(), string()]),
        b'I' => parts(vec![number(4), new()]),
        b'U' => {
            prop_oneof![parts(vec![number(4), new()]), parts(vec![number(4), old_tuple(), new()])]
                .boxed()
        }
        b'D' => parts(vec![number(4), old_tuple()]),
        b'T' => truncate(),
        b'M' => parts(vec![flag(), number(8), string(), counted()]),
        b'S' => parts(vec![number(4), flag()]),
        b'E' => raw(b""),
        b'c' => parts(vec![number(4), raw(&[0]), number(24)]),
        b'A' => prop_oneof![number(8), number(24)].boxed(),
        b'b' => parts(vec![number(28), string()]),
        b'P' | b'K' | b'p' => parts(vec![raw(&[0]), number(28), string()]),
        b'r' => parts(vec![raw(&[0]), number(36), string()]),
        _ => unreachable!("{tag}"),
    }
}

const TAGS: &[u8] = b"BCORYIUDTMSEcAbPKrp";
const TAGS_WITH_XID: &[u8] = b"MRYIUDT";

/// A valid message, and whether it is one of those inside stream blocks.
pub(super) fn any_message() -> impl Strategy<Value = (bool, Vec<u8>)> {
    (any::<bool>(), proptest::sample::select(TAGS)).prop_flat_map(|(streamed, tag)| {
        let xid = if streamed && TAGS_WITH_XID.contains(&tag) { number(4) } else { raw(b"") };
        let message = parts(vec![Just(vec![tag]).boxed(), xid, body(tag)]);
        (Just(streamed), message)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_read_can_be_written_again((streamed, bytes) in any_message()) {
        let decoded = decode_at(streamed, &bytes).unwrap();
        prop_assert_eq!(decoded.message.tag(), bytes[0]);
        prop_assert_eq!(decoded.xid.is_some(), streamed && TAGS_WITH_XID.contains(&bytes[0]));
        prop_assert_eq!(encode(&decoded), bytes);
    }
}
