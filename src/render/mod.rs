//! Rendering of PostgreSQL's text output as the JSON that PostgreSQL itself would produce.
//!
//! The reference is `to_jsonb(value)` in a session at UTC. A scalar is rendered byte for byte as
//! `to_jsonb(value)::text`, so a value has the same text wherever it was read. `json` values keep their order
//! of keys and spelling of numbers, and arrays have no white space between elements: these are equal as JSON
//! with numbers compared as decimals. A value that can't be rendered with certainty is rejected, never
//! guessed: the caller reads that row from the database instead.
//!
//! The text must come from a session with these settings, which change the output of types:
//! `client_encoding = UTF8`, `DateStyle = ISO`, `TimeZone = UTC`, `IntervalStyle = postgres`,
//! `extra_float_digits` at least 1, `bytea_output = hex`. Other settings are detected only where the text
//! reveals them.
//!
//! Source: PostgreSQL, `src/backend/utils/adt/jsonb.c` (`datum_to_jsonb`), `json.c`
//! (`JsonEncodeDateTime`, `escape_json`) and `arrayfuncs.c` (`array_out`).

mod array;
mod builtin;
mod datetime;
mod form;
mod json;
mod number;
mod string;

use crate::json_type::{JsonShape, JsonType};

#[cfg(test)]
mod tests;

/// The error for a value that can't be rendered with certainty: its row must be read from the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the value can't be rendered exactly as PostgreSQL would from the change stream; \
     read it from the database"
)]
pub struct Unrenderable;

impl JsonShape {
    /// Appends the JSON of a value, given its text output.
    ///
    /// # Errors
    /// When the text is not the type's output under the settings above, or the result might differ from that of
    /// `to_jsonb`; `out` is then unchanged.
    pub fn write_json(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
        let start = out.len();
        let written = match self {
            Self::Scalar(kind) => return kind.write_json(text, out),
            Self::Array { element, delimiter } => array::write_array(text, element, delimiter, out),
        };
        if written.is_err() {
            out.truncate(start);
        }
        written
    }
}

impl JsonType {
    /// Appends the JSON of a value, given its text output.
    ///
    /// # Errors
    /// As [`JsonShape::write_json`].
    pub fn write_json(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
        let start = out.len();
        let written = self.append(text, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn append(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
        match self {
            Self::Integer => number::write_integer(text, out),
            Self::Number => number::write_number(text, out),
            Self::Boolean => write_boolean(text, out),
            Self::Json => json::write_json(text, out),
            Self::Jsonb => json::write_jsonb(text, out),
            Self::Timestamp => datetime::write_timestamp(text, out),
            Self::Timestamptz => datetime::write_timestamptz(text, out),
            Self::Date => datetime::write_date(text, out),
            Self::String => string::write_text(text, out),
        }
    }
}

/// Parses the text output of a `smallint`, `integer` or `bigint`.
///
/// # Errors
/// When the text is not such a number.
pub fn integer(text: &[u8]) -> Result<i64, Unrenderable> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Unrenderable)
}

fn write_boolean(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unrenderable> {
    let word: &[u8] = match text {
        b"t" => b"true",
        b"f" => b"false",
        _ => return Err(Unrenderable),
    };
    out.extend_from_slice(word);
    Ok(())
}
