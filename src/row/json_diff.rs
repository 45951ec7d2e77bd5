//! Comparison of two documents by value, and a description of their differences.

use serde_json::Value;

use super::Row;
use crate::decimal::Decimal;
use crate::json_text;

/// Differing members listed for one row; further ones are only counted.
const MEMBERS_LISTED_MAX: usize = 5;
/// Characters shown of one value.
const VALUE_CHARS_MAX: usize = 100;

/// The difference between a cached row and the one in the database, as a sentence; `None` when both
/// are equal by value.
pub fn difference(memory: Option<&Row>, database: Option<&Row>) -> Option<String> {
    match (memory, database) {
        (None, None) => None,
        (Some(_), None) => Some("it is in memory and not in the database".into()),
        (None, Some(_)) => Some("it is in the database and not in memory".into()),
        (Some(memory), Some(database)) if memory == database => None,
        (Some(memory), Some(database)) => differing_members(memory, database),
    }
}

fn differing_members(memory: &Row, database: &Row) -> Option<String> {
    let documents = (json_text::members(memory.json()), json_text::members(database.json()));
    let (Some(cached), Some(stored)) = documents else {
        return Some("the documents are not JSON objects".into());
    };
    let [cached_names, stored_names] =
        [&cached, &stored].map(|members| members.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    if cached_names != stored_names {
        let [memory, database] =
            [cached_names, stored_names].map(|names| truncated(&names.join(", ")));
        return Some(format!("its members are {memory} in memory, {database} in the database"));
    }
    let differing: Vec<String> = std::iter::zip(&cached, &stored)
        .filter(|((_, cached), (_, stored))| !is_same_json(cached, stored))
        .map(|((name, cached), (_, stored))| {
            let (cached, stored) = (truncated(cached), truncated(stored));
            format!("{name} is {cached} in memory, {stored} in the database")
        })
        .collect();
    if differing.is_empty() {
        return None;
    }
    let listed = differing.get(..MEMBERS_LISTED_MAX).unwrap_or(&differing).join("; ");
    match differing.len().saturating_sub(MEMBERS_LISTED_MAX) {
        0 => Some(listed),
        more => Some(format!("{listed}; and {more} more")),
    }
}

fn truncated(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Whether two JSON texts are equal as `jsonb` compares them, with numbers as decimals: `1.50` equals
/// `15e-1`, white space does not count, and of equal keys the last one does.
pub fn is_same_json(one: &str, other: &str) -> bool {
    // Nearly all pairs are equal as text.
    if one == other {
        return true;
    }
    match (serde_json::from_str(one), serde_json::from_str(other)) {
        (Ok(one), Ok(other)) => is_same_value(&one, &other),
        _ => false,
    }
}

fn is_same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            Decimal::parse(one.as_str().as_bytes()) == Decimal::parse(other.as_str().as_bytes())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same_value(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let in_other = |(name, a)| other.get(name).is_some_and(|b| is_same_value(a, b));
            one.len() == other.len() && one.iter().all(in_other)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_in_every_spelling() {
        for (one, other) in [
            ("1e2", "100"),
            ("1e+20", "100000000000000000000"),
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
            ("1", "\"1e0\""),
            ("0.1", "0.01"),
            ("123456789012345678901", "123456789012345678902"),
            ("[1,2]", "[2,1]"),
            ("{\"a\":null}", "{}"),
        ] {
            assert!(!is_same_json(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_difference_names_its_members() {
        let row = |json: &str| Row::new(json.as_bytes());
        let described =
            |memory: &str, database: &str| difference(Some(&row(memory)), Some(&row(database)));
        assert_eq!(described(r#"{"id":1,"a":1.0}"#, r#"{"id":1,"a":1}"#), None);
        assert_eq!(
            described(r#"{"id":1,"a":"x","b":2}"#, r#"{"id":1,"a":"y","b":2}"#).as_deref(),
            Some(r#""a" is "x" in memory, "y" in the database"#)
        );
        assert_eq!(
            described(r#"{"id":1}"#, r#"{"id":1,"a":2}"#).as_deref(),
            Some(r#"its members are "id" in memory, "id", "a" in the database"#)
        );
        let long = described(r#"{"a":1}"#, &format!(r#"{{"a":"{}"}}"#, "ä".repeat(500))).unwrap();
        assert!(long.len() < 300 && long.contains("ä…"), "{long}");
        let many = |n: u8| {
            format!("{{{}}}", (0..9).map(|c| format!("\"{c}\":{n}")).collect::<Vec<_>>().join(","))
        };
        assert!(described(&many(1), &many(2)).unwrap().ends_with("; and 4 more"));
    }

    #[test]
    fn a_row_on_one_side_only_is_a_difference() {
        let row = Row::new(b"{}");
        assert!(difference(Some(&row), None).unwrap().contains("not in the database"));
        assert!(difference(None, Some(&row)).unwrap().contains("not in memory"));
        assert_eq!(difference(None, None), None);
        assert_eq!(difference(Some(&row), Some(&row)), None);
    }
}
