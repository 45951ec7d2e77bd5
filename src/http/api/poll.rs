//! One poll: look, and if there is nothing new, wait and look again.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout, timeout_at};

use crate::http::access::Principal;
use crate::http::api::rows::held;
use crate::http::api::state::AppState;
use crate::http::params::{ChangesQuery, RowFilter};
use crate::http::response::conditional;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::problem::Problem;
use crate::http::response::response_cache::ResponseKey;
use crate::store::ResourceSelection;
use crate::version::Version;

/// A poll's result.
pub(crate) struct PollOutcome {
    pub(crate) told: Arc<EncodedResponse>,
    /// `None` where a tag could make a client miss something ([`conditional`]).
    pub(crate) etag: Option<HeaderValue>,
    /// The client has this answer already.
    pub(crate) not_modified: bool,
}

/// Answers a poll, holding it as long as it asks for.
pub(crate) async fn poll(
    api: &AppState,
    caller: &Principal,
    query: &ChangesQuery,
    headers: &HeaderMap,
) -> Result<PollOutcome, Problem> {
    api.require_was_ready(caller)?;
    let store = api.store();
    let mut held_until = (!query.wait.is_zero()).then(|| Instant::now() + query.wait);
    if let Some(after) = query.after
        && store.is_ahead(after)
    {
        // An unknown table is told of at once.
        resolve(api, caller, query.tables.as_deref(), query.rows, &query.narrowing)?;
        let _waiting = api.count_waiter();
        let caught_up = store.wait_applied(after.position);
        if timeout(api.ahead_wait_max(), caught_up).await.is_err() {
            // No changes and the client's own version, without holding it any longer.
            held_until = None;
        }
    }
    loop {
        let tables = resolve(api, caller, query.tables.as_deref(), query.rows, &query.narrowing)?;
        let ChangesQuery { after, limit, detail, rows, .. } = *query;
        let question = ResponseKey { tables, after, limit, detail, rows };
        let look = evaluate(api, caller, &question, headers).await?;
        let (Some(until), Some(quiet_since)) = (held_until, look.quiet_since) else {
            return Ok(look.found);
        };
        if store.is_closed() {
            return Ok(look.found);
        }
        // What says nothing is not kept for as long as nothing happens.
        drop(look);
        let _waiting = api.count_waiter();
        let news = api.wait_for_news(&question.tables, quiet_since);
        if timeout_at(until, news).await.is_err() {
            // A last look: the version has moved on with the watermark.
            held_until = None;
        }
    }
}

/// The tables asked for, by whatever spelling; `None` asks for all that the caller may read. Those
/// that are to come with their rows must have some. Each time anew, because a table, or the caller's
/// right to ask, may have gone meanwhile.
pub(crate) fn resolve(
    api: &AppState,
    caller: &Principal,
    names: Option<&[String]>,
    rows: bool,
    narrowing: &RowFilter,
) -> Result<ResourceSelection, Problem> {
    caller.require_valid()?;
    let selection = caller.selection(&api.store().directory(), names, narrowing)?;
    if rows
        && names.is_some()
        && let ResourceSelection::Listed(parts) = &selection
    {
        parts.iter().try_for_each(|part| held(&part.resource).map(drop))?;
    }
    Ok(selection)
}

/// What one look at the store says.
struct Evaluation {
    found: PollOutcome,
    /// There is nothing to tell: where to wait from.
    quiet_since: Option<Version>,
}

async fn evaluate(
    api: &AppState,
    caller: &Principal,
    question: &ResponseKey,
    headers: &HeaderMap,
) -> Result<Evaluation, Problem> {
    let told = api.answer(question).await?;
    let complete = question.after.is_some() && !told.more && !told.has_resets;
    let etag = complete.then(|| conditional::etag(told.newest, caller));
    let not_modified = etag.as_ref().is_some_and(|etag| conditional::has_match(headers, etag));
    let quiet = not_modified || (complete && !told.has_changes);
    let quiet_since = quiet.then_some(told.version);
    Ok(Evaluation { found: PollOutcome { told, etag, not_modified }, quiet_since })
}
