//! One poll: look, and if there is nothing new, wait and look again.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout, timeout_at};

use super::api::Api;
use super::conditional;
use super::problem::Problem;
use super::query::ChangesQuery;
use super::rows::held;
use crate::row::Row;
use crate::store::{Answer, Query, Selection};
use crate::version::Version;

/// Rows that a poll is to carry and that are not in memory are waited for this long; then it is
/// refused (503), and the client asks again with the same version.
const ROWS_WAIT_MAX: Duration = Duration::from_secs(5);

/// A poll's result.
pub(crate) struct Found {
    pub(crate) answer: Answer,
    /// The row of each change, where it was asked for and there is one; else empty.
    pub(crate) rows: Vec<Option<Row>>,
    /// `None` where a tag could make a client miss something ([`conditional`]).
    pub(crate) etag: Option<HeaderValue>,
    /// The client has this answer already.
    pub(crate) not_modified: bool,
}

/// Answers a poll, holding it as long as it asks for.
pub(crate) async fn poll(
    api: &Api,
    query: &ChangesQuery,
    headers: &HeaderMap,
) -> Result<Found, Problem> {
    api.require_was_ready()?;
    let store = api.store();
    let mut held_until = (!query.wait.is_zero()).then(|| Instant::now() + query.wait);
    if let Some(after) = query.after
        && store.is_ahead(after)
    {
        // An unknown table is told of at once.
        resolve(api, query)?;
        let _waiting = api.count_waiter();
        let caught_up = store.wait_applied(after.position);
        if timeout(api.ahead_wait_max(), caught_up).await.is_err() {
            // No changes and the client's own version, without holding it any longer.
            held_until = None;
        }
    }
    loop {
        // Again each time: a table may have gone meanwhile.
        let tables = resolve(api, query)?;
        let look = look(api, &tables, query, headers).await?;
        let (Some(until), Some(quiet_since)) = (held_until, look.quiet_since) else {
            return Ok(look.found);
        };
        if store.is_closed() {
            return Ok(look.found);
        }
        let _waiting = api.count_waiter();
        if timeout_at(until, store.wait_for_change(&tables, quiet_since)).await.is_err() {
            // A last look: the version has moved on with the watermark.
            held_until = None;
        }
    }
}

/// The tables asked for, by whatever spelling. Those that are to come with their rows must have some.
fn resolve(api: &Api, query: &ChangesQuery) -> Result<Selection, Problem> {
    let Some(names) = &query.tables else { return Ok(Selection::All) };
    let tables = api.tables(names)?;
    if query.rows {
        tables.iter().try_for_each(|table| held(table).map(drop))?;
    }
    Ok(Selection::tables(tables))
}

/// What one look at the store says.
struct Look {
    found: Found,
    /// There is nothing to tell: where to wait from.
    quiet_since: Option<Version>,
}

async fn look(
    api: &Api,
    tables: &Selection,
    query: &ChangesQuery,
    headers: &HeaderMap,
) -> Result<Look, Problem> {
    let store = api.store();
    let question = Query { tables, after: query.after, limit: query.limit };
    let found = if query.rows {
        let until = Instant::now() + ROWS_WAIT_MAX;
        store.changes_with_rows(&question, until).await?
    } else {
        store.changes(&question).map(|answer| (answer, Vec::new()))
    };
    let (answer, rows) = found.ok_or_else(Problem::not_started)?;
    let complete = query.after.is_some() && !answer.more && answer.reset.is_empty();
    let etag = complete.then(|| conditional::etag(answer.newest));
    let not_modified = etag.as_ref().is_some_and(|etag| conditional::has_match(headers, etag));
    let quiet = not_modified || (complete && answer.changes.is_empty());
    let quiet_since = quiet.then_some(answer.version);
    Ok(Look { found: Found { answer, rows, etag, not_modified }, quiet_since })
}
