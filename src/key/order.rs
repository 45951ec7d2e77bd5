//! The order of keys, in which whole tables are told.
//!
//! Integers and other numbers go by value, strings by the bytes they stand for, arrays element by
//! element; kinds that never meet in one column go null, boolean, number, string, array. Keys that
//! differ as text but not as values (`1.0` and `1.00`) go by their text, so that the order agrees
//! with equality.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Key, Repr};

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

/// Compares two JSON texts by what they mean.
fn by_value(a: &[u8], b: &[u8]) -> Ordering {
    let rank = kind(a).cmp(&kind(b));
    rank.then_with(|| match kind(a) {
        JsonRank::Number => OrderedNumber::of(a).cmp(&OrderedNumber::of(b)),
        JsonRank::String => unescaped(a).cmp(&unescaped(b)),
        JsonRank::Array => elements(a, b),
        JsonRank::Null | JsonRank::Boolean | JsonRank::Other => a.cmp(b),
    })
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum JsonRank {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Other,
}

fn kind(text: &[u8]) -> JsonRank {
    match text.first() {
        Some(b'n') => JsonRank::Null,
        Some(b't' | b'f') => JsonRank::Boolean,
        Some(b'-' | b'0'..=b'9') => JsonRank::Number,
        Some(b'"') => JsonRank::String,
        Some(b'[') => JsonRank::Array,
        _ => JsonRank::Other,
    }
}

/// What a string stands for. Strings that hold no escape, nearly all keys, cost nothing.
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text.get(1..text.len() - 1).unwrap_or_default());
    }
    serde_json::from_slice::<String>(text)
        .map_or(Cow::Borrowed(text), |string| Cow::Owned(string.into_bytes()))
}

fn elements(a: &[u8], b: &[u8]) -> Ordering {
    let mut a = Elements(a.get(1..).unwrap_or_default());
    let mut b = Elements(b.get(1..).unwrap_or_default());
    loop {
        match (a.next(), b.next()) {
            (Some(a), Some(b)) => match by_value(a, b) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
            (a, b) => return a.is_some().cmp(&b.is_some()),
        }
    }
}

/// The elements of an array, without its opening bracket.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let skipped = self.0.iter().take_while(|byte| matches!(byte, b',' | b' ')).count();
        let rest = self.0.get(skipped..)?;
        let (element, rest) = rest.split_at_checked(length(rest))?;
        self.0 = rest;
        (!element.is_empty()).then_some(element)
    }
}

/// Bytes of the first element: up to a comma or a closing bracket that belongs to no inner one.
fn length(text: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' | b',' if depth == 0 => return at,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// A number: its sign, how many digits stand before the point, and its digits without zeros at
/// either end. So it compares as the number does, however many digits there are.
#[derive(PartialEq, Eq)]
struct OrderedNumber<'a> {
    negative: bool,
    magnitude: i64,
    digits: Cow<'a, [u8]>,
}

impl<'a> OrderedNumber<'a> {
    fn of(text: &'a [u8]) -> Self {
        let (negative, text) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let is_exponent = |byte: &u8| matches!(byte, b'e' | b'E');
        let mut parts = text.splitn(2, is_exponent);
        let mantissa = parts.next().unwrap_or_default();
        let exponent = parts.next().and_then(|e| std::str::from_utf8(e).ok()?.parse().ok());
        let mut sides = mantissa.splitn(2, |byte| *byte == b'.');
        let whole = sides.next().unwrap_or_default();
        let digits = match sides.next() {
            Some(fraction) => Cow::Owned([whole, fraction].concat()),
            None => Cow::Borrowed(whole),
        };
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        if end == 0 {
            return Self { negative: false, magnitude: i64::MIN, digits: Cow::Borrowed(&[]) };
        }
        let magnitude = i64::try_from(whole.len() - zeros.min(whole.len())).unwrap_or(i64::MAX);
        let below = i64::try_from(zeros.saturating_sub(whole.len())).unwrap_or(i64::MAX);
        let magnitude = magnitude.saturating_sub(below).saturating_add(exponent.unwrap_or(0));
        let digits = match digits {
            Cow::Borrowed(digits) => Cow::Borrowed(digits.get(zeros..end).unwrap_or_default()),
            Cow::Owned(digits) => Cow::Owned(digits.get(zeros..end).unwrap_or_default().to_vec()),
        };
        Self { negative, magnitude, digits }
    }
}

impl Ord for OrderedNumber<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |a: &Self, b: &Self| {
            a.magnitude.cmp(&b.magnitude).then_with(|| a.digits.cmp(&b.digits))
        };
        match (self.negative, other.negative) {
            (false, false) => size(self, other),
            (true, true) => size(other, self),
            (negative, _) => {
                if negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

impl PartialOrd for OrderedNumber<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts are in order, and the order is the same from wherever one looks.
    fn assert_rising(texts: &[&str]) {
        let keys: Vec<Key> = texts.iter().map(|text| Key::json(text.as_bytes())).collect();
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn numbers_go_by_value_then_by_text() {
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
    fn strings_go_by_the_bytes_they_stand_for() {
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
    fn arrays_go_element_by_element() {
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
    fn kinds_have_an_order_too() {
        assert_rising(&["null", "false", "true", "-5", "7", r#""1""#, "[1]", "{}"]);
        let (integer, number) = (Key::integer(5), Key::json(b"5"));
        assert_eq!(
            [integer.cmp(&number), number.cmp(&integer)],
            [Ordering::Less, Ordering::Greater]
        );
        assert!(Key::integer(5) < Key::json(b"5.5") && Key::json(b"4.5") < Key::integer(5));
    }
}
