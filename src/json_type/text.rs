//! Conversion of values in requests and configuration into the JSON of the change stream.
//!
//! The result is equal byte for byte if the text is PostgreSQL's own output. Another spelling of a value
//! (`2.50` for `2.5`, a UUID in capitals) stays another text.

use serde_json::value::RawValue;

use super::{JsonShape, JsonType};
use crate::json_text::write_string;

/// The description of an integer in error messages.
pub const AN_INTEGER: &str = "an integer";

/// Appends the JSON of `text` as a value of a column with this representation. The error names what is
/// expected instead.
pub fn write_text(
    form: Option<JsonShape>,
    text: &str,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    match form {
        Some(JsonShape::Scalar(JsonType::Integer)) => {
            let value: i64 = text.parse().map_err(|_| AN_INTEGER)?;
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(digits.format(value).as_bytes());
        }
        Some(JsonShape::Scalar(JsonType::Boolean)) => out.extend_from_slice(boolean(text)?),
        Some(JsonShape::Scalar(JsonType::Number)) => write_number(text, out)?,
        Some(JsonShape::Scalar(JsonType::Json | JsonType::Jsonb) | JsonShape::Array { .. }) => {
            let json: &RawValue = serde_json::from_str(text).map_err(|_| "JSON")?;
            out.extend_from_slice(json.get().as_bytes());
        }
        Some(JsonShape::Scalar(
            JsonType::Timestamp | JsonType::Timestamptz | JsonType::Date | JsonType::String,
        ))
        | None => write_string(text, out),
    }
    Ok(())
}

fn boolean(text: &str) -> Result<&'static [u8], &'static str> {
    match text {
        "true" | "t" => Ok(b"true"),
        "false" | "f" => Ok(b"false"),
        _ => Err("true or false"),
    }
}

fn write_number(text: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        write_string(text, out);
        return Ok(());
    }
    text.parse::<serde_json::Number>().map_err(|_| "a number")?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}
