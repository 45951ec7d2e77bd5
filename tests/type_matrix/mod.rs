//! Every type: the JSON rendered from a value's text equals `to_jsonb` of the value.
//!
//! The values are the boundary values of `fixtures/type_matrix.sql`, and random ones.

mod random;
mod types;

use highwater::json_type::{JsonShape, JsonType};
use highwater::wire::{ConnectOptions, LibpqEnvironment, WalsenderConnection};

use crate::support::{TestPostgres, is_same_json};
use types::Types;

const TYPE_MATRIX: &str = include_str!("../fixtures/type_matrix.sql");

/// The table of the types that only the database can render.
const DATABASE_RENDERED: &str = "database_rendered";
/// The prefix of the columns whose values are all refused; no other value is.
const ODD: &str = "json_odd";

/// Built-in types whose values users can't create.
const INTERNAL_TYPES: &[&str] = &[
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

/// A session with the service's settings, which determine the text form of values.
async fn pinned_session(pg: &TestPostgres) -> WalsenderConnection {
    let target = ConnectOptions::parse(&pg.url(), &LibpqEnvironment::default()).unwrap();
    WalsenderConnection::connect_sql(&target).await.unwrap()
}

struct MatrixColumn {
    table: String,
    name: String,
    form: Option<JsonShape>,
}

/// The columns of the matrix's tables except their keys.
async fn columns(connection: &mut WalsenderConnection) -> Vec<MatrixColumn> {
    let types = Types::read(connection).await;
    let rows = connection
        .simple_query(
            "SELECT relname, attname, atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
             WHERE relnamespace = 'type_matrix'::regnamespace AND relkind = 'r' AND attnum > 0 AND attname <> 'id'
             ORDER BY relname, attnum",
        )
        .await
        .unwrap();
    let column = |row: Vec<Option<String>>| {
        let [table, name, oid] = row.try_into().unwrap();
        let form = types.form(oid.unwrap().parse().unwrap());
        MatrixColumn { table: table.unwrap(), name: name.unwrap(), form }
    };
    rows.into_iter().map(column).collect()
}

/// The difference between the rendered JSON and the database's, which is `None` if it can't render the value.
fn difference(form: JsonShape, text: &str, expected: Option<&str>) -> Option<String> {
    let mut json = Vec::new();
    let rendered = form.write_json(text.as_bytes(), &mut json).is_ok();
    let json = String::from_utf8(json).unwrap();
    let same = match (rendered, expected) {
        (true, Some(expected)) if is_left_as_stored(form) => is_same_json(&json, expected),
        (true, Some(expected)) => json == expected,
        (true, None) => false,
        (false, _) => json.is_empty(),
    };
    let shown = |text: &str| text.chars().take(300).collect::<String>();
    (!same).then(|| {
        let expected = expected.unwrap_or("an error");
        format!(
            "{form:?} {}\n  rendered {}\n  expected {}",
            shown(text),
            shown(&json),
            shown(expected)
        )
    })
}

/// Whether the JSON keeps the stored white space, order of keys and spelling of numbers.
fn is_left_as_stored(form: JsonShape) -> bool {
    matches!(form, JsonShape::Array { .. } | JsonShape::Scalar(JsonType::Json))
}

fn is_refused(form: JsonShape, text: &str) -> bool {
    form.write_json(text.as_bytes(), &mut Vec::new()).is_err()
}

#[tokio::test]
async fn every_value_of_the_matrix_is_rendered_as_by_to_jsonb() {
    let pg = TestPostgres::start().await;
    pg.execute(TYPE_MATRIX).await;
    let mut connection = pinned_session(&pg).await;
    let (mut values, mut wrong) = (0, Vec::new());
    for MatrixColumn { table, name, form } in columns(&mut connection).await {
        let Some(form) = form else { continue };
        let sql = format!(
            r#"SELECT "{name}", to_jsonb("{name}") FROM type_matrix.{table} WHERE "{name}" IS NOT NULL"#
        );
        for row in connection.simple_query(&sql).await.unwrap() {
            let (text, json) = (row[0].as_deref().unwrap(), row[1].as_deref());
            let problem = difference(form, text, json);
            wrong.extend(problem.map(|problem| format!("{table}.{name}: {problem}")));
            let has_value = !matches!(text, "{}" | "{NULL}");
            if is_refused(form, text) != (name.starts_with(ODD) && has_value) {
                wrong.push(format!("{table}.{name}: refused or rendered unexpectedly: {text}"));
            }
            values += 1;
        }
    }
    assert!(wrong.is_empty(), "{}\n{} of {values} values", wrong.join("\n"), wrong.len());
    assert!(values > 700, "only {values} values");
}

#[tokio::test]
async fn every_type_is_covered_and_only_the_expected_ones_are_left_to_the_database() {
    let pg = TestPostgres::start().await;
    pg.execute(TYPE_MATRIX).await;
    let mut connection = pinned_session(&pg).await;
    for MatrixColumn { table, name, form } in columns(&mut connection).await {
        assert_eq!(
            form.is_none(),
            table == DATABASE_RENDERED,
            "{table}.{name} has the form {form:?}"
        );
    }
    let absent = connection
        .simple_query(
            "SELECT typname FROM pg_type t
             WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e')
               AND (typcategory <> 'A' OR typname IN ('int2vector', 'oidvector'))
               AND NOT EXISTS (
                 SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
                 WHERE relnamespace = 'type_matrix'::regnamespace AND relkind = 'r' AND atttypid = t.oid)
             ORDER BY typname",
        )
        .await
        .unwrap();
    let absent: Vec<_> = absent.into_iter().map(|mut row| row.remove(0).unwrap()).collect();
    assert_eq!(absent, INTERNAL_TYPES);
}
