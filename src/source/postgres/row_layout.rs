//! From tuples to documents: rows in the stream, written as `to_jsonb` would.
//!
//! Each value is written from its text, or from nothing: NULL, or `null` in place of a large value
//! that an update left unchanged and that neither tuple contains. One value that can't be written
//! makes the whole row unresolved; nothing is guessed.

use super::catalog::PublishedColumn;
use crate::json_type::{JsonShape, JsonType};
use crate::key::Key;
use crate::pgoutput::{OldTuple, Tuple, TupleColumn};
use crate::row::{PartialRow, Row, RowAfter};
use crate::table::RowCachePlan;

/// Positions of the values of a table's documents in its tuples.
#[derive(Clone, Debug)]
pub(super) struct RowLayout {
    /// In the order of the document, which is that of the tuple.
    members: Vec<RowField>,
}

/// A member of the document.
#[derive(Clone, Debug)]
struct RowField {
    /// Columns of the tuple to skip before its own.
    skipped: usize,
    /// Position of its column in the tuple.
    place: usize,
    /// The text before its value: `{"id":`, `,"name":`.
    opening: Box<[u8]>,
    form: Option<JsonShape>,
}

/// Reused memory for writing a document.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    json: Vec<u8>,
    missing: Vec<u16>,
}

/// The row has a value that can't be written from the stream.
struct UnencodedValue;

impl RowLayout {
    /// A layout for tuples of the columns `published`; `None` if a column of the documents is not
    /// among them.
    pub(super) fn new(published: &[PublishedColumn], plan: &RowCachePlan) -> Option<Self> {
        let mut members = Vec::with_capacity(plan.columns.len());
        let mut next = 0;
        for column in &plan.columns {
            let skipped = published.iter().skip(next).position(|p| p.name == column.name)?;
            let mut opening = vec![if members.is_empty() { b'{' } else { b',' }];
            JsonType::String.write_json(column.name.as_bytes(), &mut opening).ok()?;
            opening.push(b':');
            let place = next + skipped;
            members.push(RowField { skipped, place, opening: opening.into(), form: column.form });
            next = place + 1;
        }
        Some(Self { members })
    }

    /// The row after an insert or update. `before` is its old key, if the key changed.
    pub(super) fn image(
        &self,
        new: Tuple<'_>,
        old: Option<&OldTuple<'_>>,
        before: Option<&Key>,
        scratch: &mut Scratch,
    ) -> RowAfter {
        scratch.json.clear();
        scratch.missing.clear();
        if self.write(new, old, scratch).is_err() {
            return RowAfter::Unresolved;
        }
        if scratch.missing.is_empty() {
            return RowAfter::Full(Row::new(&scratch.json));
        }
        let row = PartialRow::new(&scratch.json, &scratch.missing);
        RowAfter::Partial { row, before: before.cloned() }
    }

    fn write(
        &self,
        new: Tuple<'_>,
        old: Option<&OldTuple<'_>>,
        scratch: &mut Scratch,
    ) -> Result<(), UnencodedValue> {
        let mut columns = new.columns();
        for (number, member) in self.members.iter().enumerate() {
            scratch.json.extend_from_slice(&member.opening);
            let value = match columns.nth(member.skipped).ok_or(UnencodedValue)? {
                TupleColumn::Unchanged => old.and_then(|old| kept(old, member.place)),
                value => Some(value),
            };
            if let Some(value) = value {
                member.write(value, &mut scratch.json)?;
            } else {
                scratch.missing.push(u16::try_from(number).map_err(|_| UnencodedValue)?);
                scratch.json.extend_from_slice(b"null");
            }
        }
        scratch.json.push(b'}');
        Ok(())
    }
}

/// The value of a column that did not change, from the tuple before the change.
fn kept<'a>(old: &OldTuple<'a>, place: usize) -> Option<TupleColumn<'a>> {
    let value = old.tuple().columns().nth(place)?;
    match (old, value) {
        (_, TupleColumn::Text(_)) | (OldTuple::Full(_), TupleColumn::Null) => Some(value),
        // In a tuple that holds only the key, NULL stands for "not sent".
        _ => None,
    }
}

impl RowField {
    fn write(&self, value: TupleColumn<'_>, out: &mut Vec<u8>) -> Result<(), UnencodedValue> {
        match (value, self.form) {
            (TupleColumn::Null, _) => out.extend_from_slice(b"null"),
            (TupleColumn::Text(text), Some(form)) => {
                form.write_json(text, out).map_err(|_| UnencodedValue)?;
            }
            _ => return Err(UnencodedValue),
        }
        Ok(())
    }
}
