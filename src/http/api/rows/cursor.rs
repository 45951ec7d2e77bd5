//! Where a page ended: the last row's key, made unreadable so that nobody counts on its form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use crate::http::response::problem::Problem;
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::table::Column;

/// The cursor behind this key.
pub(super) fn behind(key: &Key) -> String {
    let mut json = Vec::new();
    key.write_json(&mut json);
    URL_SAFE_NO_PAD.encode(json)
}

/// The key that a cursor is behind.
pub(super) fn key(cursor: &str, columns: &[Column]) -> Result<Key, Problem> {
    let json = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
    if let [column] = columns
        && column.form == Some(JsonShape::Scalar(JsonType::Integer))
    {
        return serde_json::from_slice(&json).map(Key::integer).map_err(|_| refused());
    }
    let values = match columns {
        [_] => serde_json::from_slice::<&RawValue>(&json).map(|_| 1),
        _ => serde_json::from_slice::<Vec<&RawValue>>(&json).map(|values| values.len()),
    };
    match values {
        Ok(values) if values == columns.len() => Ok(Key::json(&json)),
        _ => Err(refused()),
    }
}

fn refused() -> Problem {
    Problem::invalid(
        "`cursor` is not one of this table's: send back the `next` of the page before, unchanged",
    )
}
