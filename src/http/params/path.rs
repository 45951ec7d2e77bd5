//! The variable segments of paths: `/v1/tables/{table}/rows/{id}`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use utoipa::IntoParams;

use crate::http::response::problem::Problem;

/// The path of `/v1/tables/{table}/…`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the segments that `table` reads")]
pub(crate) struct TablePath {
    /// The table's name, percent-encoded
    #[param(example = "items")]
    table: String,
}

/// The path of `/v1/tables/{table}/rows/{id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the segments that `table` and `row_id` read")]
pub(crate) struct RowPath {
    /// The table's name, percent-encoded
    #[param(example = "items")]
    table: String,
    /// The text of the row's id, percent-encoded; several key columns are joined with `,` (a `,` inside a value is `%2C`)
    #[param(example = "7")]
    id: String,
}

/// The table's name.
pub(crate) fn table(path: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(segment(path, 3)).decode_utf8().map_err(|_| {
        Problem::invalid("the table's name in the path is not UTF-8 once percent-decoded")
    })
}

/// The row's id, still encoded: it is split into values before they are decoded.
pub(crate) fn row_id(path: &str) -> &str {
    segment(path, 5)
}

fn segment(path: &str, place: usize) -> &str {
    path.split('/').nth(place).unwrap_or_default()
}
