//! `/v1/changes` and `/v1/tables/{table}/changes`: changes since a version.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::http::access::Principal;
use crate::http::api::poll::{self, PollOutcome};
use crate::http::api::schemas::{NotModified, TableProblems};
use crate::http::api::state::AppState;
use crate::http::middleware::observe::{HEADERS_USUAL, HIGHWATER_VERSION, version_header};
use crate::http::middleware::request_id::owned;
use crate::http::params::path::{self, TablePath};
use crate::http::params::{ChangesParams, ChangesRequest, TableChangesParams};
use crate::http::response::changes_body::ChangesBody;
use crate::http::response::encoding::Encoding;
use crate::http::response::problem::Problem;

/// Changes of several tables
///
/// The ids that changed since a version, compacted: each row at most once, with the operation that is
/// true relative to that version. Start without `after`: every table is in `reset`; read those tables
/// in full, then always send the `version` of the previous response.
#[utoipa::path(
    get,
    path = "/v1/changes",
    operation_id = "getChanges",
    tag = "changes",
    params(
        ChangesParams,
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "The `ETag` of an earlier response: 304 if nothing changed since"),
    ),
    responses(
        (status = 200, description = "The changes. Tables whose changes can't be reported by id are in `reset`",
            body = ChangesBody,
            headers(
                ("Highwater-Version" = String, description = "The response's version"),
                ("ETag" = String, description = "The version of the newest change to the requested tables; absent with `more` and with a `reset`"),
                ("X-Request-Id" = String, description = "The request's id, as sent or generated"),
            ),
            example = json!({
                "version": "5f3a9c01-0000000001a2b3c8", "more": false, "reset": ["items"],
                "changes": [
                    {"table": "users", "id": 7, "op": "update"},
                    {"table": "shop.order_lines", "id": [9, "a"], "op": "delete"},
                ],
            })),
        NotModified,
        TableProblems,
    )
)]
pub(crate) async fn changes(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let (request, wait) = ChangesParams::read(query, api.wait_max())?;
    answer_poll(&api, &request, wait, head).await
}

/// Changes of one table
///
/// The same as `/v1/changes` for the table in the path.
#[utoipa::path(
    get,
    path = "/v1/tables/{table}/changes",
    operation_id = "getTableChanges",
    tag = "changes",
    params(
        TablePath,
        TableChangesParams,
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "The `ETag` of an earlier response: 304 if nothing changed since"),
    ),
    responses(
        (status = 200, description = "The changes, or the table in `reset`",
            body = ChangesBody,
            headers(
                ("Highwater-Version" = String, description = "The response's version"),
                ("ETag" = String, description = "The version of the newest change to the table; absent with `more` and with a `reset`"),
                ("X-Request-Id" = String, description = "The request's id, as sent or generated"),
            ),
            example = json!({
                "version": "5f3a9c01-0000000001a2b3c8", "more": false, "reset": [],
                "changes": [{
                    "table": "items", "id": 7, "op": "insert",
                    "version": "5f3a9c01-0000000001a2b3c7.00000001", "at": "2026-01-31T12:00:00.000001Z",
                }],
            })),
        NotModified,
        TableProblems,
    )
)]
pub(crate) async fn table_changes(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let table = path::table(head.uri.path())?.into_owned();
    let query = head.uri.query().unwrap_or_default();
    let (request, wait) = TableChangesParams::read(table, query, api.wait_max())?;
    answer_poll(&api, &request, wait, head).await
}

async fn answer_poll(
    api: &AppState,
    request: &ChangesRequest,
    wait: Duration,
    head: Parts,
) -> Result<Response, Problem> {
    let caller = Principal::of(&head.extensions);
    let conditions = conditions(&head.headers);
    // A held poll must not keep the head: it lies in the connection's buffer.
    drop(head);
    let outcome = poll::poll(api, &caller, request, wait, &conditions).await?;
    let polls = api.polls();
    let count = if outcome.not_modified {
        &polls.not_modified
    } else if outcome.response.has_resets {
        &polls.reset
    } else if !outcome.response.has_changes {
        &polls.empty
    } else {
        &polls.changes
    };
    count.inc();
    Ok(response(outcome, &conditions))
}

/// Copies of the headers that the response depends on.
fn conditions(headers: &HeaderMap) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    for name in [header::IF_NONE_MATCH, header::ACCEPT_ENCODING] {
        for line in headers.get_all(&name) {
            if let Some(line) = owned(line) {
                conditions.append(&name, line);
            }
        }
    }
    conditions
}

fn response(outcome: PollOutcome, conditions: &HeaderMap) -> Response {
    let PollOutcome { response: encoded, etag, not_modified } = outcome;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(HEADERS_USUAL);
    headers.insert(HIGHWATER_VERSION, version_header(encoded.version));
    // A proxy that stored a reset would make its clients read everything again with every poll.
    let cache_control = if encoded.has_resets { "no-store" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(etag) = etag {
        headers.insert(header::ETAG, etag);
    }
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let preferred = Encoding::preferred(conditions);
    let compressed = preferred.and_then(|e| Some((e, encoded.compressed(e)?)));
    if let Some((encoding, _)) = &compressed {
        headers.insert(header::CONTENT_ENCODING, encoding.name());
    }
    *response.body_mut() =
        compressed.map_or_else(|| encoded.body(), |(_, bytes)| Body::from(bytes));
    response
}
