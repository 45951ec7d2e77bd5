//! Errors as clients see them: RFC 9457 problem details.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of every error body.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Table names listed when one is unknown; the text says how many more there are.
const KNOWN_TABLES_LISTED_MAX: usize = 50;

/// `Retry-After` when the service is not ready or has no capacity, in seconds.
const RETRY_AFTER_SECONDS: u32 = 2;
/// `Retry-After` when only certain rows, or a position, are not there yet, in seconds.
const RETRY_ROWS_AFTER_SECONDS: u32 = 1;

/// The type of a problem: programs decide by it, people read `detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemType {
    InvalidParameter,
    MissingToken,
    InvalidToken,
    AdminRequired,
    OriginNotAllowed,
    CrossOriginForbidden,
    UnknownRoute,
    UnknownTable,
    UnknownRow,
    MethodNotAllowed,
    RowsNotCached,
    TimelineMismatch,
    AlreadyVerifying,
    UpgradeRequired,
    TooManyRequests,
    Internal,
    NotReady,
    PositionTimeout,
    RowsUnavailable,
    ResponseBudgetExhausted,
    TooManyClients,
}

/// What all problems of one type share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProblemDefinition {
    /// The last part of the type's URN.
    pub(crate) name: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    /// When it happens, as the reference says it.
    pub(crate) meaning: &'static str,
    /// What a client does about it, likewise.
    pub(crate) remedy: &'static str,
    /// Seconds until a retry makes sense, where it does.
    pub(crate) retry_after: Option<u32>,
    /// What a client has to bring (RFC 6750, 3).
    pub(crate) challenge: Option<&'static str>,
}

impl ProblemDefinition {
    const fn new(
        name: &'static str,
        status: StatusCode,
        title: &'static str,
        meaning: &'static str,
        remedy: &'static str,
    ) -> Self {
        Self { name, status, title, meaning, remedy, retry_after: None, challenge: None }
    }

    const fn retried_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    const fn challenging(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// The value of `type`.
    pub(crate) fn urn(&self) -> String {
        format!("urn:highwater:problem:{}", self.name)
    }
}

impl ProblemType {
    /// Every type, ordered by status.
    pub(crate) const ALL: [Self; 21] = [
        Self::InvalidParameter,
        Self::MissingToken,
        Self::InvalidToken,
        Self::AdminRequired,
        Self::OriginNotAllowed,
        Self::CrossOriginForbidden,
        Self::UnknownRoute,
        Self::UnknownTable,
        Self::UnknownRow,
        Self::MethodNotAllowed,
        Self::RowsNotCached,
        Self::TimelineMismatch,
        Self::AlreadyVerifying,
        Self::UpgradeRequired,
        Self::TooManyRequests,
        Self::Internal,
        Self::NotReady,
        Self::PositionTimeout,
        Self::RowsUnavailable,
        Self::ResponseBudgetExhausted,
        Self::TooManyClients,
    ];

