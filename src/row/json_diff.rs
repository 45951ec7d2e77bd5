//! Whether two documents say the same, and if not, in what they differ.

use serde_json::Value;

use super::{Members, Row};

/// Members that are named of a row that differs in more.
const MEMBERS_TOLD_MAX: usize = 5;
/// Letters of a value that are told.
const VALUE_LETTERS_MAX: usize = 100;

/// In what a row in memory differs from the one in the database, as a sentence; `None` when both
/// say the same.
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
    let (Some(ours), Some(theirs)) = (Members::of(memory), Members::of(database)) else {
        return Some("the documents are not JSON objects".into());
    };
    let names =
        |members: &Members| members.0.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>();
    let (our_names, their_names) = (names(&ours), names(&theirs));
    if our_names != their_names {
        let [memory, database] = [our_names, their_names].map(|names| names.join(", "));
        let [memory, database] = [shortened(&memory), shortened(&database)];
        return Some(format!("its members are {memory} in memory, {database} in the database"));
    }
    let pairs = ours.0.iter().zip(&theirs.0);
    let differing: Vec<String> = pairs
        .filter(|((_, ours), (_, theirs))| !is_same_json(ours, theirs))
        .map(|((name, ours), (_, theirs))| {
            let (ours, theirs) = (shortened(ours), shortened(theirs));
            format!("{name} is {ours} in memory, {theirs} in the database")
        })
        .collect();
    let more = differing.len().saturating_sub(MEMBERS_TOLD_MAX);
    let told = differing.iter().take(MEMBERS_TOLD_MAX).cloned().collect::<Vec<_>>().join("; ");
    match (differing.is_empty(), more) {
        (true, _) => None,
        (_, 0) => Some(told),
        _ => Some(format!("{told}; and {more} more")),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_LETTERS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Whether two JSON texts are equal as `jsonb` compares them, with numbers as decimals: `1.50` is
/// `15e-1`, white space is nothing, of equal keys the last counts.
pub fn is_same_json(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (with_decimals(one), with_decimals(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// JSON with its numbers in one spelling.
fn with_decimals(json: &str) -> Option<Value> {
    fn walk(value: &mut Value) {
        match value {
            Value::Number(number) => *value = decimal(number.as_str()).into(),
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(members) => members.values_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(json).ok()?;
    walk(&mut value);
    Some(value)
}

/// A number's digits without zeros at either end, and their exponent. It begins with a character that
/// no string of a row has: PostgreSQL knows no NUL.
fn decimal(number: &str) -> String {
    let number = number.to_lowercase();
    let (mantissa, exponent) = number.split_once('e').unwrap_or((&number, "0"));
    let unsigned = mantissa.trim_start_matches('-');
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let exponent = exponent.trim_start_matches('+').parse::<i128>().unwrap_or_default();
    // Of the last digit that is not zero.
    let exponent =
        exponent + digits.len() as i128 - significant.len() as i128 - fraction.len() as i128;
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    match significant.trim_start_matches('0') {
        "" => "\0".into(),
        digits => format!("\0{sign}{digits}e{exponent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_however_they_are_spelled() {
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
    fn a_difference_is_told_by_member() {
        let row = |json: &str| Row::new(json.as_bytes());
        let told =
            |memory: &str, database: &str| difference(Some(&row(memory)), Some(&row(database)));
        assert_eq!(told(r#"{"id":1,"a":1.0}"#, r#"{"id":1,"a":1}"#), None);
        assert_eq!(
            told(r#"{"id":1,"a":"x","b":2}"#, r#"{"id":1,"a":"y","b":2}"#).as_deref(),
            Some(r#""a" is "x" in memory, "y" in the database"#)
        );
        assert_eq!(
            told(r#"{"id":1}"#, r#"{"id":1,"a":2}"#).as_deref(),
            Some(r#"its members are "id" in memory, "id", "a" in the database"#)
        );
        let long = told(r#"{"a":1}"#, &format!(r#"{{"a":"{}"}}"#, "ä".repeat(500))).unwrap();
        assert!(long.len() < 300 && long.contains("ä…"), "{long}");
        let many = |n: u8| {
            format!("{{{}}}", (0..9).map(|c| format!("\"{c}\":{n}")).collect::<Vec<_>>().join(","))
        };
        assert!(told(&many(1), &many(2)).unwrap().ends_with("; and 4 more"));
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
