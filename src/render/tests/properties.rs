//! Properties of every rendered value.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[^\0]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        // Keys with escapes are rejected.
        let key = "[a-zé \\]}{:,]{0,4}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_result_is_json(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        // The output of jsonb is not validated.
        for kind in ALL_TYPES.into_iter().filter(|&kind| kind != JsonType::Jsonb) {
            if let Some(json) = render(kind, &bytes) {
                parsed(&json);
            }
        }
    }

    #[test]
    fn the_result_for_plausible_text_is_json(text in r#"[-+0-9eE.:T nulINaf\[\]{},"\\]{0,12}( BC|\+00)?"#) {
        for kind in ALL_TYPES.into_iter().filter(|&kind| kind != JsonType::Jsonb) {
            if let Some(json) = render(kind, text.as_bytes()) {
                parsed(&json);
            }
        }
    }

    #[test]
    fn the_result_for_plausible_arrays_is_json(text in r#"(\[-?[0-9]:[0-9]\]){0,2}=?[{},;"\\ 1tNULnul]{0,14}"#) {
        for element in ALL_TYPES.into_iter().filter(|&kind| kind != JsonType::Jsonb) {
            for delimiter in [b',', b';'] {
                if let Some(json) = render_form(JsonShape::Array { element, delimiter }, text.as_bytes()) {
                    prop_assert!(parsed(&json).is_array());
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_as_arrays_are_rendered_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        let form = JsonShape::Array { element: JsonType::String, delimiter: b',' };
        let in_braces = [b"{".as_slice(), &bytes, b"}"].concat();
        for text in [bytes, in_braces] {
            if let Some(json) = render_form(form, &text) {
                prop_assert!(parsed(&json).is_array());
            }
        }
    }

    #[test]
    fn texts_in_an_array_round_trip(texts in prop::collection::vec(any::<String>(), 1..5)) {
        let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let array = format!("{{{}}}", texts.iter().map(quoted).collect::<Vec<_>>().join(","));
        let form = JsonShape::Array { element: JsonType::String, delimiter: b',' };
        prop_assert_eq!(parsed(&render_form(form, array.as_bytes()).unwrap()), Value::from(texts));
    }

    #[test]
    fn a_string_round_trips(text in any::<String>()) {
        prop_assert_eq!(parsed(&render(JsonType::String, text.as_bytes()).unwrap()), Value::from(text));
    }

    #[test]
    fn control_characters_round_trip(text in "[\u{0}-\u{1f}\"\\\\a]{0,12}") {
        prop_assert_eq!(parsed(&render(JsonType::String, text.as_bytes()).unwrap()), Value::from(text));
    }

    #[test]
    fn a_float_is_written_in_full(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
        let written = render(JsonType::Number, format!("{number:e}").as_bytes()).unwrap();
        prop_assert!(!written.contains('e'));
        // -0 and 0 are equal.
        prop_assert_eq!((written.parse::<f64>().unwrap() + 0.0).to_bits(), (number + 0.0).to_bits());
    }

    #[test]
    fn json_is_the_same_without_white_space(value in any_json()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let compact = serde_json::to_string(&value).unwrap();
        if !compact.contains("\\u0000") {
            prop_assert_eq!(render(JsonType::Json, pretty.as_bytes()), Some(compact));
        }
    }
}
