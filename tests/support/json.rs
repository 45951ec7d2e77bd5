//! JSON compared as PostgreSQL's `jsonb` compares it: numbers are decimals, white space is nothing.

use serde_json::Value;

/// Whether two JSON texts are equal with their numbers compared as decimals: `1.50` is `15e-1`.
pub(crate) fn is_same_json(one: &str, other: &str) -> bool {
    one == other || with_decimals(one) == with_decimals(other)
}

/// JSON with its numbers in one spelling. Of equal keys the last counts.
fn with_decimals(json: &str) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Number(number) => *value = decimal(number.as_str()).into(),
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(members) => members.values_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    walk(&mut value);
    value
}

/// A number's digits without zeros at either end, and their exponent. In words, so that no string
/// of the document is equal to it.
fn decimal(number: &str) -> String {
    let number = number.to_lowercase();
    let (mantissa, exponent) = number.split_once('e').unwrap_or((&number, "0"));
    let unsigned = mantissa.trim_start_matches('-');
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    // Of the last digit that is not zero.
    let shift = i64::try_from(digits.len() - significant.len()).unwrap();
    let shift = shift - i64::try_from(fraction.len()).unwrap();
    let exponent = exponent.parse::<i64>().unwrap() + shift;
    match significant.trim_start_matches('0') {
        "" => "the number 0".into(),
        digits if mantissa.starts_with('-') => format!("the number -{digits}e{exponent}"),
        digits => format!("the number {digits}e{exponent}"),
    }
}

#[test]
fn numbers_are_the_same_however_they_are_spelled() {
    for (one, other) in [
        ("1e2", "100"),
        ("1.50", "15E-1"),
        ("-0.0", "0"),
        ("[1, {\"a\": 0.010}]", "[1.0,{\"a\":1e-2}]"),
        ("123456789012345678901", "123456789012345678901.0"),
    ] {
        assert!(is_same_json(one, other), "{one} {other}");
    }
    for (one, other) in [
        ("1", "10"),
        ("1", "-1"),
        ("1", "\"1\""),
        ("0.1", "0.01"),
        ("123456789012345678901", "123456789012345678902"),
        ("[1,2]", "[2,1]"),
        ("{\"a\":null}", "{}"),
    ] {
        assert!(!is_same_json(one, other), "{one} {other}");
    }
}
