//! One row, or the key of one, as a message carries it.

use std::iter::FusedIterator;

use super::error::FieldError;
use super::reader::{Reader, unknown};

/// A row's columns, in the order of its [`Relation`](super::Relation).
///
/// Checked when its message was decoded, so walking it needs no error handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: u16,
    bytes: &'a [u8],
}

/// One column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column<'a> {
    /// NULL. In a tuple that holds only a key, also every column outside of the key.
    Null,
    /// A TOASTed value that this update left as it was, and that is therefore not sent.
    Unchanged,
    /// The type's text output, under the session's settings.
    Text(&'a [u8]),
    /// The type's binary output, sent only with option `binary`.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, FieldError> {
        let count = r.u16("column count")?;
        let mut start = r.clone();
        for _ in 0..count {
            read_column(r)?;
        }
        let length = start.remaining().saturating_sub(r.remaining());
        let bytes = start.bytes(length, "columns")?;
        Ok(Self { count, bytes })
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none: a table without columns has rows too.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns, first to last.
    pub fn columns(&self) -> Columns<'a> {
        Columns { count: self.count, reader: Reader::new(self.bytes) }
    }
}

/// Walks the columns of a [`Tuple`].
#[derive(Clone, Debug)]
pub struct Columns<'a> {
    count: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    fn next(&mut self) -> Option<Column<'a>> {
        self.count = self.count.checked_sub(1)?;
        // Never an error: the same bytes were read when the tuple was.
        read_column(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.count);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Columns<'_> {}
impl FusedIterator for Columns<'_> {}

fn read_column<'a>(r: &mut Reader<'a>) -> Result<Column<'a>, FieldError> {
    match r.u8("column kind")? {
        b't' => r.counted_bytes("column value").map(Column::Text),
        b'n' => Ok(Column::Null),
        b'u' => Ok(Column::Unchanged),
        b'b' => r.counted_bytes("column value").map(Column::Binary),
        other => Err(unknown("column kind", other)),
    }
}
