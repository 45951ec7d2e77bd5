//! Tests of rendering as a whole.

mod arrays;
mod forms;
mod properties;

use super::array::DIMENSIONS_MAX;
use super::json::{JSON_BYTES_MAX, JSON_DEPTH_MAX, JSON_NUMBER_MAX};
use super::*;
use crate::json_text::write_string;

/// Renders a value; `None` when it is rejected.
fn render(kind: JsonType, text: &[u8]) -> Option<String> {
    render_form(JsonShape::Scalar(kind), text)
}

fn render_form(form: JsonShape, text: &[u8]) -> Option<String> {
    let mut out = b"before".to_vec();
    if form.write_json(text, &mut out).is_ok() {
        return Some(String::from_utf8(out).unwrap().split_off("before".len()));
    }
    assert_eq!(out, b"before", "nothing is written when a value is rejected");
    None
}

const ALL_TYPES: [JsonType; 9] = [
    JsonType::Integer,
    JsonType::Number,
    JsonType::Boolean,
    JsonType::Json,
    JsonType::Jsonb,
    JsonType::Timestamp,
    JsonType::Timestamptz,
    JsonType::Date,
    JsonType::String,
];

#[test]
fn values_of_every_type_are_rendered() {
    for (kind, text, json) in [
        (JsonType::Integer, "-9223372036854775808", "-9223372036854775808"),
        (JsonType::Number, "1.50", "1.50"),
        (JsonType::Number, "-0", "0"),
        (JsonType::Number, "-1.5e-07", "-0.00000015"),
        (JsonType::Number, "1.2345678901234567e+19", "12345678901234567000"),
        (JsonType::Number, "1.234567e+06", "1234567"),
        (JsonType::Number, "NaN", "\"NaN\""),
        (JsonType::Number, "-Infinity", "\"-Infinity\""),
        (JsonType::Boolean, "t", "true"),
        (JsonType::Jsonb, "{\"a\": [1, 2]}", "{\"a\": [1, 2]}"),
        (JsonType::Timestamp, "2024-02-29 12:34:56.12", "\"2024-02-29T12:34:56.12\""),
        (JsonType::Timestamp, "0044-03-15 12:00:00 BC", "\"0044-03-15T12:00:00 BC\""),
        (JsonType::Timestamptz, "294276-12-31 23:59:59+00", "\"294276-12-31T23:59:59+00:00\""),
        (JsonType::Timestamptz, "infinity", "\"infinity\""),
        (JsonType::Date, "0001-01-01 BC", "\"0001-01-01 BC\""),
    ] {
        assert_eq!(render(kind, text.as_bytes()).as_deref(), Some(json), "{kind:?} {text}");
    }
}

#[test]
fn strings_are_escaped_as_postgresql_does() {
    let mut json = Vec::new();
    write_string("\0\u{1f}\u{7f}\u{8}\u{c}\n\r\t\"\\/<é\u{2028}🦀", &mut json);
    let expected = "\"\\u0000\\u001f\u{7f}\\b\\f\\n\\r\\t\\\"\\\\/<é\u{2028}🦀\"";
    assert_eq!(String::from_utf8(json).unwrap(), expected);
}

#[test]
fn text_of_a_session_set_otherwise_is_refused() {
    for (kind, texts) in [
        (JsonType::Date, ["29/02/2024", "29.02.2024", "Thu Feb 29 2024"]),
        (JsonType::Timestamp, ["2024-02-29T00:00:00", "29/02/2024 00:00:00", "2024-02-29"]),
        (JsonType::Timestamptz, ["2024-02-29 00:00:00+01", "2024-02-29 00:00:00", "+00"]),
        (
            JsonType::Timestamptz,
            ["2024-02-29 00:00:00+05:30", "2024-02-29 00:00:00 UTC", "infinity+00"],
        ),
        (JsonType::Boolean, ["true", "", "T"]),
        (JsonType::Integer, ["", "1.0", "+1"]),
        (JsonType::Integer, ["-", "1e3", "1 "]),
        (JsonType::Number, ["", "1.", ".5"]),
        (JsonType::Number, ["nan", "1e", "0x1p3"]),
        (JsonType::Number, ["12e3", "0.5e3", "1e401"]),
        (JsonType::Number, ["--1", "01", "1e+-1"]),
    ] {
        for text in texts {
            assert_eq!(render(kind, text.as_bytes()), None, "{kind:?} {text:?}");
        }
    }
}

#[test]
fn text_that_is_not_utf8_is_rejected() {
    for kind in ALL_TYPES {
        assert_eq!(render(kind, b"\"\xff\""), None, "{kind:?}");
    }
}

#[test]
fn json_is_accepted_up_to_its_limits() {
    let json = |text: String| render(JsonType::Json, text.as_bytes());
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
fn invalid_json_is_rejected() {
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
        assert_eq!(render(JsonType::Json, text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn json_that_jsonb_rejects_or_might_change_is_rejected() {
    for text in [
        r#""\u0000""#,
        r#""\ud83e""#,
        r#""\udd80""#,
        r#""\ud83e\u0061""#,
        "1e200000",
        "1e-20000",
        r#"{"a": 1, "a": 2}"#,
        r#"{"a": 1, "\u0061": 2}"#,
        r#"{"x": {"b": 1, "c": 2, "b": {}}}"#,
    ] {
        assert_eq!(render(JsonType::Json, text.as_bytes()), None, "{text:?}");
    }
    let harmless = r#"[{"a":1},{"a":{"a":"\ud83e\udd80"}}]"#;
    assert_eq!(render(JsonType::Json, harmless.as_bytes()).as_deref(), Some(harmless));
}

#[test]
fn json_loses_its_white_space() {
    assert_eq!(
        render(JsonType::Json, b" {\r\n \"a b\" :\t[ 1 , true ] , \"\xc3\xa9\":null}\n").as_deref(),
        Some(r#"{"a b":[1,true],"é":null}"#)
    );
}

#[test]
fn integers_are_parsed() {
    assert_eq!(integer(b"-9223372036854775808"), Ok(i64::MIN));
    assert_eq!(integer(b"9223372036854775808"), Err(Unrenderable));
    assert_eq!(integer(b""), Err(Unrenderable));
}
