//! Ids and cursors as text.

use proptest::prelude::*;

use super::{cursor, id};
use crate::http::response::problem::Problem;
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::table::Column;

fn column(name: &str, kind: JsonType) -> Column {
    Column {
        name: name.into(),
        type_oid: 0,
        type_name: String::new(),
        form: Some(JsonShape::Scalar(kind)),
    }
}

fn key(text: &str, kinds: &[JsonType]) -> Result<String, String> {
    detail(id::key(text, &columns(kinds)))
}

fn keys(list: &str, kinds: &[JsonType]) -> Result<String, String> {
    let keys = id::keys(list, &columns(kinds));
    keys.map(|keys| format!("{keys:?}")).map_err(|problem| problem.detail().to_owned())
}

fn columns(kinds: &[JsonType]) -> Vec<Column> {
    kinds.iter().zip(["a", "b", "c"]).map(|(kind, name)| column(name, *kind)).collect()
}

fn detail(key: Result<Key, Problem>) -> Result<String, String> {
    key.map(|key| format!("{key:?}")).map_err(|problem| problem.detail().to_owned())
}

#[test]
fn a_single_integer_has_its_own_key_form() {
    let columns = columns(&[JsonType::Integer]);
    for text in ["7", "007", "+7", "%37"] {
        assert_eq!(id::key(text, &columns).unwrap(), Key::integer(7), "{text}");
    }
    assert_eq!(id::key("-9223372036854775808", &columns).unwrap(), Key::integer(i64::MIN));
    for text in ["", "x", "1.0", "1e3", " 1", "9223372036854775808"] {
        let rejected = key(text, &[JsonType::Integer]).unwrap_err();
        assert!(rejected.contains("is not an integer, which the key column a is"), "{rejected}");
    }
}

