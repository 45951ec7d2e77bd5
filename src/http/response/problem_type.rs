//! The types of problems: name, status, meaning and remedy of each, as clients and the reference see them.

use axum::http::StatusCode;

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
