//! The order of keys, in which whole tables are listed.
//!
//! Numbers compare by value, strings by the bytes of their content, arrays element by element; types that
//! never occur together in one column sort null, boolean, number, string, array. Keys that are equal by
//! value but not as text (`1.0` and `1.00`) compare by their text, so that the order agrees with equality.

use std::cmp::Ordering;

use super::{Key, Repr};
use crate::decimal::Decimal;
use crate::json_text::{self, Elements};

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Integer(a), Repr::Integer(b)) => a.cmp(b),
            (Repr::Json(a), Repr::Json(b)) => by_value(a, b).then_with(|| a.cmp(b)),
            (Repr::Integer(a), Repr::Json(b)) => {
                by_value(a.to_string().as_bytes(), b).then(Ordering::Less)
            }
            (Repr::Json(_), Repr::Integer(_)) => other.cmp(self).reverse(),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares two JSON texts by value.
fn by_value(a: &[u8], b: &[u8]) -> Ordering {
    let rank = JsonRank::of(a);
    rank.cmp(&JsonRank::of(b)).then_with(|| match rank {
        JsonRank::Number => Decimal::parse(a).cmp(&Decimal::parse(b)),
        JsonRank::String => json_text::unescape(a).cmp(&json_text::unescape(b)),
        JsonRank::Array => by_elements(a, b),
        JsonRank::Null | JsonRank::Boolean | JsonRank::Other => a.cmp(b),
    })
}

fn by_elements(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (Elements::new(a), Elements::new(b));
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) => match by_value(a.as_bytes(), b.as_bytes()) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
            // The shorter array comes first.
            (a, b) => return a.is_some().cmp(&b.is_some()),
        }
    }
}

/// The JSON types in the order of their keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum JsonRank {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Other,
}

impl JsonRank {
    /// The type of a valid JSON text, which its first byte decides.
    fn of(text: &[u8]) -> Self {
        match text.first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            Some(b'"') => Self::String,
            Some(b'[') => Self::Array,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that every pair of keys compares as its positions in the list do.
    fn assert_rising(texts: &[&str]) {
        let keys: Vec<Key> = texts.iter().map(|text| Key::json(text.as_bytes())).collect();
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn numbers_sort_by_value_then_by_text() {
        assert_rising(&[
            "-1e3",
            "-100.5",
            "-100",
            "-2",
            "-0.5",
            "-0.05",
            "0",
            "0.00",
            "0.005",
            "0.05",
            "0.5",
            "1.0",
            "1.00",
            "1.5",
            "2",
            "10",
            "99.99",
            "100",
            "1e+2",
            "123456789012345678901",
            "1e+30",
        ]);
    }

    #[test]
    fn strings_sort_by_the_bytes_of_their_content() {
        assert_rising(&[
            r#""""#,
            r#""\u0001""#,
            r#""\"""#,
            r#""a""#,
            r#""a\nb""#,
            r#""ab""#,
            r#""b""#,
            r#""ä""#,
        ]);
    }

    #[test]
    fn arrays_sort_element_by_element() {
        assert_rising(&[
            "[1]",
            r#"[1,"a"]"#,
            r#"[1,"a\"]"]"#,
            r#"[1, "a,]b"]"#,
            r#"[1,"b"]"#,
            "[2,[1,2]]",
            "[2,[1,3]]",
            "[10]",
        ]);
    }

    #[test]
    fn types_have_an_order_too() {
        assert_rising(&["null", "false", "true", "-5", "7", r#""1""#, "[1]", "{}"]);
        let (integer, number) = (Key::integer(5), Key::json(b"5"));
        assert_eq!(
            [integer.cmp(&number), number.cmp(&integer)],
            [Ordering::Less, Ordering::Greater]
        );
        assert!(Key::integer(5) < Key::json(b"5.5") && Key::json(b"4.5") < Key::integer(5));
    }
}