#[test]
fn values_become_json_by_the_type_of_their_column() {
    for (text, kind, json) in [
        ("true", JsonType::Boolean, "true"),
        ("f", JsonType::Boolean, "false"),
        ("2.50", JsonType::Number, "2.50"),
        ("-0.1", JsonType::Number, "-0.1"),
        ("NaN", JsonType::Number, r#""NaN""#),
        ("-Infinity", JsonType::Number, r#""-Infinity""#),
        ("7", JsonType::String, r#""7""#),
        ("", JsonType::String, r#""""#),
        ("a%2Cb%2525", JsonType::String, r#""a,b%25""#),
        ("a+b%2F", JsonType::String, r#""a+b/""#),
        ("2024-01-31T12:00:00+00:00", JsonType::Timestamptz, r#""2024-01-31T12:00:00+00:00""#),
        ("2024-01-31", JsonType::Date, r#""2024-01-31""#),
        ("%7B%22a%22%3A%201%7D", JsonType::Jsonb, r#"{"a": 1}"#),
    ] {
        assert_eq!(key(text, &[kind]).as_deref(), Ok(json), "{text}");
    }
    for (text, kind) in
        [("yes", JsonType::Boolean), (".5", JsonType::Number), ("1%2C5", JsonType::Number)]
    {
        assert!(key(text, &[kind]).is_err(), "{text}");
    }
    assert!(key("{", &[JsonType::Jsonb]).is_err());
    assert!(key("%ff", &[JsonType::String]).unwrap_err().contains("UTF-8"));
}

#[test]
fn several_columns_are_split_before_they_are_decoded() {
    let kinds = [JsonType::Integer, JsonType::String];
    assert_eq!(key("07,a%2Cb", &kinds).as_deref(), Ok(r#"[7,"a,b"]"#));
    assert_eq!(key("7,", &kinds).as_deref(), Ok(r#"[7,""]"#));
    assert_eq!(
        key("1,t,x", &[JsonType::Number, JsonType::Boolean, JsonType::String]).unwrap(),
        r#"[1,true,"x"]"#
    );
    for (text, kinds, says) in [
        ("7", kinds.as_slice(), "has 1 value where the key has 2: a, b; write a `,` inside"),
        ("7%2Ca", &kinds, "has 1 value"),
        ("1,2,3", &kinds, "has 3 values"),
        ("1,2", &[JsonType::Integer], "has 2 values where the key has 1: a"),
    ] {
        let rejected = key(text, kinds).unwrap_err();
        assert!(rejected.contains(says), "{rejected}");
    }
}

#[test]
fn a_list_is_split_by_the_columns_of_the_key() {
    assert_eq!(keys("3,1,3", &[JsonType::Integer]).as_deref(), Ok("[3, 1, 3]"));
    let kinds = [JsonType::Integer, JsonType::String];
    assert_eq!(keys("1,a,2,b%2C", &kinds).as_deref(), Ok(r#"[[1,"a"], [2,"b,"]]"#));
    let rejected = keys("1,a,2", &kinds).unwrap_err();
    assert!(rejected.contains("has 3 values") && rejected.contains("each id has 2 values, a, b"));
    let list = |ids: usize| vec!["1"; ids].join(",");
    assert!(keys(&list(1_000), &[JsonType::Integer]).is_ok());
    assert!(keys(&list(1_001), &[JsonType::Integer]).unwrap_err().contains("at most 1000"));
    assert!(keys(&list(2_000), &[JsonType::Integer, JsonType::Integer]).is_ok());
    assert!(keys(&list(2_002), &[JsonType::Integer, JsonType::Integer]).is_err());
}

/// The text of a value as a path holds it.
fn encoded(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

proptest! {
    #[test]
    fn a_string_is_written_as_the_change_stream_writes_it(value in any::<String>()) {
        let mut json = Vec::new();
        JsonType::String.write_json(value.as_bytes(), &mut json).unwrap();
        let json = String::from_utf8(json).unwrap();
        prop_assert_eq!(key(&encoded(&value), &[JsonType::String]), Ok(json.clone()));
        let pair = format!("{},{}", encoded(&value), encoded(&value));
        prop_assert_eq!(
            key(&pair, &[JsonType::String, JsonType::String]),
            Ok(format!("[{json},{json}]"))
        );
    }

    #[test]
    fn any_text_is_read_or_rejected(text in "[-a-z0-9,.%\"{}]{0,20}") {
        for kind in [JsonType::Integer, JsonType::Number, JsonType::Boolean, JsonType::Jsonb, JsonType::String] {
            let _ = key(&text, &[kind]);
            let _ = keys(&text, &[kind, JsonType::String]);
            let _ = cursor::key(&text, &columns(&[kind]));
        }
    }

    #[test]
    fn a_cursor_leads_back_to_its_key(number: i64, text: String) {
        let single = Key::integer(number);
        let columns_ = columns(&[JsonType::Integer]);
        prop_assert_eq!(&cursor::key(&cursor::after(&single), &columns_).unwrap(), &single);
        let pair = id::key(
            &format!("{number},{}", encoded(&text)),
            &columns(&[JsonType::Integer, JsonType::String]),
        ).unwrap();
        let columns_ = columns(&[JsonType::Integer, JsonType::String]);
        prop_assert_eq!(&cursor::key(&cursor::after(&pair), &columns_).unwrap(), &pair);
    }
}

#[test]
fn every_control_character_is_escaped_as_the_change_stream_does() {
    for value in (0_u8..=0x7F).map(char::from) {
        let mut json = Vec::new();
        JsonType::String.write_json(value.to_string().as_bytes(), &mut json).unwrap();
        assert_eq!(
            key(&encoded(&value.to_string()), &[JsonType::String]).unwrap().as_bytes(),
            json
        );
    }
}

#[test]
fn a_cursor_of_another_key_is_rejected() {
    let rejected = |cursor: &str, kinds: &[JsonType]| cursor::key(cursor, &columns(kinds)).is_err();
    let pair = cursor::after(&Key::json(br#"[1,"a"]"#));
    assert!(!rejected(&pair, &[JsonType::Integer, JsonType::String]));
    assert!(rejected(&pair, &[JsonType::Integer]));
    assert!(rejected(&pair, &[JsonType::Integer, JsonType::String, JsonType::String]));
    for cursor in ["", "!", "x", "AAAA", "MQ=="] {
        assert!(rejected(cursor, &[JsonType::Integer]), "{cursor}");
        assert!(rejected(cursor, &[JsonType::String]), "{cursor}");
    }
}
