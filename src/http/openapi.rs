//! `/openapi.json`: the API's description, generated from the handlers.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::problem::{Problem, ProblemBody};
use super::routes::{Audience, Route};
use super::{changes, health, metrics_page, push, reload, rows, status, verify};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Highwater",
        description = "Tells applications which rows of their PostgreSQL database changed, and \
            serves rows from memory.\n\n\
            Every answer under `/v1` carries `Highwater-Version`; every answer carries \
            `X-Request-Id`. Errors are problem details (RFC 9457), also 404 for other paths and 405 \
            for other methods. `HEAD` works wherever `GET` \
            does, and bodies are compressed by `Accept-Encoding`.\n\n\
            Where `auth.mode` is `token`, a bearer token says which tables may be read; a table that \
            may not be read is as if it were not there. A socket may bring its token among the \
            protocols it offers: `highwater, bearer.TOKEN`."
    ),
    paths(
        changes::changes,
        changes::table_changes,
        push::stream,
        push::socket,
        rows::single::row,
        rows::list::rows,
        rows::whole::store,
        health::live,
        health::ready,
        status::status,
        metrics_page::metrics,
        reload::reload,
        verify::verify,
        openapi,
    ),
    modifiers(&Anywhere, &Tokens),
    tags(
        (name = "changes", description = "What changed since a version"),
        (name = "push", description = "The same without asking again"),
        (name = "rows", description = "The rows themselves, of tables whose rows are held in memory"),
        (name = "operations", description = "For those who run the service; on a listener of \
            their own where `http.admin_listen` is set"),
    )
)]
struct Document;

/// What may happen on every route of the API, before its handler is reached.
struct Anywhere;

impl Modify for Anywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for route in Route::API {
            let path = document.paths.paths.get_mut(route.pattern());
            if let Some(operation) = path.and_then(|path| path.get.as_mut()) {
                operation.responses.responses.extend(TooManyRequestsProblem::responses());
            }
        }
    }
}

/// Adds what every route of one audience has in common.
struct Tokens;

/// The name of the way tokens are sent.
const BEARER: &str = "bearer";

impl Modify for Tokens {
    fn modify(&self, document: &mut Description) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A static token, or a JWT"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
        for route in [&Route::API[..], &Route::ADMIN].concat() {
            let Some(path) = document.paths.paths.get_mut(route.pattern()) else { continue };
            for operation in [&mut path.get, &mut path.post].into_iter().flatten() {
                guard(operation, route.audience());
            }
        }
    }
}

fn guard(operation: &mut Operation, audience: Audience) {
    if audience == Audience::Everybody {
        return;
    }
    // None is needed where nobody is asked.
    let token = SecurityRequirement::new(BEARER, [] as [&str; 0]);
    operation.security = Some(vec![token, SecurityRequirement::default()]);
    let mut answers: Vec<_> = TokenProblem::responses().into_iter().collect();
    if audience == Audience::Operators {
        answers.extend(OperatorsProblem::responses());
    }
    for (status, answer) in answers {
        operation.responses.responses.entry(status).or_insert(answer);
    }
}

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

/// The document, made once.
static JSON: LazyLock<Result<Bytes, String>> = LazyLock::new(|| {
    Document::openapi().to_json().map(Bytes::from).map_err(|error| error.to_string())
});

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses(
        (status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value),
        InternalProblem,
    )
)]
pub(crate) async fn openapi() -> Result<Response, Problem> {
    let json = JSON.clone().map_err(Problem::internal)?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, json).into_response())
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
struct TokenProblem(#[to_schema] ProblemBody<'static>);

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
struct OperatorsProblem(#[to_schema] ProblemBody<'static>);

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
        "detail": "the rows of items are not held in memory; to be served, they need rows = \
            \"lazy\" or \"preload\" in the configuration",
        "request_id": "d5e1",
    })
)]
#[expect(dead_code, reason = "only the schema")]
pub(crate) struct NoRowsProblem(#[to_schema] ProblemBody<'static>);

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
