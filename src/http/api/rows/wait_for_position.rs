//! Waiting until what a client knows of is there: `at_least`.

use tokio::time::{Instant, timeout_at};

use crate::http::api::state::AppState;
use crate::http::params::AtLeast;
use crate::http::response::problem::{Problem, ProblemType};
use crate::lsn::Lsn;
use crate::version::{Position, Version};

/// Waits until everything up to `at_least` has been applied.
///
/// An LSN names no history: while the stream is away it may be of a server that was promoted meanwhile,
/// and less than what was applied of the old one. So it says something only once the stream is back, and
/// its server was seen just now. What is left of that hole: a server that is promoted sooner after
/// the other died than [`SEEN_WITHIN`](crate::http::api::SEEN_WITHIN), and one that was not
/// stopped and goes on answering us. A version names its history, and has no such hole.
pub(super) async fn reach(
    api: &AppState,
    at_least: Option<AtLeast>,
    until: Instant,
) -> Result<(), Problem> {
    let Some(at_least) = at_least else { return Ok(()) };
    if matches!(at_least, AtLeast::Lsn(_))
        && timeout_at(until, api.wait_for_stream()).await.is_err()
    {
        return Err(Problem::new(
            ProblemType::NotApplied,
            "the change stream is away, or its server was not seen just now, and an LSN does \
             not say of which server it is: ask again, give it longer with `wait`, or ask for a version",
        ));
    }
    let goal = wanted(api, at_least)?;
    if goal <= applied(api)?.position {
        return Ok(());
    }
    if timeout_at(until, api.store().expedite_applied(goal)).await.is_err() {
        return Err(Problem::new(
            ProblemType::NotApplied,
            format!(
                "the position asked for is {}, and this instance has applied {}: ask again, or \
                 give it longer with `wait`",
                goal.lsn,
                applied(api)?.position.lsn
            ),
        ));
    }
    // All waits end when the service does.
    if api.store().is_closed() && applied(api)?.position < goal {
        return Err(Problem::not_ready("shutting down"));
    }
    // Another history may have begun meanwhile.
    wanted(api, at_least).map(drop)
}

/// Where that is in the history being followed.
fn wanted(api: &AppState, at_least: AtLeast) -> Result<Position, Problem> {
    let applied = applied(api)?;
    match at_least {
        AtLeast::Lsn(lsn) => Ok(Position::after_commit(end_of_record(lsn))),
        AtLeast::Version(version) => {
            let position = api.store().position_of(version).map(whole);
            position.ok_or_else(|| other_history(version, applied))
        }
    }
}

fn applied(api: &AppState) -> Result<Version, Problem> {
    api.store().applied().ok_or_else(Problem::not_started)
}

/// A version between commits (of a table's reset) names the commit before it, as far as rows go:
/// no other instance has to reach a place where nothing is.
fn whole(position: Position) -> Position {
    let at_record = Lsn(position.lsn.0 & !(RECORD_ALIGNMENT - 1));
    if at_record == position.lsn { position } else { Position::after_commit(at_record) }
}

/// WAL records begin and end at multiples of so many bytes.
const RECORD_ALIGNMENT: u64 = 8;
/// Pages of WAL, unless PostgreSQL was built otherwise.
const PAGE_BYTES: u64 = 8_192;
/// The header that every page begins with.
const PAGE_HEADER_BYTES: u64 = 24;

/// Where the last record before `lsn` ends at most.
///
/// `pg_current_wal_insert_lsn()` says where the next record *begins*. When the last one filled its
/// page, that is behind the header of the next page, where no record ends; the change stream
/// speaks of the end, the page's first byte. Nothing would ever reach the other position until
/// somebody writes again.
///
/// (The first page of a file of WAL has a longer header, of 40 bytes. A record may well end so far
/// into another page, and which page is a first one can't be seen from here: such a position, one
/// in millions, is reached with the next record.)
fn end_of_record(lsn: Lsn) -> Lsn {
    if lsn.0 % PAGE_BYTES == PAGE_HEADER_BYTES { Lsn(lsn.0 - PAGE_HEADER_BYTES) } else { lsn }
}

fn other_history(version: Version, applied: Version) -> Problem {
    Problem::new(
        ProblemType::OtherHistory,
        format!(
            "the version is of the history {:08x}, and this instance follows {:08x}: the database \
             was restored, promoted or replaced since, or it is another one; begin again without \
             a version",
            version.epoch.0, applied.epoch.0
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_behind_a_page_header_is_the_end_of_the_page_before() {
        assert_eq!(end_of_record(Lsn(0x2000 + 24)), Lsn(0x2000));
        for lsn in [0x2000, 0x2000 + 16, 0x2000 + 32, 0x2000 + 40, 0x2000 + 8_184, 24 + 8] {
            assert_eq!(end_of_record(Lsn(lsn)), Lsn(lsn));
        }
    }

    #[test]
    fn a_version_between_commits_is_that_of_the_commit_before() {
        let commit = Position::after_commit(Lsn(800));
        let inside = Position { lsn: Lsn(808), ordinal: 3 };
        assert_eq!(whole(commit), commit);
        assert_eq!(whole(inside), inside);
        for ordinal in [1, 7] {
            assert_eq!(whole(Position { lsn: Lsn(801), ordinal }), commit);
        }
    }
}
