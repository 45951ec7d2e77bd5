//! The body of a response with changes, as JSON bytes.
//!
//! Written without serde: keys, rows and table names are JSON already, so nothing is parsed, copied
//! twice or escaped again.

use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use utoipa::ToSchema;

use crate::http::api::schemas::{RowIdSchema, RowSchema, VersionSchema};
use crate::http::response::body::body;
use crate::http::response::response_budget::BudgetPermit;
use crate::row::Row;
use crate::store::{ChangeSet, PollChange};
use crate::version::Version;

/// Bytes of everything around the changes, an estimate for the first allocation.
const FRAME_BYTES: usize = 96;
/// Bytes of a change with a short id, an estimate.
const CHANGE_BYTES: usize = 56;
/// Additional bytes of a change with its version and time, an estimate.
const DETAIL_BYTES: usize = 96;

/// The content of a response with changes.
#[derive(Debug)]
pub(crate) struct BodyContent {
    pub(crate) changes: ChangeSet,
    /// The row of each change, in the same order; empty without `include=rows`.
    pub(crate) rows: Vec<Option<Row>>,
    /// Whether each change carries its version and time.
    pub(crate) detail: bool,
}

impl BodyContent {
    /// The complete body.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        let mut place = 0;
        while self.write(place, &mut out) {
            place += 1;
        }
        out
    }

    /// A body that is written as the client reads, and keeps its reservation until then.
    pub(crate) fn body(self: Arc<Self>, reserved: BudgetPermit) -> Body {
        let mut place = 0;
        body(move |out| {
            let _reserved = &reserved;
            let more = self.write(place, out);
            place += 1;
            more
        })
    }

    /// The size of the body in bytes, an estimate.
    pub(crate) fn bytes(&self) -> usize {
        let change_bytes = CHANGE_BYTES + if self.detail { DETAIL_BYTES } else { 0 };
        let ids: usize = self.changes.changes.iter().map(|change| change.key.heap_bytes()).sum();
        let rows: usize = self.rows.iter().flatten().map(|row| row.json().len()).sum();
        FRAME_BYTES + self.changes.changes.len() * change_bytes + ids + rows
    }

    /// Appends the change at `place` with the punctuation around it; returns whether another call has
    /// something to append.
    fn write(&self, place: usize, out: &mut Vec<u8>) -> bool {
        if place == 0 {
            begin(&self.changes, out);
        }
        let Some(change) = self.changes.changes.get(place) else {
            out.extend_from_slice(b"]}");
            return false;
        };
        comma(place, out);
        write_change(change, out);
        if self.detail {
            write_detail(change, self.changes.version, out);
        }
        if let Some(row) = self.rows.get(place).and_then(Option::as_ref) {
            out.extend_from_slice(br#","row":"#);
            out.extend_from_slice(row.json());
        }
        out.push(b'}');
        true
    }
}

fn begin(changes: &ChangeSet, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"version":"#);
    write_version(changes.version, out);
    out.extend_from_slice(if changes.more { br#","more":true"# } else { br#","more":false"# });
    out.extend_from_slice(br#","reset":["#);
    for (place, table) in changes.reset.iter().enumerate() {
        comma(place, out);
        out.extend_from_slice(table.name_json.as_bytes());
    }
    out.extend_from_slice(br#"],"changes":["#);
}

fn comma(place: usize, out: &mut Vec<u8>) {
    if place > 0 {
        out.push(b',');
    }
}

fn write_change(change: &PollChange, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"table":"#);
    out.extend_from_slice(change.resource.name_json.as_bytes());
    out.extend_from_slice(br#","id":"#);
    change.key.write_json(out);
    out.extend_from_slice(br#","op":""#);
    out.extend_from_slice(change.op.as_str().as_bytes());
    out.push(b'"');
}

fn write_detail(change: &PollChange, response: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","version":"#);
    write_version(Version { epoch: response.epoch, position: change.position }, out);
    match change.committed_at.to_timestamp() {
        // Writing to a vector can't fail.
        Some(at) => drop(write!(out, r#","at":"{at}""#)),
        None => out.extend_from_slice(br#","at":null"#),
    }
}

fn write_version(version: Version, out: &mut Vec<u8>) {
    // Writing to a vector can't fail.
    let _ = write!(out, "\"{version}\"");
}

/// The changes since the version sent.
#[derive(ToSchema)]
#[schema(as = Changes)]
#[expect(dead_code, reason = "the schema of what `BodyContent` writes")]
pub(crate) struct ChangesBody {
    /// Send it back as `after` in the next request.
    #[schema(value_type = VersionSchema)]
    version: String,
    /// More changes are available: poll again at once, with this response's `version`.
    more: bool,
    /// Tables to read again in full: their changes since `after` can't be reported by id.
    reset: Vec<String>,
    /// In commit order of the last change to each row, each row at most once.
    changes: Vec<ChangeEntry>,
}

/// The change of one row.
#[derive(ToSchema)]
#[schema(as = Change)]
#[expect(dead_code, reason = "the schema of what `BodyContent` writes")]
pub(crate) struct ChangeEntry {
    /// The table: `schema.table`, or `table` in schema `public`.
    #[schema(example = "users")]
    table: String,
    #[schema(value_type = RowIdSchema, example = 7)]
    id: (),
    /// Relative to the version sent: `insert` if the row did not exist then, `update` if it did,
    /// `delete` if it no longer exists.
    #[schema(inline)]
    op: OpWord,
    /// With `include=rows`, of a table with cached rows: the row at the response's `version`. Absent
    /// with `delete`, and where PostgreSQL can't render the row as JSON.
    #[schema(value_type = RowSchema, required = false)]
    row: (),
    /// With `detail=true`: the version of this change.
    #[schema(value_type = VersionSchema, required = false)]
    version: String,
    /// With `detail=true`: the commit time by the server's clock; null if that clock was out of
    /// range.
    #[schema(required = false, format = DateTime)]
    at: Option<String>,
}

/// The operation on a row.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the schema of what `BodyContent` writes")]
pub(crate) enum OpWord {
    Insert,
    Update,
    Delete,
}
