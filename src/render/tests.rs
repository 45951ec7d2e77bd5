//! Tests of rendering as a whole.

use super::*;

fn render(kind: Kind, text: &str) -> Option<String> {
    let mut out = b"before".to_vec();
    if let Ok(()) = kind.write_json(text.as_bytes(), &mut out) {
        Some(String::from_utf8(out).unwrap().split_off("before".len()))
    } else {
        assert_eq!(out, b"before", "{text:?}: nothing is written when a value is refused");
        None
    }
}

#[test]
fn numbers_are_written_out_as_numeric_would() {
    for (text, json) in [
        ("0", "0"),
        ("-0", "0"),
        ("1e+20", "100000000000000000000"),
        ("1.5e+20", "150000000000000000000"),
        ("1.23456789e+03", "1234.56789"),
        ("-1.5e-07", "-0.00000015"),
        ("12.500", "12.500"),
        ("NaN", r#""NaN""#),
        ("-Infinity", r#""-Infinity""#),
    ] {
        assert_eq!(render(Kind::Number, text).as_deref(), Some(json), "{text}");
    }
}
