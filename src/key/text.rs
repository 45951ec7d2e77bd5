//! The parts of a key, as parameters of SQL queries.

use serde_json::value::RawValue;

use super::{Key, Repr};
use crate::json_text;

/// The value of one of a key's columns, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPart(String);

impl Key {
    /// The values of the key's columns, in key order; `None` if it does not have exactly that many.
    pub fn parts(&self, columns: usize) -> Option<Vec<KeyPart>> {
        match (&self.0, columns) {
            (Repr::Integer(value), 1) => Some(vec![KeyPart(value.to_string())]),
            (Repr::Integer(_), _) => None,
            (Repr::Json(text), 1) => {
                let value: &RawValue = serde_json::from_slice(text).ok()?;
                Some(vec![KeyPart(value.get().to_owned())])
            }
            (Repr::Json(text), _) => {
                let values = json_text::elements(text).filter(|values| values.len() == columns)?;
                Some(values.into_iter().map(|value| KeyPart(value.to_owned())).collect())
            }
        }
    }
}

impl KeyPart {
    /// The value as JSON.
    pub fn json(&self) -> &str {
        &self.0
    }

    /// The value as input text for SQL: a string's content, else the JSON itself; `None` for a value without
    /// such a text (`null`, or a string with U+0000, which PostgreSQL's texts can't contain).
    pub fn text(&self) -> Option<String> {
        if self.0 == "null" {
            return None;
        }
        if !self.0.starts_with('"') {
            return Some(self.0.clone());
        }
        serde_json::from_str(&self.0).ok().filter(|text: &String| !text.contains('\0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(key: &Key, columns: usize) -> Option<Vec<Option<String>>> {
        Some(key.parts(columns)?.iter().map(KeyPart::text).collect())
    }

    #[test]
    fn values_have_the_input_text_of_their_types() {
        let one = |json: &str| texts(&Key::json(json.as_bytes()), 1).unwrap()[0].clone();
        assert_eq!(texts(&Key::integer(-7), 1), Some(vec![Some("-7".into())]));
        assert_eq!(one(r#""o'n\"e\\ \u00e9,\n""#).as_deref(), Some("o'n\"e\\ é,\n"));
        assert_eq!(one("1.50").as_deref(), Some("1.50"));
        assert_eq!(one("true").as_deref(), Some("true"));
        assert_eq!(one(r#"{"a":[1]}"#).as_deref(), Some(r#"{"a":[1]}"#));
        for nothing in ["null", r#""a\u0000""#] {
            assert_eq!(one(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_key_has_one_part_for_each_column() {
        let key = Key::json(br#"[1, "a,b" ,true]"#);
        let expected = ["1", "a,b", "true"].map(|text| Some(text.to_owned()));
        assert_eq!(texts(&key, 3), Some(expected.to_vec()));
        assert_eq!(key.parts(2), None);
        assert_eq!(Key::integer(1).parts(2), None);
        assert_eq!(Key::json(b"1").parts(2), None);
        assert_eq!(Key::json(b"[1,").parts(2), None);
    }
}
