//! Values: a row's document equals `to_jsonb` of the row.

use highwater::load::LoadError;
use serde_json::Value;

use super::{copied, described, described_with, load, loader};
use crate::support::TestPostgres;

/// One column per family of types, and boundary values.
const TABLE: &str = r#"
    CREATE TYPE mood AS ENUM ('so "so"', 'fine'); CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN email AS text; CREATE DOMAIN email2 AS email;
    CREATE TABLE v (
        id int PRIMARY KEY, big bigint, f4 real, f8 double precision, n numeric, b boolean,
        t text, c char(5), vc varchar(9), nm name, ch "char", by bytea, u uuid, d date, tm time,
        ttz timetz, ts timestamp, tstz timestamptz, i interval, j json, jb jsonb, m mood, dm email2,
        ip inet, bits bit(3), mo money, r int4range, o oid, p point, tsv tsvector, arr int[], co pair,
        odd_arr text[], dom_arr email[], reg regclass, dropped int);
    ALTER TABLE v DROP COLUMN dropped;
    INSERT INTO v (id) VALUES (1);
    INSERT INTO v VALUES (2, 9223372036854775807, 1e-30, 1e300, 12345678901234567890.1234500, true,
        E'a\tb\nc\\d\b\f\r\v"é𝄞', 'ab', '', 'n', 'x', '\x00ff5c', gen_random_uuid(), '0044-03-15 BC', '24:00',
        '12:00+02', '2024-01-31 12:00:00.5', 'infinity', '1 mon -2 days 03:04:05.6', ' {"a" : [1, 2.50 ]}',
        '{"b": [1, 2.50, null]}', 'so "so"', 'x@y', '10.0.0.1/8', '101', '12.5', '[1,5)', 42, '(1,2.5)',
        'a:1 b:2A', '{1,NULL,3}', '(1,"x y")', '[0:1]={"NULL",NULL}', '{a@b}', 'pg_class');
    INSERT INTO v (id, f4, f8, n, b, t) VALUES (3, 'NaN', '-Infinity', 'NaN', false, '\N'), (4, '-0', 1e15, 1e-20, NULL, '\.');
    INSERT INTO v (id, j) VALUES (5, '{"a":1,"a":2}'), (6, '{"\u0061":1}'), (7, 'null');
"#;

/// Equal as JSON, with numbers compared as decimals.
fn decimals(json: &str) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::Number(number)
                if number.as_str().contains('.') && !number.as_str().contains('e') =>
            {
                let text = number.as_str().trim_end_matches('0').trim_end_matches('.').to_owned();
                *value = serde_json::from_str(&text).unwrap();
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(members) => members.values_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    walk(&mut value);
    value
}

#[tokio::test]
async fn every_loaded_or_copied_value_equals_to_jsonb() {
    let pg = TestPostgres::start().await;
    pg.execute(TABLE).await;
    pg.execute("SET TimeZone = 'UTC'").await;
    let (loader, v) = (loader(&pg), described(&pg, "v").await);
    let found = load(&loader, &v, &["1", "2", "3", "4", "5", "6", "7"]).await;
    let copied = copied(&loader, &v).await.rows;
    let expected = pg.query("SELECT to_jsonb(v)::text FROM v ORDER BY id").await;
    assert_eq!((found.len(), copied.len(), expected.len()), (7, 7, 7));
    for ((found, copied), expected) in found.iter().zip(&copied).zip(&expected) {
        let expected = decimals(expected.get(0));
        assert_eq!(decimals(&found.1), expected);
        assert_eq!(decimals(&copied.1), expected);
        assert_eq!(found.0, copied.0);
    }
}

#[tokio::test]
async fn members_are_in_column_order_and_limited_to_the_configured_ones() {
    let pg = TestPostgres::start().await;
    pg.execute(r#"CREATE TABLE a ("z ""z" int, id int PRIMARY KEY, c text); INSERT INTO a VALUES (1, 2, 'x')"#)
        .await;
    let loader = loader(&pg);
    let all = described(&pg, "a").await;
    assert_eq!(load(&loader, &all, &["2"]).await[0].1, r#"{"z \"z":1,"id":2,"c":"x"}"#);
    let without_key = described_with(&pg, "a", |plan| {
        plan.columns.retain(|column| column.name != "id");
    })
    .await;
    let expected = ("2".to_owned(), r#"{"z \"z":1,"c":"x"}"#.to_owned());
    assert_eq!(load(&loader, &without_key, &["2"]).await[0], expected);
    assert_eq!(copied(&loader, &without_key).await.rows, [expected]);
}

#[tokio::test]
async fn an_unencodable_row_is_named_and_the_others_are_loaded() {
    let pg = TestPostgres::start().await;
    pg.execute(
        r#"CREATE TABLE a (id int PRIMARY KEY, j json);
           INSERT INTO a SELECT g, '1' FROM generate_series(1, 700) g;
           UPDATE a SET j = '"\u0000"' WHERE id IN (7, 8, 600);
           UPDATE a SET j = '{"k":1,"k":2}' WHERE id = 9"#,
    )
    .await;
    let (loader, a) = (loader(&pg), described(&pg, "a").await);
    let names = |text: &str, id: u32| text.starts_with(&format!("the row {id} of table a can't"));
    let ids: Vec<String> = (1..=701).map(|id| id.to_string()).collect();
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    // An invalid key among valid ones is absent.
    ids.push("true");
    let rows = load(&loader, &a, &ids).await;
    for (id, (_, row)) in (1..).zip(&rows) {
        match id {
            7 | 8 | 600 => assert!(names(row, id), "{row}"),
            9 => assert_eq!(row, r#"{"id":9,"j":{"k": 2}}"#),
            701.. => assert_eq!(row, "absent"),
            _ => assert_eq!(*row, format!(r#"{{"id":{id},"j":1}}"#)),
        }
    }
    let alone = &load(&loader, &a, &["7"]).await[0].1;
    assert!(names(alone, 7) && alone.contains("Unicode"), "{alone}");
    pg.execute("DELETE FROM a WHERE id IN (7, 8)").await;
    let mut received = super::Received::default();
    let refused = highwater::load::Loader::copy(&loader, &a, &mut received).await.unwrap_err();
    assert!(matches!(&refused, LoadError::Refused(text) if names(text, 600)), "{refused}");
}
