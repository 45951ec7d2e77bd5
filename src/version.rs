//! Versions: the tokens clients hold, positions in the commit order of one history.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;

/// Identifier of the history a version belongs to: database system, timeline and database. The
/// histories it continues are listed by [`TimelineHistory`](crate::history::TimelineHistory).
///
/// It does not depend on the instance that computes it, so instances that follow the same database
/// accept each other's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u32);

/// A position in commit order: after a whole commit, or after some of its changes.
///
/// `lsn` is a commit's end LSN (or a position between commits), `ordinal` counts
/// the row changes inside that commit from 1. [`Position::after_commit`] is greater
/// than every ordinal of its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// End LSN of the commit.
    pub lsn: Lsn,
    /// Ordinal of the commit's last row change before the position; [`Position::WHOLE`] after all.
    pub ordinal: u32,
}

impl Position {
    /// The ordinal that stands for the whole commit.
    pub const WHOLE: u32 = u32::MAX;
    /// The position before everything.
    pub const START: Self = Self { lsn: Lsn::ZERO, ordinal: 0 };

    /// The position after everything that ends at or before `lsn`.
    pub fn after_commit(lsn: Lsn) -> Self {
        Self { lsn, ordinal: Self::WHOLE }
    }

    /// The same position; for one between commits (that of a table's reset), the position after the
    /// commit before it.
    ///
    /// For rows both mean the same, and only positions of records are reached by every instance.
    #[must_use]
    pub fn at_record(self) -> Self {
        let boundary = self.lsn.record_boundary();
        if boundary == self.lsn { self } else { Self::after_commit(boundary) }
    }
}

/// The token clients hold: opaque to them, compared only by the service.
///
/// Text form: 8 hex digits of epoch, `-`, 16 hex digits of LSN and, inside a commit that spans several
/// responses, `.` and 8 hex digits of ordinal. A position inside the commit that ends at LSN `E` is written
/// with `E - 1`, at which no WAL record ends (records are 8-byte aligned); so the text of versions of one
/// epoch sorts bytewise in commit order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// The history the position belongs to.
    pub epoch: Epoch,
    /// The position in that history.
    pub position: Position,
}

/// Length of the longest text form, in bytes.
pub const VERSION_TEXT_MAX: usize = 8 + 1 + 16 + 1 + 8;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { lsn, ordinal } = self.position;
        if ordinal == Position::WHOLE {
            write!(f, "{:08x}-{:016x}", self.epoch.0, lsn.0)
        } else {
            write!(f, "{:08x}-{:016x}.{ordinal:08x}", self.epoch.0, lsn.0.saturating_sub(1))
        }
    }
}

/// The text is not a version in the form this service writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a version (send back the `version` of an earlier response, unchanged)")]
pub struct ParseVersionError;

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let (epoch, rest) = text.split_once('-').ok_or(ParseVersionError)?;
        let epoch = u32::try_from(hex(epoch, 8)?).map_err(|_| ParseVersionError)?;
        let position = match rest.split_once('.') {
            None => Position::after_commit(Lsn(hex(rest, 16)?)),
            Some((before_end, ordinal)) => Position {
                lsn: Lsn(hex(before_end, 16)?.checked_add(1).ok_or(ParseVersionError)?),
                ordinal: inner_ordinal(ordinal)?,
            },
        };
        Ok(Self { epoch: Epoch(epoch), position })
    }
}

/// An ordinal inside a commit: 0 and [`Position::WHOLE`] have no such text form.
fn inner_ordinal(digits: &str) -> Result<u32, ParseVersionError> {
    match u32::try_from(hex(digits, 8)?) {
        Ok(ordinal) if ordinal != 0 && ordinal != Position::WHOLE => Ok(ordinal),
        _ => Err(ParseVersionError),
    }
}

fn hex(digits: &str, length: usize) -> Result<u64, ParseVersionError> {
    // Only the form that `Display` writes: fixed length, lower case, no sign.
    let known = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != length || !digits.bytes().all(known) {
        return Err(ParseVersionError);
    }
    u64::from_str_radix(digits, 16).map_err(|_| ParseVersionError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_position() -> impl Strategy<Value = Position> {
        // Commits end on 8-byte boundaries, never at 0.
        (1..u64::MAX / 8, prop_oneof![Just(Position::WHOLE), 1..100_000_u32])
            .prop_map(|(lsn, ordinal)| Position { lsn: Lsn(lsn * 8), ordinal })
    }

    proptest! {
        #[test]
        fn display_and_parse_round_trip(epoch: u32, position in any_position()) {
            let version = Version { epoch: Epoch(epoch), position };
            prop_assert_eq!(version.to_string().parse::<Version>(), Ok(version));
        }

        #[test]
        fn text_sorts_in_commit_order(a in any_position(), b in any_position()) {
            let text = |position| Version { epoch: Epoch(7), position }.to_string();
            prop_assert_eq!(text(a).as_bytes().cmp(text(b).as_bytes()), a.cmp(&b));
        }

        #[test]
        fn text_sorts_in_order_inside_a_commit(lsn in 1..1_000_u64, a in 1..50_u32, b in 1..50_u32) {
            let text = |ordinal| {
                Version { epoch: Epoch(7), position: Position { lsn: Lsn(lsn * 8), ordinal } }.to_string()
            };
            prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
            prop_assert!(text(a) < text(Position::WHOLE));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,40}") {
            let _ = text.parse::<Version>();
        }
    }

    #[test]
    fn a_position_between_commits_is_after_the_commit_before() {
        let commit = Position::after_commit(Lsn(800));
        let inside = Position { lsn: Lsn(808), ordinal: 3 };
        assert_eq!(commit.at_record(), commit);
        assert_eq!(inside.at_record(), inside);
        for ordinal in [1, 7] {
            assert_eq!(Position { lsn: Lsn(801), ordinal }.at_record(), commit);
        }
    }

    #[test]
    fn refuses_other_spellings() {
        for text in [
            "",
            "-",
            "0000000a",
            "0000000A-0000000000000001",
            "0000000a-+000000000000001",
            "0000000a-0000000000000001.",
            "0000000a-0000000000000001.1",
            "0000000a-ffffffffffffffff.00000001",
            "0000000a-0000000000000001.00000000",
            "0000000a-0000000000000001.ffffffff",
            "0000000a-0000000000000001.00000001.00000001",
        ] {
            assert_eq!(text.parse::<Version>(), Err(ParseVersionError), "{text}");
        }
    }
}
