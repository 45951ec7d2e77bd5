//! What many routes have in common, as the OpenAPI document has it: [`crate::http::api::openapi`] is above the
//! handlers, this is below.

use std::collections::BTreeMap;

use utoipa::openapi::RefOr;
use utoipa::openapi::response::Response;
use utoipa::{IntoParams, IntoResponses};

use crate::http::response::problem::ProblemBody;

/// What a client knows, and how it wants to be told.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct ChangesParameters {
    /// The `version` of an earlier answer. Absent: the tables are in `reset`
    #[param(example = "5f3a9c01-0000000001a2b3c8")]
    after: Option<String>,
    /// Changes per answer at most; fewer where their ids or rows are large. Default 1000
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
    /// `rows`: each insert and update carries `row`, the row at the answer's `version`. Tables that are named must hold rows; of the others without rows only ids are told
    #[param(example = "rows")]
    include: Option<String>,
    /// Each change carries its own `version` and commit time `at`
    detail: Option<bool>,
}

/// Which rows, and how new they have to be.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct RowsParameters {
    /// A version, or what `pg_current_wal_insert_lsn()` said after your `COMMIT`: wait until that is applied, and so read your own write
    #[param(example = "16/B374D848")]
    at_least: Option<String>,
    /// Only rows with these values in scope columns, as for `/v1/changes`
    #[param(rename = "where", example = "owner_id:5")]
    narrowing: Option<String>,
}

/// How a question about tables can be refused.
pub(crate) struct TableProblems;

impl IntoResponses for TableProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let all = [
            InvalidProblem::responses(),
            UnknownTableProblem::responses(),
            NoRowsProblem::responses(),
            NotReadyProblem::responses(),
            InternalProblem::responses(),
        ];
        all.into_iter().flatten().collect()
    }
}

/// 304.
#[derive(IntoResponses)]
#[response(
    status = 304,
    description = "Nothing changed since the `ETag` in `If-None-Match`",
    headers(
        ("Highwater-Version" = String, description = "The version of the answer that is not sent"),
        ("ETag" = String, description = "The same tag"),
    )
)]
pub(crate) struct NotModified;

