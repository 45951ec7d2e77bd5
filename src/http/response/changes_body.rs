//! A poll's answer as JSON bytes.
//!
//! Written by hand: keys, rows and table names are JSON already, so nothing is parsed, copied twice
//! or escaped again.

use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::response::body::body;
use crate::http::response::response_budget::BudgetPermit;
use crate::row::Row;
use crate::store::{ChangeSet, PollChange};
use crate::version::Version;

/// Bytes for everything around the changes.
const FRAME_BYTES: usize = 96;
/// Bytes of a short change, an estimate for the first allocation.
const CHANGE_BYTES: usize = 56;
/// More bytes of a change with its version and time, likewise.
const DETAIL_BYTES: usize = 96;

/// An answer that is to be written.
#[derive(Debug)]
pub(crate) struct BodyContent {
    pub(crate) answer: ChangeSet,
    /// The row of each change, in their order, as far as there are any.
    pub(crate) rows: Vec<Option<Row>>,
    /// Whether each change carries its version and time.
    pub(crate) detail: bool,
}

impl BodyContent {
    /// Everything at once.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        let mut place = 0;
        while self.write(place, &mut out) {
            place += 1;
        }
        out
    }

    /// A body that is written as the client reads, and holds the room until then.
    pub(crate) fn body(self: Arc<Self>, taken: BudgetPermit) -> Body {
        let mut place = 0;
        body(move |out| {
            let _reading = &taken;
            let more = self.write(place, out);
            place += 1;
            more
        })
    }

    /// Bytes when written, an estimate.
    pub(crate) fn bytes(&self) -> usize {
        let change_bytes = CHANGE_BYTES + if self.detail { DETAIL_BYTES } else { 0 };
        let ids: usize = self.answer.changes.iter().map(|change| change.key.heap_bytes()).sum();
        let rows: usize = self.rows.iter().flatten().map(|row| row.json().len()).sum();
        FRAME_BYTES + self.answer.changes.len() * change_bytes + ids + rows
    }

    /// Appends the change at `place`, and whatever stands around it; tells whether one more call
    /// has something to append.
    fn write(&self, place: usize, out: &mut Vec<u8>) -> bool {
        if place == 0 {
            begin(&self.answer, out);
        }
        let Some(change) = self.answer.changes.get(place) else {
            out.extend_from_slice(b"]}");
            return false;
        };
        comma(place, out);
        write_change(change, out);
        if self.detail {
            write_detail(change, self.answer.version, out);
        }
        if let Some(row) = self.rows.get(place).and_then(Option::as_ref) {
            out.extend_from_slice(br#","row":"#);
            out.extend_from_slice(row.json());
        }
        out.push(b'}');
        true
    }
}

fn begin(answer: &ChangeSet, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"version":"#);
    write_version(answer.version, out);
    out.extend_from_slice(if answer.more { br#","more":true"# } else { br#","more":false"# });
    out.extend_from_slice(br#","reset":["#);
    for (place, table) in answer.reset.iter().enumerate() {
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

fn write_detail(change: &PollChange, answer: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","version":"#);
    write_version(Version { epoch: answer.epoch, position: change.position }, out);
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

/// What changed since the version sent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only the schema of what `encode` writes")]
pub(crate) struct ChangesBody {
    /// Send it back as `after` in the next request.
    #[schema(example = "5f3a9c01-0000000001a2b3c8")]
    version: String,
    /// Further changes are there already: ask again at once, with this answer's `version`.
    more: bool,
    /// Tables that must be read again in full: what changed in them since `after` can't be told.
    reset: Vec<String>,
    /// In commit order of the last change to each row, each row at most once.
    changes: Vec<ChangeEntry>,
}

/// One row's change.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only the schema of what `encode` writes")]
pub(crate) struct ChangeEntry {
    /// The table: `schema.table`, or `table` in schema `public`.
    #[schema(example = "users")]
    table: String,
    /// The row's key as JSON; an array in key order when the key has several columns.
    #[schema(example = 7)]
    id: Value,
    /// What happened, relative to the version sent: `insert` if the row did not exist then,
    /// `update` if it did, `delete` if it is gone now.
    #[schema(inline)]
    op: OpWord,
    /// With `include=rows`, of a table whose rows are held: the row as it is at the answer's
    /// `version`. Not with `delete`, nor where PostgreSQL can't write the row as JSON.
    #[schema(required = false)]
    row: Value,
    /// With `detail=true`: the version of this change.
    #[schema(required = false)]
    version: String,
    /// With `detail=true`: when it was committed, by the server's clock; null if that clock was
    /// out of range.
    #[schema(required = false, format = DateTime)]
    at: Option<String>,
}

/// What happened to a row.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the schema of what `encode` writes")]
pub(crate) enum OpWord {
    Insert,
    Update,
    Delete,
}
