//! Positions in PostgreSQL's write-ahead log, and the arithmetic of its records and pages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// WAL records begin and end on multiples of this many bytes (`MAXALIGN`).
const RECORD_ALIGNMENT: u64 = 8;

/// A byte position in the write-ahead log (`pg_lsn`).
///
/// Displayed as PostgreSQL shows it: two hexadecimal halves, `16/B374D848`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Lsn(pub u64);

impl Lsn {
    /// `0/0`: before everything. In `START_REPLICATION` it means the slot's own position.
    pub const ZERO: Self = Self(0);

    /// Bytes of WAL from `earlier` to `self`; zero if `earlier` is not earlier.
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The last position at or before `self` where a record can end.
    #[must_use]
    pub fn record_boundary(self) -> Self {
        Self(self.0 & !(RECORD_ALIGNMENT - 1))
    }
}

/// How a server divides its WAL (`wal_block_size`, `wal_segment_size`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalLayout {
    /// Size of a page in bytes; 0 if unknown.
    pub page_bytes: u64,
    /// Size of a segment (a file of `pg_wal`) in bytes; 0 if unknown.
    pub segment_bytes: u64,
}

impl WalLayout {
    /// The default page size, and no known segment size.
    pub const UNKNOWN_SEGMENTS: Self = Self { page_bytes: 8_192, segment_bytes: 0 };

    /// Header of a page in bytes (`SizeOfXLogShortPHD`).
    const PAGE_HEADER: u64 = 24;
    /// Header of the first page of a segment in bytes (`SizeOfXLogLongPHD`).
    const SEGMENT_HEADER: u64 = 40;

    /// The end of the last record before the insert position, at the latest.
    ///
    /// `pg_current_wal_insert_lsn()` is where the next record will *begin*. When the last record
    /// filled its page, that is behind the header of the next page, where no record ends; the change
    /// stream reports the end, the page's first byte. A waiter for the insert position itself would
    /// wait until the next record is written.
    ///
    /// Without a segment size the longer header of a segment's first page is not recognised: a record
    /// may also end that far into any other page. Such a position, one in millions, is reached with
    /// the next record.
    pub fn end_of_records(self, insert: Lsn) -> Lsn {
        let is_past_header = |unit: u64, header| insert.0.checked_rem(unit) == Some(header);
        if is_past_header(self.segment_bytes, Self::SEGMENT_HEADER) {
            Lsn(insert.0 - Self::SEGMENT_HEADER)
        } else if is_past_header(self.page_bytes, Self::PAGE_HEADER) {
            Lsn(insert.0 - Self::PAGE_HEADER)
        } else {
            insert
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text was not two hexadecimal numbers of at most 8 digits around a `/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a log sequence number (expected two hexadecimal numbers like 16/B374D848)")]
pub struct ParseLsnError;

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, ParseLsnError> {
        let (high, low) = text.split_once('/').ok_or(ParseLsnError)?;
        Ok(Self((u64::from(half(high)?) << 32) | u64::from(half(low)?)))
    }
}

fn half(digits: &str) -> Result<u32, ParseLsnError> {
    // `from_str_radix` would also take a sign.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ParseLsnError);
    }
    u32::from_str_radix(digits, 16).map_err(|_| ParseLsnError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for lsn in [Lsn(0), Lsn(0x16_B374_D848), Lsn(u64::MAX)] {
            assert_eq!(lsn.to_string().parse(), Ok(lsn));
        }
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
    }

    #[test]
    fn a_position_past_a_page_header_resolves_to_the_end_of_the_page_before() {
        let layout = WalLayout::UNKNOWN_SEGMENTS;
        assert_eq!(layout.end_of_records(Lsn(0x2000 + 24)), Lsn(0x2000));
        for lsn in [0x2000, 0x2000 + 16, 0x2000 + 32, 0x2000 + 40, 0x2000 + 8_184, 24 + 8] {
            assert_eq!(layout.end_of_records(Lsn(lsn)), Lsn(lsn));
        }
        let segments = WalLayout { segment_bytes: 16 << 20, ..layout };
        assert_eq!(segments.end_of_records(Lsn((16 << 20) + 40)), Lsn(16 << 20));
        assert_eq!(segments.end_of_records(Lsn(0x2000 + 40)), Lsn(0x2000 + 40));
    }

    #[test]
    fn refuses_what_is_not_an_lsn() {
        for text in ["", "/", "1", "1/", "/1", "+1/2", "1/-2", "1/2/3", "g/1", "123456789/0"] {
            assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError), "{text}");
        }
    }
}