/// 400.
#[derive(IntoResponses)]
#[response(
    status = 400,
    description = "A parameter is malformed, unknown, given twice or out of range",
    content_type = "application/problem+json",
    example = json!({
        "type": "urn:highwater:problem:invalid-parameter", "title": "A parameter is not valid",
        "status": 400, "detail": "`limit` must be a number from 1 to 10000", "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct InvalidProblem(#[to_schema] ProblemBody<'static>);

/// 401.
#[derive(IntoResponses)]
#[response(
    status = 401,
    description = "A token is needed, or the one sent is not valid",
    content_type = "application/problem+json",
    headers(("WWW-Authenticate" = String, description = "`Bearer`")),
    example = json!({
        "type": "urn:highwater:problem:token-refused", "title": "The token is not valid",
        "status": 401, "detail": "the token is not valid, or not any more", "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct TokenProblem(#[to_schema] ProblemBody<'static>);

/// 403 for operators' routes.
#[derive(IntoResponses)]
#[response(
    status = 403,
    description = "The token is no operator's",
    content_type = "application/problem+json",
    headers(("WWW-Authenticate" = String, description = "`Bearer`")),
    example = json!({
        "type": "urn:highwater:problem:operators-only", "title": "For operators only",
        "status": 403, "detail": "this is for operators: it needs a token with admin = true",
        "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct AdminRequiredProblem(#[to_schema] ProblemBody<'static>);

/// 404 for a table.
#[derive(IntoResponses)]
#[response(
    status = 404,
    description = "A table is not published; the detail lists those that are",
    content_type = "application/problem+json",
    example = json!({
        "type": "urn:highwater:problem:unknown-table", "title": "No such table", "status": 404,
        "detail": "there is no published table \"item\"; the published tables are items, users",
        "request_id": "d5e1", "tables": ["items", "users"],
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct UnknownTableProblem(#[to_schema] ProblemBody<'static>);

/// 403.
#[derive(IntoResponses)]
#[response(
    status = 403,
    description = "The page's origin is neither our own nor named in `http.cors_origins`",
    content_type = "application/problem+json",
    example = json!({
        "type": "urn:highwater:problem:origin-not-allowed", "title": "Origin not allowed",
        "status": 403, "detail": "pages of this origin may not connect; name the origin in \
            http.cors_origins", "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct OriginProblem(#[to_schema] ProblemBody<'static>);

/// 403.
#[derive(IntoResponses)]
#[response(
    status = 403,
    description = "The request comes from a web page, or its token is no operator's: `type` says which",
    content_type = "application/problem+json",
    example = json!({
        "type": "urn:highwater:problem:from-a-page", "title": "Not for web pages", "status": 403,
        "detail": "web pages can't ask for this: call it from a program, as curl -X POST does",
        "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct FromAPageProblem(#[to_schema] ProblemBody<'static>);

/// 426.
#[derive(IntoResponses)]
#[response(
    status = 426,
    description = "The request doesn't ask for a WebSocket of version 13 over HTTP/1.1",
    content_type = "application/problem+json",
    headers(
        ("Upgrade" = String, description = "`websocket`"),
        ("Sec-WebSocket-Version" = String, description = "`13`"),
    ),
    example = json!({
        "type": "urn:highwater:problem:upgrade-required",
        "title": "A WebSocket must be asked for", "status": 426,
        "detail": "ask for a WebSocket of version 13 here, over HTTP/1.1", "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct UpgradeProblem(#[to_schema] ProblemBody<'static>);

/// 409.
#[derive(IntoResponses)]
#[response(
    status = 409,
    description = "A table's rows are not held in memory, or not all of them; or `at_least` is a \
        version of another history: `type` says which",
    content_type = "application/problem+json",
    example = json!({
        "type": "urn:highwater:problem:rows-not-held", "title": "Rows are not held", "status": 409,
        "detail": "the rows of items are not cached; to be served, they need rows = \
            \"lazy\" or \"preload\" in the configuration",
        "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct NoRowsProblem(#[to_schema] ProblemBody<'static>);

/// 429.
#[derive(IntoResponses)]
#[response(
    status = 429,
    description = "The client asks more often than `http.rate_limit` allows",
    headers(("Retry-After" = u32, description = "Seconds until it may ask again")),
    content_type = "application/problem+json",
    example = json!({
        "type": "urn:highwater:problem:too-many-requests", "title": "Too many requests",
        "status": 429, "detail": "more requests than are allowed to one client; ask again later, \
            and use `wait` or /v1/stream rather than asking often", "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct TooManyRequestsProblem(#[to_schema] ProblemBody<'static>);

/// 503.
#[derive(IntoResponses)]
#[response(
    status = 503,
    description = "Not now: not ready, too many streams and sockets, too much that others have not read yet, or rows or a position were not there in time; the detail says why",
    content_type = "application/problem+json",
    headers(("Retry-After" = u32, description = "Seconds until asking again makes sense")),
    example = json!({
        "type": "urn:highwater:problem:not-ready", "title": "Not ready", "status": 503,
        "detail": "not connected to PostgreSQL: connecting for the first time", "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct NotReadyProblem(#[to_schema] ProblemBody<'static>);

/// 500.
#[derive(IntoResponses)]
#[response(
    status = 500,
    description = "A mistake of the service; its log has more under the request's id",
    content_type = "application/problem+json",
    example = json!({
        "type": "urn:highwater:problem:internal", "title": "Internal error", "status": 500,
        "detail": "the request could not be answered because of a mistake in the service",
        "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct InternalProblem(#[to_schema] ProblemBody<'static>);
