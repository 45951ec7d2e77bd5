//! Waiting until what a client knows of is there: `at_least`.

use tokio::time::{Instant, timeout_at};

use crate::http::api::state::AppState;
use crate::http::params::AtLeast;
use crate::http::response::problem::{Problem, ProblemType};
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
        AtLeast::Lsn(lsn) => Ok(api.source().resolve_position(lsn)),
        AtLeast::Version(version) => {
            let position = api.store().position_of(version).map(Position::at_record);
            position.ok_or_else(|| other_history(version, applied))
        }
    }
}

fn applied(api: &AppState) -> Result<Version, Problem> {
    api.store().applied().ok_or_else(Problem::not_started)
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
