//! The cursor of a page: its last row's key in base64url, so that clients treat it as opaque.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use crate::http::response::problem::Problem;
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::table::Column;

/// The cursor of the page that follows this key.
pub(super) fn after(key: &Key) -> String {
    let mut json = Vec::new();
    key.write_json(&mut json);
    URL_SAFE_NO_PAD.encode(json)
}

/// The key after which a cursor's page begins.
pub(super) fn key(cursor: &str, columns: &[Column]) -> Result<Key, Problem> {
    let json = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| not_a_cursor())?;
    if let [column] = columns
        && column.form == Some(JsonShape::Scalar(JsonType::Integer))
    {
        return serde_json::from_slice(&json).map(Key::integer).map_err(|_| not_a_cursor());
    }
    let values = match columns {
        [_] => serde_json::from_slice::<&RawValue>(&json).map(|_| 1),
        _ => serde_json::from_slice::<Vec<&RawValue>>(&json).map(|values| values.len()),
    };
    match values {
        Ok(values) if values == columns.len() => Ok(Key::json(&json)),
        _ => Err(not_a_cursor()),
    }
}

fn not_a_cursor() -> Problem {
    Problem::invalid(
        "`cursor` does not belong to this table: send back the `next` of the previous page unchanged",
    )
}
