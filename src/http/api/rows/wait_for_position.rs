//! `at_least`: waiting until a position that the client knows of is applied.

use tokio::time::{Instant, timeout_at};

use crate::http::api::state::AppState;
use crate::http::params::AtLeast;
use crate::http::response::problem::{Problem, ProblemType};
use crate::version::{Position, Version};

/// Waits until everything up to `at_least` has been applied.
///
/// An LSN names no timeline: while the stream is down it may belong to a server that was promoted in the
/// meantime, and be lower than what was applied of the old one. So an LSN is compared only while the
/// stream is up and its server has responded just now. Two gaps remain: a server that is promoted within
/// [`SEEN_WITHIN`](crate::http::api::state::SEEN_WITHIN) after the other failed, and an old primary that
/// was not stopped and still responds. A version names its epoch and has no such gap.
pub(super) async fn wait_for_position(
    api: &AppState,
    at_least: Option<AtLeast>,
    deadline: Instant,
) -> Result<(), Problem> {
    let Some(at_least) = at_least else { return Ok(()) };
    if matches!(at_least, AtLeast::Lsn(_))
        && timeout_at(deadline, api.wait_for_stream()).await.is_err()
    {
        return Err(Problem::new(
            ProblemType::PositionTimeout,
            "the change stream is down, or its server has not responded just now, and an LSN does not \
             name its timeline: retry, wait longer with `wait`, or send a version",
        ));
    }
    let goal = target(api, at_least)?;
    if goal <= applied(api)?.position {
        return Ok(());
    }
    if timeout_at(deadline, api.store().expedite_applied(goal)).await.is_err() {
        return Err(Problem::new(
            ProblemType::PositionTimeout,
            format!(
                "the requested position is {}, and this instance has applied {}: retry, or wait longer \
                 with `wait`",
                goal.lsn,
                applied(api)?.position.lsn
            ),
        ));
    }
    // Closing the store ends every wait.
    if api.store().is_closed() && applied(api)?.position < goal {
        return Err(Problem::not_ready("shutting down"));
    }
    // Another timeline may have begun while waiting.
    target(api, at_least).map(drop)
}

/// The position on the current timeline.
fn target(api: &AppState, at_least: AtLeast) -> Result<Position, Problem> {
    let applied = applied(api)?;
    match at_least {
        AtLeast::Lsn(lsn) => Ok(api.source().resolve_position(lsn)),
        AtLeast::Version(version) => {
            let position = api.store().position_of(version).map(Position::at_record);
            position.ok_or_else(|| timeline_mismatch(version, applied))
        }
    }
}

fn applied(api: &AppState) -> Result<Version, Problem> {
    api.store().applied().ok_or_else(Problem::not_started)
}

fn timeline_mismatch(version: Version, applied: Version) -> Problem {
    Problem::new(
        ProblemType::TimelineMismatch,
        format!(
            "the version belongs to the epoch {:08x}, and this instance follows {:08x}: the database \
             was restored, promoted or replaced since, or it is another one; start again without a \
             version",
            version.epoch.0, applied.epoch.0
        ),
    )
}
