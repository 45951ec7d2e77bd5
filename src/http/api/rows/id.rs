//! Ids as text: in a path, and in a list of them.
//!
//! An id is the text of its value; of several, one for each column of the key, in key order and
//! with `,` between. What is part of a value is percent-encoded, a `,` above all: so the text is
//! split first and decoded after. A list is such ids with `,` between again: for a key of n columns
//! it is read n values at a time.
//!
//! The texts become what the change stream makes of the same values, byte for byte where the text
//! is PostgreSQL's own. Other spellings of a value (`2.50` for `2.5`, a UUID in capitals) find
//! their row where the database is asked.

use percent_encoding::percent_decode_str;

use crate::http::response::problem::{Problem, shown};
use crate::json_type::{self, JsonShape, JsonType};
use crate::key::Key;
use crate::table::Column;

/// Ids in one request at most; more are refused (400): ask in several requests.
const IDS_MAX: usize = 1_000;

/// The key that `text` names.
pub(super) fn key(text: &str, columns: &[Column]) -> Result<Key, Problem> {
    let values: Vec<&str> = text.split(',').collect();
    if values.len() == columns.len() {
        return key_of(&values, columns);
    }
    Err(Problem::invalid(format!(
        "the id \"{}\" has {} where the key has {}: {}; {ENCODED}",
        shown(text),
        counted(values.len()),
        columns.len(),
        names(columns),
    )))
}

/// The keys that a list names.
pub(super) fn keys(list: &str, columns: &[Column]) -> Result<Vec<Key>, Problem> {
    let values: Vec<&str> = list.split(',').collect();
    let each = columns.len().max(1);
    if !values.len().is_multiple_of(each) {
        return Err(Problem::invalid(format!(
            "`ids` has {}, which are no whole ids: each has {each} values, {}; {ENCODED}",
            counted(values.len()),
            names(columns),
        )));
    }
    if values.len() / each > IDS_MAX {
        return Err(Problem::invalid(format!(
            "`ids` has {} ids, at most {IDS_MAX} are answered at once: ask in several requests",
            values.len() / each
        )));
    }
    values.chunks(each).map(|values| key_of(values, columns)).collect()
}

const ENCODED: &str = "a `,` inside a value is written %2C";

fn counted(values: usize) -> String {
    if values == 1 { "1 value".into() } else { format!("{values} values") }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The key with these values, still encoded, as many as there are columns.
fn key_of(values: &[&str], columns: &[Column]) -> Result<Key, Problem> {
    let mut decoded = values.iter().map(|value| decode(value)).zip(columns);
    if let [_] = columns
        && let Some((value, column)) = decoded.next()
    {
        return single_key(&value?, column);
    }
    let mut json = vec![b'['];
    for (place, (value, column)) in decoded.enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write_value(&value?, column, &mut json)?;
    }
    json.push(b']');
    Ok(Key::json(&json))
}

fn single_key(value: &str, column: &Column) -> Result<Key, Problem> {
    if column.form == Some(JsonShape::Scalar(JsonType::Integer)) {
        return integer(value, column).map(Key::integer);
    }
    let mut json = Vec::with_capacity(value.len() + 2);
    write_value(value, column, &mut json)?;
    Ok(Key::json(&json))
}

fn decode(value: &str) -> Result<std::borrow::Cow<'_, str>, Problem> {
    percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| Problem::invalid("the id is not UTF-8 once percent-decoded"))
}

/// Appends a value as JSON.
fn write_value(value: &str, column: &Column, out: &mut Vec<u8>) -> Result<(), Problem> {
    json_type::write_text(column.form, value, out).map_err(|form| not_a(value, column, form))
}

fn integer(value: &str, column: &Column) -> Result<i64, Problem> {
    value.parse().map_err(|_| not_a(value, column, json_type::AN_INTEGER))
}

fn not_a(value: &str, column: &Column, what: &str) -> Problem {
    Problem::invalid(format!(
        "\"{}\" is not {what}, which the key column {} is",
        shown(value),
        column.name
    ))
}
