//! One poll: evaluate the request, and while there is nothing new, wait and evaluate it again.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, timeout, timeout_at};

use crate::http::access::Principal;
use crate::http::api::rows::require_cached;
use crate::http::api::state::AppState;
use crate::http::params::ChangesRequest;
use crate::http::response::conditional;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::problem::Problem;
use crate::http::response::response_cache::ResponseKey;
use crate::store::ResourceSelection;
use crate::version::Version;

/// The result of a poll.
pub(crate) struct PollOutcome {
    pub(crate) response: Arc<EncodedResponse>,
    /// `None` where a tag could make a client miss something ([`conditional`]).
    pub(crate) etag: Option<HeaderValue>,
    /// Whether the client already has this response, as its `If-None-Match` says.
    pub(crate) not_modified: bool,
}

/// Answers a poll; without changes the response is held for up to `wait`.
pub(crate) async fn poll(
    api: &AppState,
    caller: &Principal,
    request: &ChangesRequest,
    wait: Duration,
    headers: &HeaderMap,
) -> Result<PollOutcome, Problem> {
    api.require_was_ready(caller)?;
    let store = api.store();
    let mut held_until = (!wait.is_zero()).then(|| Instant::now() + wait);
    if let Some(after) = request.after
        && store.is_ahead(after)
    {
        // An unknown table is an error at once, not after the wait.
        resolve(api, caller, request)?;
        let _waiting = api.count_waiter();
        let caught_up = store.wait_applied(after.position);
        if timeout(api.ahead_wait_max(), caught_up).await.is_err() {
            // No changes and the client's own version, without holding it any longer.
            held_until = None;
        }
    }
    loop {
        let tables = resolve(api, caller, request)?;
        let ChangesRequest { after, limit, detail, include_rows, .. } = *request;
        let key = ResponseKey { tables, after, limit, detail, include_rows };
        let Evaluation { outcome, wait_from } = evaluate(api, caller, &key, headers).await?;
        let (Some(until), Some(wait_from)) = (held_until, wait_from) else {
            return Ok(outcome);
        };
        if store.is_closed() {
            return Ok(outcome);
        }
        // An empty response is not worth its memory while the poll is held.
        drop(outcome);
        let _waiting = api.count_waiter();
        let news = api.wait_for_news(&key.tables, wait_from);
        if timeout_at(until, news).await.is_err() {
            // Evaluate once more: the version has moved on with the watermark.
            held_until = None;
        }
    }
}

/// The requested tables, however they are spelled; `None` requests all that the caller may read.
/// Named tables must have cached rows where rows are included. Resolved at every evaluation, because
/// a table or the caller's token may be gone by then.
pub(crate) fn resolve(
    api: &AppState,
    caller: &Principal,
    request: &ChangesRequest,
) -> Result<ResourceSelection, Problem> {
    caller.require_valid()?;
    let names = request.tables.as_deref();
    let selection = caller.selection(&api.store().directory(), names, &request.filter)?;
    if request.include_rows
        && names.is_some()
        && let ResourceSelection::Listed(tables) = &selection
    {
        tables.iter().try_for_each(|scoped| require_cached(&scoped.resource).map(drop))?;
    }
    Ok(selection)
}

/// The state of the store as one request sees it.
struct Evaluation {
    outcome: PollOutcome,
    /// The version from which to wait; `None` if there is something to report.
    wait_from: Option<Version>,
}

async fn evaluate(
    api: &AppState,
    caller: &Principal,
    key: &ResponseKey,
    headers: &HeaderMap,
) -> Result<Evaluation, Problem> {
    let response = api.response(key).await?;
    let complete = key.after.is_some() && !response.more && !response.has_resets;
    let etag = complete.then(|| conditional::etag(response.newest, caller));
    let not_modified = etag.as_ref().is_some_and(|etag| conditional::has_match(headers, etag));
    let quiet = not_modified || (complete && !response.has_changes);
    let wait_from = quiet.then_some(response.version);
    Ok(Evaluation { outcome: PollOutcome { response, etag, not_modified }, wait_from })
}
