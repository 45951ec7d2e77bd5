//! One poll: look, and if there is nothing new, wait and look again.

use axum::http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout, timeout_at};

use super::api::Api;
use super::conditional;
use super::problem::Problem;
use super::query::ChangesQuery;
use crate::store::{Answer, Directory, Query, Selection, Store};
use crate::version::Version;

/// A poll's result.
pub(crate) struct Found {
    pub(crate) answer: Answer,
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
        resolve(store, query)?;
        let _waiting = api.count_waiter();
        let caught_up = store.wait_applied(after.position);
        if timeout(api.ahead_wait_max(), caught_up).await.is_err() {
            // No changes and the client's own version, without holding it any longer.
            held_until = None;
        }
    }
    loop {
        // Again each time: a table may have gone meanwhile.
        let tables = resolve(store, query)?;
        let look = look(store, &tables, query, headers)?;
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

/// The tables asked for, by whatever spelling.
fn resolve(store: &Store, query: &ChangesQuery) -> Result<Selection, Problem> {
    let Some(names) = &query.tables else { return Ok(Selection::All) };
    let directory = store.directory();
    let table = |name: &String| {
        directory.resolve(name).cloned().ok_or_else(|| unknown_table(name, &directory))
    };
    let tables: Vec<_> = names.iter().map(table).collect::<Result<_, _>>()?;
    Ok(Selection::tables(tables))
}

fn unknown_table(name: &str, directory: &Directory) -> Problem {
    let known: Vec<&str> = directory.tables().iter().map(|table| table.name.as_str()).collect();
    Problem::unknown_table(name, &known)
}

/// What one look at the store says.
struct Look {
    found: Found,
    /// There is nothing to tell: where to wait from.
    quiet_since: Option<Version>,
}

fn look(
    store: &Store,
    tables: &Selection,
    query: &ChangesQuery,
    headers: &HeaderMap,
) -> Result<Look, Problem> {
    let not_started = || Problem::not_ready("nothing has been read from PostgreSQL yet");
    let question = Query { tables, after: query.after, limit: query.limit };
    let answer = store.changes(&question).ok_or_else(not_started)?;
    let complete = query.after.is_some() && !answer.more && answer.reset.is_empty();
    let etag = complete.then(|| conditional::etag(answer.newest));
    let not_modified = etag.as_ref().is_some_and(|etag| conditional::has_match(headers, etag));
    let quiet = not_modified || (complete && answer.changes.is_empty());
    let quiet_since = quiet.then_some(answer.version);
    Ok(Look { found: Found { answer, etag, not_modified }, quiet_since })
}
