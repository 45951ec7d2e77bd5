//! Random values of every family of types.

use proptest::prelude::*;
use proptest::strategy::{BoxedStrategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::{Types, difference, is_refused, pinned_session};
use crate::support::TestPostgres;

/// Values per type.
const VALUES: usize = 200;

/// Types with values that `to_jsonb` rejects, or that the rendering refuses as not certain.
const ODD: [&str; 2] = ["json", "json[]"];

/// A type, and a strategy for literals of its values.
type Family = (&'static str, BoxedStrategy<String>);

#[tokio::test]
async fn random_values_are_rendered_as_by_to_jsonb() {
    let pg = TestPostgres::start().await;
    let mut connection = pinned_session(&pg).await;
    let types = Types::read(&mut connection).await;
    connection
        .simple_query(
            "CREATE FUNCTION pg_temp.rendered(value anyelement) RETURNS text LANGUAGE plpgsql AS $$
             BEGIN RETURN to_jsonb(value); EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$",
        )
        .await
        .unwrap();
    let mut runner = TestRunner::default();
    for (type_name, literals) in families() {
        let literal = |_| literals.new_tree(&mut runner).unwrap().current();
        let sql = values_query(type_name, (0..VALUES).map(literal));
        let rows = connection.simple_query(&sql).await.unwrap_or_else(|e| panic!("{e}: {sql}"));
        let mut refused = 0;
        for row in rows {
            let form = types.form(row[2].as_deref().unwrap().parse().unwrap()).unwrap();
            let (text, json) = (row[0].as_deref().unwrap(), row[1].as_deref());
            assert_eq!(difference(form, text, json), None);
            refused += usize::from(is_refused(form, text));
        }
        let tolerated = if ODD.contains(&type_name) { VALUES * 3 / 4 } else { 0 };
        assert!(refused <= tolerated, "{refused} values of {type_name} are refused");
    }
}

/// The query for the text, the JSON and the type's OID of values.
fn values_query(type_name: &str, literals: impl Iterator<Item = String>) -> String {
    let quoted = literals.map(|text| format!("('{}'::{type_name})", text.replace('\'', "''")));
    let values: Vec<_> = quoted.collect();
    format!(
        "SELECT v, pg_temp.rendered(v), '{type_name}'::regtype::oid FROM (VALUES {}) AS random (v)",
        values.join(",")
    )
}

fn families() -> Vec<Family> {
    vec![
        ("bigint", integer()),
        ("real", any::<f32>().prop_map(|float| float.to_string()).boxed()),
        ("float8", float()),
        ("numeric", regex("-?[0-9]{1,40}(\\.[0-9]{1,40})?(e-?[0-9]{1,2})?")),
        ("text", any_text()),
        ("text", escaped_text()),
        ("varchar", escaped_text()),
        ("bytea", regex("\\\\x([0-9a-f]{2}){0,20}")),
        ("varbit", regex("[01]{0,80}")),
        ("uuid", regex("[0-9a-f]{32}")),
        ("date", date(5_874_897)),
        ("timestamp", timestamp()),
        ("timestamptz", timestamp()),
        ("timetz", (time(), -15..=15).prop_map(|(time, zone)| format!("{time}{zone:+03}")).boxed()),
        ("interval", regex("-?[0-9]{1,3} mons -?[0-9]{1,5} days -?[0-9]{1,9}\\.[0-9]{1,6} secs")),
        ("inet", regex("1?[0-9]{1,2}\\.1?[0-9]{1,2}\\.[0-9]\\.0/([0-9]|[12][0-9])")),
        ("point", point()),
        ("int8range", range(integer())),
        ("tstzrange", range(timestamp())),
        ("jsonb", json("[a-zé🦀 \\{\\},\\[\\]]{0,5}")),
        ("json", any_json()),
        ("bigint[]", array(integer(), ',')),
        ("boolean[]", array(regex("[tf]"), ',')),
        ("float8[]", array(float(), ',')),
        ("text[]", array(escaped_text(), ',')),
        ("date[]", array(date(9_999), ',')),
        ("timestamptz[]", array(timestamp(), ',')),
        ("box[]", array((point(), point()).prop_map(|(a, b)| format!("{a},{b}")).boxed(), ';')),
        ("int8range[]", array(range(integer()), ',')),
        ("jsonb[]", array(json("[a-z \\{\\},]{0,5}"), ',')),
        ("json[]", array(json("[a-z \\{\\},]{0,5}"), ',')),
    ]
}

fn regex(pattern: &str) -> BoxedStrategy<String> {
    prop::string::string_regex(pattern).unwrap().boxed()
}

fn integer() -> BoxedStrategy<String> {
    any::<i64>().prop_map(|number| number.min(i64::MAX - 1).to_string()).boxed()
}

fn float() -> BoxedStrategy<String> {
    any::<f64>().prop_map(|float| float.to_string()).boxed()
}

/// Any text without U+0000, which PostgreSQL can't store.
fn any_text() -> BoxedStrategy<String> {
    any::<String>().prop_map(|text| text.replace('\0', "")).boxed()
}

/// Text that JSON or arrays escape or quote.
fn escaped_text() -> BoxedStrategy<String> {
    regex("[\\{\\}\",;=:\\[\\]\\\\ 'aé🦀\u{1}\u{1f}\u{7f}\u{2028}\n\t]{0,8}|[nN][uU][lL][lL]")
}

fn date(year_max: i32) -> BoxedStrategy<String> {
    let after = (1..=year_max, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y:04}-{m}-{d}"));
    let before = (1..=4712, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y:04}-{m}-{d} BC"));
    prop_oneof![8 => after, 3 => before, 1 => regex("-?infinity")].boxed()
}

fn time() -> BoxedStrategy<String> {
    regex("([01][0-9]|2[0-3])(:[0-5][0-9]){2}(\\.[0-9]{1,6})?")
}

fn timestamp() -> BoxedStrategy<String> {
    let day = prop_oneof![date(9_999), date(294_275)];
    let combine = |(day, time): (String, String)| match day.strip_suffix(" BC") {
        _ if day.ends_with("infinity") => day,
        Some(day) => format!("{day} {time} BC"),
        None => format!("{day} {time}"),
    };
    (day, time()).prop_map(combine).boxed()
}

fn point() -> BoxedStrategy<String> {
    (float(), float()).prop_map(|(x, y)| format!("({x},{y})")).boxed()
}

/// Ranges with equal bounds, which are always in order.
fn range(bound: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let around = |(bound, form): (String, u8)| match form {
        0 => "empty".into(),
        1 => format!("[{bound},)"),
        2 => format!("(,{bound})"),
        _ => format!("[{bound},{bound}]"),
    };
    (bound, 0_u8..4).prop_map(around).boxed()
}

/// JSON with escape sequences in strings.
fn any_json() -> BoxedStrategy<String> {
    let escape = "\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-f]{4}|\\\\ud83e\\\\udd80";
    json(&format!("([a-cé🦀 ]|{escape}){{0,3}}"))
}

/// JSON with white space; `string` is the pattern between quotes.
fn json(string: &str) -> BoxedStrategy<String> {
    let string = regex(&format!("\"({string})\""));
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![string.clone(), regex(number), regex("null|true|false")];
    let spaced = |inner: BoxedStrategy<String>| {
        let space = || regex("[ \n\r\t]{0,2}");
        (space(), inner, space()).prop_map(|(before, inner, after)| before + &inner + &after)
    };
    let nested = leaf.prop_recursive(3, 16, 4, move |inner| {
        let value = spaced(inner.boxed());
        let member = (spaced(string.clone()), value.clone())
            .prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            prop::collection::vec(value, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..4)
                .prop_map(|items| format!("{{{}}}", items.join(","))),
        ]
    });
    spaced(nested.boxed()).boxed()
}

/// Arrays of up to three dimensions, with any lower bounds and some NULLs.
fn array(element: BoxedStrategy<String>, delimiter: char) -> BoxedStrategy<String> {
    let element = prop::option::weighted(0.9, element);
    let dimension = (-3..=3_i32, 1..=3_usize);
    let filled = move |dimensions: Vec<(i32, usize)>| {
        let count = dimensions.iter().map(|&(_, length)| length).product::<usize>();
        (Just(dimensions), prop::collection::vec(element.clone(), count))
    };
    prop::collection::vec(dimension, 0..=3)
        .prop_flat_map(filled)
        .prop_map(move |(dimensions, elements)| array_text(&dimensions, delimiter, &elements))
        .boxed()
}

/// The text of an array whose dimensions are given as lower bound and length.
fn array_text(dimensions: &[(i32, usize)], delimiter: char, elements: &[Option<String>]) -> String {
    if dimensions.is_empty() {
        return "{}".into();
    }
    let bounds = dimensions.iter().map(|&(lower, length)| {
        format!("[{lower}:{}]", lower + i32::try_from(length).unwrap() - 1)
    });
    let lengths: Vec<usize> = dimensions.iter().map(|&(_, length)| length).collect();
    let text = braces(&lengths, delimiter, &mut elements.iter());
    format!("{}={text}", bounds.collect::<String>())
}

fn braces<'a>(
    lengths: &[usize],
    delimiter: char,
    elements: &mut impl Iterator<Item = &'a Option<String>>,
) -> String {
    let Some((&length, inner)) = lengths.split_first() else {
        return match elements.next().unwrap() {
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            None => "NULL".into(),
        };
    };
    let items: Vec<_> = (0..length).map(|_| braces(inner, delimiter, elements)).collect();
    format!("{{{}}}", items.join(&delimiter.to_string()))
}
