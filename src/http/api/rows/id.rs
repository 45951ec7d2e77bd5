//! Ids as text, in a path and in a list.
//!
//! An id is the text of its value, or of one value for each column of the key, in key order with `,`
//! between. A `,` inside a value is percent-encoded, so the text is split first and decoded after. A
//! list is such ids with `,` between them: for a key of n columns it is read n values at a time.
//!
//! A text in PostgreSQL's own notation becomes, byte for byte, the key that the change stream has for
//! the same value. Other spellings (`2.50` for `2.5`, a UUID in capitals) find their row through the
//! database.

use percent_encoding::percent_decode_str;

use crate::http::response::problem::{Problem, shown};
use crate::json_type::{self, JsonShape, JsonType};
use crate::key::Key;
use crate::table::Column;

/// The maximum number of ids in one request; more are rejected (400).
const IDS_MAX: usize = 1_000;

/// Reads one id.
pub(super) fn key(text: &str, columns: &[Column]) -> Result<Key, Problem> {
    let values: Vec<&str> = text.split(',').collect();
    if values.len() == columns.len() {
        return key_of(&values, columns);
    }
    Err(Problem::invalid(format!(
        "the id \"{}\" has {} where the key has {}: {}; {ENCODED}",
        shown(text),
        pluralized(values.len()),
        columns.len(),
        names(columns),
    )))
}

/// Reads a list of ids.
pub(super) fn keys(list: &str, columns: &[Column]) -> Result<Vec<Key>, Problem> {
    let values: Vec<&str> = list.split(',').collect();
    let each = columns.len().max(1);
    if !values.len().is_multiple_of(each) {
        return Err(Problem::invalid(format!(
            "`ids` has {}, not a multiple of {each}: each id has {each} values, {}; {ENCODED}",
            pluralized(values.len()),
            names(columns),
        )));
    }
    if values.len() / each > IDS_MAX {
        return Err(Problem::invalid(format!(
            "`ids` has {} ids, at most {IDS_MAX} are allowed: send several requests",
            values.len() / each
        )));
    }
    values.chunks(each).map(|values| key_of(values, columns)).collect()
}

const ENCODED: &str = "write a `,` inside a value as %2C";

fn pluralized(values: usize) -> String {
    if values == 1 { "1 value".into() } else { format!("{values} values") }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The key with these percent-encoded values, one for each column.
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
