//! JSON as text: taking a document apart without building a tree, and writing strings.
//!
//! Values keep the spelling in which the database or the stream wrote them, so pieces of a document are
//! handed out as the text they are. `serde_json` does the scanning.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `visit` with the name (still quoted) and the value of each member of an object, in order;
/// `None` when the text is not one JSON object.
pub fn for_each_member<'a>(json: &'a [u8], visit: impl FnMut(&'a str, &'a str)) -> Option<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.deserialize_map(MemberVisitor(visit)).ok()?;
    deserializer.end().ok()
}

struct MemberVisitor<F>(F);

impl<'de, F: FnMut(&'de str, &'de str)> Visitor<'de> for MemberVisitor<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<&RawValue>()? {
            (self.0)(name.get(), map.next_value::<&RawValue>()?.get());
        }
        Ok(())
    }
}

/// The names (still quoted) and values of an object's members, in order; `None` when the text is not
/// one JSON object.
pub fn members(json: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut members = Vec::new();
    for_each_member(json, |name, value| members.push((name, value)))?;
    Some(members)
}

/// The elements of an array, in order; `None` when the text is not one JSON array.
pub fn elements(json: &[u8]) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_slice(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The elements of an array that is known to be valid JSON, read one by one: a comparison seldom needs
/// more than the first.
pub struct Elements<'a> {
    /// What follows the opening bracket, or the last element.
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    /// Starts before the first element; a text that is not an array has none.
    pub fn new(array: &'a [u8]) -> Self {
        Self { rest: array.strip_prefix(b"[").unwrap_or_default() }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_ascii_start();
        let rest = rest.strip_prefix(b",").unwrap_or(rest);
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        // The closing bracket is not a value, and ends the iteration.
        let element = values.next()?.ok()?;
        self.rest = rest.get(values.byte_offset()..).unwrap_or_default();
        Some(element.get())
    }
}

/// The content of a JSON string; `None` for any other text. Strings without escapes, nearly all, are not
/// copied.
pub fn unescape(quoted: &[u8]) -> Option<Cow<'_, [u8]>> {
    let content = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !content.contains(&b'\\') {
        return Some(Cow::Borrowed(content));
    }
    let text: String = serde_json::from_slice(quoted).ok()?;
    Some(Cow::Owned(text.into_bytes()))
}

/// Appends text as a JSON string (RFC 8259), escaping exactly what PostgreSQL escapes, and as it does:
/// control characters, quotes and backslashes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    // Writing to a vector can't fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_keep_their_spelling() {
        let json = br#"{"a":1.50,"b\u00e4":{"c":[1,"}"]} , "d":null}"#;
        let expected =
            vec![(r#""a""#, "1.50"), (r#""b\u00e4""#, r#"{"c":[1,"}"]}"#), (r#""d""#, "null")];
        assert_eq!(members(json), Some(expected));
        for other in ["[]", "1", r#"{"a":1"#, r#"{"a":1}x"#, ""] {
            assert_eq!(members(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn elements_end_where_the_array_does() {
        for (json, expected) in [
            ("[]", vec![]),
            ("[1]", vec!["1"]),
            (
                r#"[1, "a,]\"b" ,[2,{"x":"]"}],true]"#,
                vec!["1", r#""a,]\"b""#, r#"[2,{"x":"]"}]"#, "true"],
            ),
        ] {
            assert_eq!(Elements::new(json.as_bytes()).collect::<Vec<_>>(), expected, "{json}");
            assert_eq!(elements(json.as_bytes()), Some(expected), "{json}");
        }
        assert_eq!(elements(b"[1,"), None);
        assert_eq!(Elements::new(b"{}").count(), 0);
    }

    #[test]
    fn strings_stand_for_their_content() {
        for (quoted, expected) in [
            (r#""a""#, Some("a")),
            (r#""""#, Some("")),
            (r#""a\"\u00e4\\""#, Some("a\"ä\\")),
            ("5", None),
            ("\"", None),
            (r#""\""#, None),
        ] {
            let content = unescape(quoted.as_bytes());
            assert_eq!(content.as_deref(), expected.map(str::as_bytes), "{quoted}");
        }
    }

    proptest! {
        #[test]
        fn a_string_reads_as_it_was_written(text in ".{0,40}") {
            let mut json = Vec::new();
            write_string(&text, &mut json);
            let content = unescape(&json);
            prop_assert_eq!(content.as_deref(), Some(text.as_bytes()));
        }

        #[test]
        fn both_ways_to_read_an_array_agree(items: Vec<(String, i64)>) {
            let json = serde_json::to_vec(&items).unwrap();
            prop_assert_eq!(Elements::new(&json).collect::<Vec<_>>(), elements(&json).unwrap());
        }
    }
}
