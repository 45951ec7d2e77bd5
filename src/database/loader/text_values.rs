//! The values of one result row in text form, in a buffer that is reused for the next row.

use crate::wire::{Fields, ProtocolError};

/// The values of a row, each text or NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TextValues {
    bytes: Vec<u8>,
    /// The start and end of each value in `bytes`; `None` for NULL.
    ranges: Vec<Option<(usize, usize)>>,
}

impl TextValues {
    /// Collects the fields of a query's row.
    pub(super) fn of_fields(fields: Fields<'_>) -> Result<Self, ProtocolError> {
        let mut record = Self::default();
        for value in fields {
            let start = record.bytes.len();
            if let Some(value) = value? {
                record.bytes.extend_from_slice(value);
                record.end_value(start);
            } else {
                record.ranges.push(None);
            }
        }
        Ok(record)
    }

    /// Replaces the values by those of a line of `COPY … TO STDOUT` in text format.
    ///
    /// Tabs separate values; `\N` is NULL. The server writes only the escapes of its
    /// `CopyAttributeOutText` (manual: COPY, "Text Format").
    pub(super) fn read_line(&mut self, line: &[u8]) {
        self.bytes.clear();
        self.ranges.clear();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        for field in line.split(|&byte| byte == b'\t') {
            if field == b"\\N" {
                self.ranges.push(None);
                continue;
            }
            let start = self.bytes.len();
            self.add_unescaped(field);
            self.end_value(start);
        }
    }

    fn end_value(&mut self, start: usize) {
        self.ranges.push(Some((start, self.bytes.len())));
    }

    fn add_unescaped(&mut self, field: &[u8]) {
        let mut pieces = field.split(|&byte| byte == b'\\');
        self.bytes.extend_from_slice(pieces.next().unwrap_or_default());
        while let Some(piece) = pieces.next() {
            let Some((&letter, plain)) = piece.split_first() else {
                // A doubled backslash: the piece after it has no escape.
                self.bytes.push(b'\\');
                self.bytes.extend_from_slice(pieces.next().unwrap_or_default());
                continue;
            };
            self.bytes.push(unescape(letter));
            self.bytes.extend_from_slice(plain);
        }
    }

    /// The value at an index; `None` if it is NULL or does not exist.
    pub(super) fn value(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = (*self.ranges.get(index)?)?;
        self.bytes.get(start..end)
    }

    /// The value at an index, if it is UTF-8.
    pub(super) fn text(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.value(index)?).ok()
    }
}

/// The byte that a letter after a backslash represents.
fn unescape(letter: u8) -> u8 {
    match letter {
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0B,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut record = TextValues::default();
        record.read_line(b"something\tbefore\\\\\n");
        record.read_line(line);
        (0..record.ranges.len()).map(|index| record.value(index).map(<[u8]>::to_vec)).collect()
    }

    /// The line as the server writes it.
    fn line_of(values: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut line = Vec::new();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            let Some(value) = value else {
                line.extend(b"\\N");
                continue;
            };
            for &byte in value {
                match b"\x08\x0c\n\r\t\x0b\\".iter().position(|special| *special == byte) {
                    Some(at) => line.extend([b'\\', b"bfnrtv\\"[at]]),
                    None => line.push(byte),
                }
            }
        }
        line.push(b'\n');
        line
    }

    #[test]
    fn null_differs_from_its_escape_as_text_and_from_the_empty_string() {
        let line = b"\\N\t\t\\\\N\tN\n";
        let text = |text: &[u8]| Some(text.to_vec());
        assert_eq!(read(line), [None, text(b""), text(b"\\N"), text(b"N")]);
    }

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(
            values in prop::collection::vec(prop::option::of("[a\\\\N\t\n\u{8}\u{b}\u{c}\r]{0,8}"), 1..6)
        ) {
            let values: Vec<_> = values.into_iter().map(|v| v.map(String::into_bytes)).collect();
            prop_assert_eq!(read(&line_of(&values)), values);
        }
    }
}
