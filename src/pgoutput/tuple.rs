//! A row, or the key of one, as messages contain it.

use std::iter::FusedIterator;

use super::error::FieldError;
use super::reader::{MessageReader, unknown};

/// A row's columns, in the order of its [`Relation`](super::Relation).
///
/// Validated when its message was decoded, so iteration needs no error handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: u16,
    bytes: &'a [u8],
}

/// One column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TupleColumn<'a> {
    /// NULL. In a tuple that holds only a key, also every column outside of the key.
    Null,
    /// A TOASTed value that the update did not change, and that is therefore not sent.
    Unchanged,
    /// The type's text output, under the session's settings.
    Text(&'a [u8]),
    /// The type's binary output, sent only with option `binary`.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    pub(super) fn read(r: &mut MessageReader<'a>) -> Result<Self, FieldError> {
        let count = r.u16("column count")?;
        let mut start = r.clone();
        for _ in 0..count {
            read_column(r)?;
        }
        let length = start.remaining().saturating_sub(r.remaining());
        let bytes = start.bytes(length, "columns")?;
        Ok(Self { count, bytes })
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are no columns: a table without columns can have rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    pub fn columns(&self) -> TupleColumns<'a> {
        TupleColumns { count: self.count, reader: MessageReader::new(self.bytes) }
    }
}

/// Iterator over the columns of a [`Tuple`].
#[derive(Clone, Debug)]
pub struct TupleColumns<'a> {
    count: u16,
    reader: MessageReader<'a>,
}

impl<'a> Iterator for TupleColumns<'a> {
    type Item = TupleColumn<'a>;

    fn next(&mut self) -> Option<TupleColumn<'a>> {
        self.count = self.count.checked_sub(1)?;
        // Never an error: the same bytes were validated when the tuple was read.
        read_column(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.count);
        (left, Some(left))
    }
}

impl ExactSizeIterator for TupleColumns<'_> {}
impl FusedIterator for TupleColumns<'_> {}

fn read_column<'a>(r: &mut MessageReader<'a>) -> Result<TupleColumn<'a>, FieldError> {
    match r.u8("column kind")? {
        b't' => r.counted_bytes("column value").map(TupleColumn::Text),
        b'n' => Ok(TupleColumn::Null),
        b'u' => Ok(TupleColumn::Unchanged),
        b'b' => r.counted_bytes("column value").map(TupleColumn::Binary),
        other => Err(unknown("column kind", other)),
    }
}
