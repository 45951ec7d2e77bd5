//! Values as PostgreSQL prints them, and what its `to_jsonb` made of them:
//! `tests/fixtures/render/values.tsv`, recorded by `values.sql` there.

use serde_json::Value;

use super::*;

const VALUES: &str = include_str!("../../../tests/fixtures/render/values.tsv");

/// Rendered by PostgreSQL only.
const LEFT_TO_THE_DATABASE: [&str; 4] = ["pair", "regclass", "int2vector", "oidvector"];
/// How many `json` values at the end of `values.sql` can't be told with certainty.
const JSON_VALUES_REFUSED: usize = 10;

struct Recorded {
    type_name: &'static str,
    kind: Option<Kind>,
    text: String,
    json: &'static str,
}

fn recorded() -> Vec<Recorded> {
    let parse = |line: &'static str| {
        let fields: Vec<_> = line.split('\t').collect();
        let [type_name, oid, typtype, text, json] = fields[..] else { panic!("{line}") };
        let class = TypeClass::from_typtype(typtype.parse().unwrap()).unwrap();
        let kind = Kind::of(oid.parse().unwrap(), class);
        Recorded { type_name, kind, text: serde_json::from_str(text).unwrap(), json }
    };
    VALUES.lines().map(parse).collect()
}

#[test]
fn every_value_is_rendered_as_to_jsonb_does() {
    let mut refused = 0;
    for Recorded { type_name, kind, text, json } in recorded() {
        let Some(kind) = kind else {
            assert!(LEFT_TO_THE_DATABASE.contains(&type_name), "{type_name}");
            continue;
        };
        let rendered = render(kind, text.as_bytes());
        if kind != Kind::Json {
            assert_eq!(rendered.as_deref(), Some(json), "{type_name} {text:?}");
        } else if let Some(rendered) = rendered {
            assert_ne!(json, "error", "{text}");
            assert_eq!(decimals(&rendered), decimals(json), "{text}");
        } else {
            refused += 1;
        }
    }
    assert_eq!(refused, JSON_VALUES_REFUSED);
}

#[test]
fn every_kind_is_among_the_recorded_values() {
    for kind in ALL_KINDS {
        let count = recorded().iter().filter(|recorded| recorded.kind == Some(kind)).count();
        assert!(count >= 2, "{kind:?}");
    }
}

/// JSON with its numbers as decimals: digits without zeros at either end, and an exponent.
fn decimals(json: &str) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Number(number) => *value = decimal(number.as_str()).into(),
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(members) => members.values_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(json).unwrap();
    walk(&mut value);
    value
}

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
        "" => "number 0".into(),
        digits if mantissa.starts_with('-') => format!("number -{digits}e{exponent}"),
        digits => format!("number {digits}e{exponent}"),
    }
}