    #[expect(clippy::too_many_lines, reason = "a table: one entry for each type")]
    pub(crate) const fn definition(self) -> ProblemDefinition {
        use ProblemDefinition as Definition;
        match self {
            Self::InvalidParameter => Definition::new(
                "invalid-parameter",
                StatusCode::BAD_REQUEST,
                "A parameter is not valid",
                "A parameter is malformed, unknown, given twice or out of range.",
                "Fix the request: `detail` names the parameter and what it accepts.",
            ),
            Self::MissingToken => Definition::new(
                "missing-token",
                StatusCode::UNAUTHORIZED,
                "A token is required",
                "`auth.mode` is `token` and the request carries no token.",
                "Send `Authorization: Bearer TOKEN`; in a browser's WebSocket, the subprotocols \
                 `highwater, bearer.TOKEN`.",
            )
            .challenging(r#"Bearer realm="highwater""#),
            Self::InvalidToken => Definition::new(
                "invalid-token",
                StatusCode::UNAUTHORIZED,
                "The token is not valid",
                "The token is unknown, malformed, expired or signed with an unknown key. A request \
                 that waits ends with it as soon as its token expires.",
                "Get a new token. Every reason has the same response; the log has the reason at \
                 level `debug`.",
            )
            .challenging(r#"Bearer realm="highwater", error="invalid_token""#),
            Self::AdminRequired => Definition::new(
                "admin-required",
                StatusCode::FORBIDDEN,
                "An admin token is required",
                "The token is valid, and the endpoint needs one with `admin = true`.",
                "Use an admin token, or the admin listener (`http.admin_listen`).",
            )
            .challenging(r#"Bearer realm="highwater", error="insufficient_scope""#),
            Self::OriginNotAllowed => Definition::new(
                "origin-not-allowed",
                StatusCode::FORBIDDEN,
                "Origin not allowed",
                "A web page of another origin opened a WebSocket.",
                "Add the page's origin to `http.cors_origins`.",
            ),
            Self::CrossOriginForbidden => Definition::new(
                "cross-origin-forbidden",
                StatusCode::FORBIDDEN,
                "Not available to web pages",
                "The request has an `Origin` header and would change something.",
                "Send it from a program, as `curl -X POST` does.",
            ),
            Self::UnknownRoute => Definition::new(
                "unknown-route",
                StatusCode::NOT_FOUND,
                "No such path",
                "There is no endpoint at this path, or it is on the other listener.",
                "`/openapi.json` lists the endpoints; `http.admin_listen` moves those of operators.",
            ),
            Self::UnknownTable => Definition::new(
                "unknown-table",
                StatusCode::NOT_FOUND,
                "No such table",
                "The table is not published, or the token does not grant it: the two are not \
                 distinguished.",
                "`tables` lists up to 50 tables that the caller may read.",
            ),
            Self::UnknownRow => Definition::new(
                "unknown-row",
                StatusCode::NOT_FOUND,
                "No such row",
                "The table has no row with this id, or none that the caller may see.",
                "Treat the row as absent as of `Highwater-Version`.",
            ),
            Self::MethodNotAllowed => Definition::new(
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "The path exists and does not support the method.",
                "`Allow` lists the supported methods.",
            ),
            Self::RowsNotCached => Definition::new(
                "rows-not-cached",
                StatusCode::CONFLICT,
                "Rows are not cached",
                "The table's rows are not cached, can't be cached, or are not preloaded where all \
                 of them are requested.",
                "Set `tables.NAME.rows` to `lazy` or `preload`; `detail` says which one is needed \
                 or why the rows can't be cached.",
            ),
            Self::TimelineMismatch => Definition::new(
                "timeline-mismatch",
                StatusCode::CONFLICT,
                "Version of another timeline",
                "`at_least` is a version of another epoch: the database was restored, promoted or \
                 replaced since, or it is another database.",
                "Drop the version and read again without `at_least`.",
            ),
            Self::AlreadyVerifying => Definition::new(
                "already-verifying",
                StatusCode::CONFLICT,
                "A verification is already running",
                "Another `POST /admin/verify` is still comparing rows.",
                "Retry when it has finished.",
            ),
            Self::UpgradeRequired => Definition::new(
                "upgrade-required",
                StatusCode::UPGRADE_REQUIRED,
                "A WebSocket upgrade is required",
                "The request is no WebSocket handshake of version 13 over HTTP/1.1.",
                "Use a WebSocket client. A proxy in between has to forward the `Connection` and \
                 `Upgrade` headers.",
            ),
            Self::TooManyRequests => Definition::new(
                "too-many-requests",
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
                "The client exceeds `http.rate_limit`.",
                "Wait for `Retry-After`; use `wait` or `/v1/stream` instead of polling often.",
            ),
            Self::Internal => Definition::new(
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                "A defect of the service.",
                "The log has the cause under the request's id; please report it.",
            ),
            Self::NotReady => Definition::new(
                "not-ready",
                StatusCode::SERVICE_UNAVAILABLE,
                "Not ready",
                "The service has not caught up with the database yet, or is shutting down.",
                "Retry after `Retry-After`.",
            )
            .retried_after(RETRY_AFTER_SECONDS),
            Self::PositionTimeout => Definition::new(
                "position-timeout",
                StatusCode::SERVICE_UNAVAILABLE,
                "Position not reached in time",
                "The position in `at_least` was not applied within `wait`.",
                "Retry, wait longer with `wait`, or read from the database.",
            )
            .retried_after(RETRY_ROWS_AFTER_SECONDS),
            Self::RowsUnavailable => Definition::new(
                "rows-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Rows are temporarily unavailable",
                "The rows are not in memory and could not be read from the database within \
                 `wait`, or too many requests read whole tables.",
                "Retry after `Retry-After`; `detail` has the reason.",
            )
            .retried_after(RETRY_ROWS_AFTER_SECONDS),
            Self::ResponseBudgetExhausted => Definition::new(
                "response-budget-exhausted",
                StatusCode::SERVICE_UNAVAILABLE,
                "Response budget exhausted",
                "Responses that clients have not read yet fill \
                 `http.max_buffered_response_bytes`.",
                "Retry after `Retry-After`, or request less: a smaller `limit`, fewer ids.",
            )
            .retried_after(RETRY_AFTER_SECONDS),
            Self::TooManyClients => Definition::new(
                "too-many-clients",
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many push clients",
                "`http.max_push_clients` streams and WebSockets are open.",
                "Poll instead, or retry later.",
            )
            .retried_after(RETRY_AFTER_SECONDS),
        }
    }
}

/// An error on its way to the client.
///
/// As a response it is a status and headers, with the problem itself in the response's extensions:
/// [`observe`](crate::http::middleware::observe) knows the request's id and writes the body, in one
/// place for handlers, unknown routes and panics alike.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: ProblemType,
    detail: Cow<'static, str>,
    tables: Option<Vec<String>>,
    cause: Option<String>,
    /// Seconds until a retry makes sense, where that depends on the request.
    retry_after: Option<u32>,
}

impl Problem {
    pub(crate) fn new(kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), tables: None, cause: None, retry_after: None }
    }

    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemType::InvalidParameter, detail)
    }

    pub(crate) fn not_ready(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemType::NotReady, reason)
    }

    /// The client exceeds its rate limit for another `wait`.
    pub(crate) fn too_many_requests(wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u32::MAX);
        let detail = "the client exceeds the rate limit; retry later, and use `wait` or /v1/stream \
                      instead of polling often";
        Self { retry_after: Some(seconds), ..Self::new(ProblemType::TooManyRequests, detail) }
    }

    /// The stream has not begun, so there is no version yet.
    pub(crate) fn not_started() -> Self {
        Self::not_ready("nothing has been read from PostgreSQL yet")
    }

    /// One text for every reason: the reason would help to guess tokens.
    pub(crate) fn invalid_token() -> Self {
        Self::new(ProblemType::InvalidToken, "the token is not valid or has expired")
    }

    /// A defect of the service: `cause` is for the log only.
    pub(crate) fn internal(cause: String) -> Self {
        let detail = "the request failed because of a defect in the service; its log has more \
                      under this request's id";
        Self { cause: Some(cause), ..Self::new(ProblemType::Internal, detail) }
    }

    /// `name` names no table that the caller may read; `known` are those that do.
    pub(crate) fn unknown_table(name: &str, known: &[&str]) -> Self {
        let listed = known.get(..KNOWN_TABLES_LISTED_MAX).unwrap_or(known);
        let left_out = known.len() - listed.len();
        let mut detail = format!("there is no published table \"{}\"; ", shown(name));
        if known.is_empty() {
            detail.push_str("the publication has no tables");
        } else {
            detail.push_str("the published tables are ");
            detail.push_str(&listed.join(", "));
        }
        if left_out > 0 {
            // Writing to a string can't fail.
            let _ = write!(detail, " and {left_out} more");
        }
        let tables = listed.iter().map(|&name| name.to_owned()).collect();
        Self { tables: Some(tables), ..Self::new(ProblemType::UnknownTable, detail) }
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The cause of an internal error, for the log only.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The body, with the id of the request it answers.
    pub(crate) fn to_json(&self, request_id: &str) -> Vec<u8> {
        let definition = self.kind.definition();
        let body = ProblemBody {
            kind: definition.urn(),
            title: definition.title,
            status: definition.status.as_u16(),
            detail: &self.detail,
            request_id,
            tables: self.tables.as_deref(),
        };
        // Strings and a number: serialising them can't fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let definition = self.kind.definition();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = definition.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        // A proxy that stores an error would repeat it to clients it was not meant for.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after.or(definition.retry_after) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = definition.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.kind == ProblemType::UpgradeRequired {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The JSON form, and its schema in the OpenAPI document.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, title = "Problem", description = "An error (RFC 9457).")]
pub(crate) struct ProblemBody<'a> {
    /// Identifies the type of error.
    #[serde(rename = "type")]
    #[schema(schema_with = super::problem_schema::type_schema)]
    kind: String,
    /// The type of error in words; always the same for one `type`.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What was wrong with this request, and what would be right.
    detail: &'a str,
    /// The request's id: also in the `X-Request-Id` header and in the service's log.
    request_id: &'a str,
    /// With `unknown-table`: tables that the caller may read, at most 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    tables: Option<&'a [String]>,
}

/// A client's text, shortened for an error message.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    const SHOWN_CHARS_MAX: usize = 100;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_distinct_and_ordered_by_status() {
        let all = ProblemType::ALL.map(ProblemType::definition);
        assert!(all.is_sorted_by_key(|definition| definition.status));
        for (place, one) in all.iter().enumerate() {
            let others = all.iter().skip(place + 1);
            assert!(!others.into_iter().any(|o| o.name == one.name || o.title == one.title));
        }
    }

    #[test]
    fn an_unknown_table_lists_a_bounded_number_of_known_ones() {
        let names: Vec<String> = (0..60).map(|n| format!("t{n}")).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let body = Problem::unknown_table("x", &known).to_json("id");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["tables"].as_array().unwrap().len(), KNOWN_TABLES_LISTED_MAX);
        assert!(body["detail"].as_str().unwrap().ends_with("t49 and 10 more"));
        assert_eq!(body["status"], 404);
        assert_eq!(body["request_id"], "id");
    }

    #[test]
    fn long_input_is_shortened() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"é".repeat(200)).chars().count(), 101);
    }
}
