//! What a path names: `/v1/tables/{table}/rows/{id}`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::http::response::problem::Problem;

/// The table's name.
pub(crate) fn table(path: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(segment(path, 3)).decode_utf8().map_err(|_| {
        Problem::invalid("the table's name in the path is not UTF-8 once percent-decoded")
    })
}

/// The row's id, still encoded: what separates its values must be seen first.
pub(crate) fn row_id(path: &str) -> &str {
    segment(path, 5)
}

fn segment(path: &str, place: usize) -> &str {
    path.split('/').nth(place).unwrap_or_default()
}
