//! `/v1/changes` and `/v1/tables/{table}/changes`: what changed since a version.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::http::access::Principal;
use crate::http::api::documented::{ChangesParameters, NotModified, TableProblems};
use crate::http::api::poll::{self, PollOutcome};
use crate::http::api::state::AppState;
use crate::http::middleware::observe::{HEADERS_USUAL, HIGHWATER_VERSION, version_header};
use crate::http::middleware::request_id::owned;
use crate::http::params::ChangesQuery;
use crate::http::params::path;
use crate::http::response::changes_body::ChangesBody;
use crate::http::response::encoding::Encoding;
use crate::http::response::problem::Problem;

/// Changes of many tables
///
/// The ids that changed since a version, compacted: each row at most once, with what is true
/// relative to that version. Start without `after`: every table is in `reset`; read them in full,
/// then ask again with the answer's `version`, always.
#[utoipa::path(
    get,
    path = "/v1/changes",
    tag = "changes",
    params(
        ("tables" = Option<String>, Query, description = "Comma-separated table names. A name that holds a comma, dot or quote is quoted as in SQL. Absent: every published table", example = "items,users"),
        ChangesParameters,
        ("wait" = Option<String>, Query, description = "Long poll: if nothing changed in these tables, hold the answer until something does, or this long (`500ms`, `30s` or a number of seconds; at most 60s). Default 0", example = "30s"),
        ("where" = Option<String>, Query, description = "Only rows with these values in scope columns (`tables.NAME.scope`): `column:value`, with `,` between several; also given several times. A column is meant in every table asked about that has it as a scope column; `orders.owner_id:5` in that table alone. What is part of a name or value is percent-encoded (`,` is `%2C`, `:` `%3A`). A row that moves out is told as a delete, one that moves in as an insert", example = "owner_id:5"),
        ("If-None-Match" = Option<String>, Header, description = "An earlier answer's `ETag`: 304 if nothing changed since"),
    ),
    responses(
        (status = 200, description = "What changed. Tables whose changes can't be told are in `reset`",
            body = ChangesBody,
            headers(
                ("Highwater-Version" = String, description = "The answer's version"),
                ("ETag" = String, description = "The version of the newest change to these tables; not with `more`, nor with a `reset`"),
                ("X-Request-Id" = String, description = "The request's id, as sent or made"),
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
    let query = ChangesQuery::read(head.uri.query().unwrap_or_default(), api.wait_max())?;
    answer_poll(&api, &query, head).await
}

/// Changes of one table
///
/// The same for the table named in the path.
#[utoipa::path(
    get,
    path = "/v1/tables/{table}/changes",
    tag = "changes",
    params(
        ("table" = String, Path, description = "The table's name, percent-encoded", example = "items"),
        ChangesParameters,
        ("wait" = Option<String>, Query, description = "Long poll: if nothing changed, hold the answer until something does, or this long (`500ms`, `30s` or a number of seconds; at most 60s). Default 0", example = "30s"),
        ("where" = Option<String>, Query, description = "Only rows with these values in scope columns, as for `/v1/changes`", example = "owner_id:5"),
        ("If-None-Match" = Option<String>, Header, description = "An earlier answer's `ETag`: 304 if nothing changed since"),
    ),
    responses(
        (status = 200, description = "What changed, or the table in `reset`",
            body = ChangesBody,
            headers(
                ("Highwater-Version" = String, description = "The answer's version"),
                ("ETag" = String, description = "The version of the newest change to the table; not with `more`, nor with a `reset`"),
                ("X-Request-Id" = String, description = "The request's id, as sent or made"),
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
    let query = ChangesQuery::read_of_table(table, query, api.wait_max())?;
    answer_poll(&api, &query, head).await
}

async fn answer_poll(
    api: &AppState,
    query: &ChangesQuery,
    head: Parts,
) -> Result<Response, Problem> {
    let caller = Principal::of(&head.extensions);
    let asked = conditions(&head.headers);
    drop(head);
    let found = poll::poll(api, &caller, query, &asked).await?;
    let polls = api.polls();
    let outcome = if found.not_modified {
        &polls.not_modified
    } else if found.told.has_resets {
        &polls.reset
    } else if !found.told.has_changes {
        &polls.empty
    } else {
        &polls.changes
    };
    outcome.inc();
    Ok(response(found, &asked))
}

/// Copies of the headers that the answer depends on. The head itself lies in the connection's
/// buffer, which a held poll must not keep.
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

fn response(found: PollOutcome, asked: &HeaderMap) -> Response {
    let PollOutcome { told, etag, not_modified } = found;
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    *headers = HeaderMap::with_capacity(HEADERS_USUAL);
    headers.insert(HIGHWATER_VERSION, version_header(told.version));
    // A reset that a proxy kept would make its clients read everything again and again.
    let kept = if told.has_resets { "no-store" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(etag) = etag {
        headers.insert(header::ETAG, etag);
    }
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let compressed = Encoding::wanted(asked).and_then(|e| Some((e, told.compressed(e)?)));
    if let Some((encoding, _)) = &compressed {
        headers.insert(header::CONTENT_ENCODING, encoding.name());
    }
    *response.body_mut() = compressed.map_or_else(|| told.body(), |(_, bytes)| Body::from(bytes));
    response
}
