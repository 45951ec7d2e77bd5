//! Tests of rendering as a whole.

mod properties;
mod recorded;

use super::json::{JSON_BYTES_MAX, JSON_DEPTH_MAX, JSON_NUMBER_MAX};
use super::*;

/// Renders a value; `None` when it is refused.
fn render(kind: Kind, text: &[u8]) -> Option<String> {
    let mut out = b"before".to_vec();
    if kind.write_json(text, &mut out).is_ok() {
        return Some(String::from_utf8(out).unwrap().split_off("before".len()));
    }
    assert_eq!(out, b"before", "nothing is written when a value is refused");
    None
}

const ALL_KINDS: [Kind; 9] = [
    Kind::Integer,
    Kind::Number,
    Kind::Boolean,
    Kind::Json,
    Kind::Jsonb,
    Kind::Timestamp,
    Kind::Timestamptz,
    Kind::Date,
    Kind::String,
];

#[test]
fn only_enums_are_rendered_among_types_that_are_not_built_in() {
    assert_eq!(Kind::of(16_384, TypeClass::Enum), Some(Kind::String));
    for letter in ['b', 'c', 'd', 'p', 'r', 'm'] {
        let class = TypeClass::from_typtype(letter).unwrap();
        assert_eq!(Kind::of(16_384, class), None, "{letter}");
    }
    assert_eq!(TypeClass::from_typtype('e'), Some(TypeClass::Enum));
    assert_eq!(TypeClass::from_typtype('x'), None);
    // A domain must be looked through first, whatever its OID.
    assert_eq!(Kind::of(23, TypeClass::Domain), None);
}

#[test]
fn text_of_a_session_set_otherwise_is_refused() {
    for (kind, texts) in [
        (Kind::Date, ["29/02/2024", "29.02.2024", "Thu Feb 29 2024"]),
        (Kind::Timestamp, ["2024-02-29T00:00:00", "29/02/2024 00:00:00", "2024-02-29"]),
        (Kind::Timestamptz, ["2024-02-29 00:00:00+01", "2024-02-29 00:00:00", "+00"]),
        (
            Kind::Timestamptz,
            ["2024-02-29 00:00:00+05:30", "2024-02-29 00:00:00 UTC", "infinity+00"],
        ),
        (Kind::Boolean, ["true", "", "T"]),
        (Kind::Integer, ["", "1.0", "+1"]),
        (Kind::Integer, ["-", "1e3", "1 "]),
        (Kind::Number, ["", "1.", ".5"]),
        (Kind::Number, ["nan", "1e", "0x1p3"]),
        (Kind::Number, ["12e3", "0.5e3", "1e401"]),
        (Kind::Number, ["--1", "01", "1e+-1"]),
    ] {
        for text in texts {
            assert_eq!(render(kind, text.as_bytes()), None, "{kind:?} {text:?}");
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    for kind in ALL_KINDS {
        assert_eq!(render(kind, b"\"\xff\""), None, "{kind:?}");
    }
}

#[test]
fn json_is_looked_at_up_to_its_limits() {
    let json = |text: String| render(Kind::Json, text.as_bytes());
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(json(nested(JSON_DEPTH_MAX)).is_some());
    assert!(json(nested(JSON_DEPTH_MAX + 1)).is_none());
    assert!(json(format!("[{}]", vec![nested(JSON_DEPTH_MAX - 1); 3].join(","))).is_some());

    assert!(json("1".repeat(JSON_NUMBER_MAX)).is_some());
    assert!(json("1".repeat(JSON_NUMBER_MAX + 1)).is_none());
    assert!(json(format!("1e-{JSON_NUMBER_MAX}")).is_some());
    assert!(json(format!("1e-{}", JSON_NUMBER_MAX + 1)).is_none());

    let padded = |length| format!("1{}", " ".repeat(length - 1));
    assert_eq!(json(padded(JSON_BYTES_MAX)).as_deref(), Some("1"));
    assert!(json(padded(JSON_BYTES_MAX + 1)).is_none());
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "nul",
        "nulls",
        "1 2",
        "[1",
        "[1,]",
        "[,]",
        "{",
        "{1:2}",
        r#"{"a"}"#,
        r#"{"a":1,}"#,
        "+1",
        "01",
        "1.",
        "-",
        "1e",
        "1e+",
        r#"""#,
        r#""\x""#,
        r#""\u12g4""#,
        "\"\n\"",
        "]",
        "'a'",
        "tru e",
    ] {
        assert_eq!(render(Kind::Json, text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn json_keeps_to_one_line() {
    assert_eq!(
        render(Kind::Json, b" {\r\n \"a b\" :\t[ 1 , true ] , \"\xc3\xa9\":null}\n").as_deref(),
        Some(r#"{"a b":[1,true],"é":null}"#)
    );
}

#[test]
fn integers_are_read() {
    assert_eq!(integer(b"-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(integer(b"9223372036854775808"), Err(Unrenderable));
    assert_eq!(integer(b""), Err(Unrenderable));
}
