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

/// Table names listed when one is unknown; a longer list says how many it leaves out.
const KNOWN_TABLES_LISTED_MAX: usize = 50;

/// Seconds after which a client should ask again when the service is not ready.
const RETRY_AFTER_SECONDS: u32 = 2;
/// The same when only these rows, or this position, are not there yet.
const RETRY_ROWS_AFTER_SECONDS: u32 = 1;

/// What kind of error it is: a program decides by this, a person reads `detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemType {
    /// A parameter can't be read, is out of range, or isn't offered.
    InvalidParameter,
    /// No such path.
    UnknownRoute,
    /// The table isn't published, or doesn't exist.
    UnknownTable,
    /// No such row.
    UnknownRow,
    /// The table's rows are not in memory, or not all of them are.
    RowsNotHeld,
    /// The rows can't be read at the moment.
    RowsNotNow,
    /// The position waited for was not reached in time.
    NotApplied,
    /// The version belongs to another history than the one being followed.
    OtherHistory,
    /// All rows are being compared with the database already.
    AlreadyVerifying,
    /// Something that web pages must not ask for.
    FromAPage,
    /// The path exists, the method doesn't.
    MethodNotAllowed,
    /// No token was sent, and one is needed.
    TokenMissing,
    /// The token is not known, or not valid any more.
    TokenRefused,
    /// The token is no operator's.
    OperatorsOnly,
    /// A page of this origin may not open a socket.
    OriginNotAllowed,
    /// The request must ask for a WebSocket.
    UpgradeRequired,
    /// As many clients are pushed to as may be.
    TooManyClients,
    /// Answers that nobody has read yet take all the room there is.
    AnswersFull,
    /// A client asks more often than it may.
    TooManyRequests,
    /// The service can't answer yet, or isn't caught up.
    NotReady,
    /// A mistake of ours; the log has more under the same request id.
    Internal,
}

impl ProblemType {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidParameter => StatusCode::BAD_REQUEST,
            Self::UnknownRoute | Self::UnknownTable | Self::UnknownRow => StatusCode::NOT_FOUND,
            Self::RowsNotHeld | Self::OtherHistory | Self::AlreadyVerifying => StatusCode::CONFLICT,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TokenMissing | Self::TokenRefused => StatusCode::UNAUTHORIZED,
            Self::OriginNotAllowed | Self::FromAPage | Self::OperatorsOnly => StatusCode::FORBIDDEN,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::TooManyClients
            | Self::AnswersFull
            | Self::NotReady
            | Self::RowsNotNow
            | Self::NotApplied => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds until asking again makes sense, where it does.
    fn retry_after(self) -> Option<u32> {
        match self {
            Self::NotReady | Self::TooManyClients | Self::AnswersFull => Some(RETRY_AFTER_SECONDS),
            Self::RowsNotNow | Self::NotApplied => Some(RETRY_ROWS_AFTER_SECONDS),
            _ => None,
        }
    }

    /// What a client has to bring (RFC 6750, 3).
    fn challenge(self) -> Option<&'static str> {
        match self {
            Self::TokenMissing => Some(r#"Bearer realm="highwater""#),
            Self::TokenRefused => Some(r#"Bearer realm="highwater", error="invalid_token""#),
            Self::OperatorsOnly => Some(r#"Bearer realm="highwater", error="insufficient_scope""#),
            _ => None,
        }
    }

    fn uri(self) -> &'static str {
        match self {
            Self::InvalidParameter => "urn:highwater:problem:invalid-parameter",
            Self::UnknownRoute => "urn:highwater:problem:unknown-route",
            Self::UnknownTable => "urn:highwater:problem:unknown-table",
            Self::UnknownRow => "urn:highwater:problem:unknown-row",
            Self::RowsNotHeld => "urn:highwater:problem:rows-not-held",
            Self::RowsNotNow => "urn:highwater:problem:rows-not-now",
            Self::NotApplied => "urn:highwater:problem:not-applied",
            Self::OtherHistory => "urn:highwater:problem:other-history",
            Self::AlreadyVerifying => "urn:highwater:problem:already-verifying",
            Self::FromAPage => "urn:highwater:problem:from-a-page",
            Self::MethodNotAllowed => "urn:highwater:problem:method-not-allowed",
            Self::TokenMissing => "urn:highwater:problem:token-missing",
            Self::TokenRefused => "urn:highwater:problem:token-refused",
            Self::OperatorsOnly => "urn:highwater:problem:operators-only",
            Self::OriginNotAllowed => "urn:highwater:problem:origin-not-allowed",
            Self::UpgradeRequired => "urn:highwater:problem:upgrade-required",
            Self::TooManyRequests => "urn:highwater:problem:too-many-requests",
            Self::TooManyClients => "urn:highwater:problem:too-many-clients",
            Self::AnswersFull => "urn:highwater:problem:answers-full",
            Self::NotReady => "urn:highwater:problem:not-ready",
            Self::Internal => "urn:highwater:problem:internal",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::InvalidParameter => "A parameter is not valid",
            Self::UnknownRoute => "No such path",
            Self::UnknownTable => "No such table",
            Self::UnknownRow => "No such row",
            Self::RowsNotHeld => "Rows are not held",
            Self::RowsNotNow => "Rows can't be read now",
            Self::NotApplied => "Not applied yet",
            Self::OtherHistory => "Another history",
            Self::AlreadyVerifying => "A verification is on its way",
            Self::FromAPage => "Not for web pages",
            Self::MethodNotAllowed => "Method not allowed",
            Self::TokenMissing => "A token is needed",
            Self::TokenRefused => "The token is not valid",
            Self::OperatorsOnly => "For operators only",
            Self::OriginNotAllowed => "Origin not allowed",
            Self::UpgradeRequired => "A WebSocket must be asked for",
            Self::TooManyRequests => "Too many requests",
            Self::TooManyClients => "Too many clients",
            Self::AnswersFull => "No room for the answer",
            Self::NotReady => "Not ready",
            Self::Internal => "Internal error",
        }
    }
}

/// An error on its way to the client.
///
/// As a response it is only a status and headers, with the problem itself in the response's
/// extensions: [`crate::http::middleware::observe`] knows the request's id and writes the body, in one place for
/// handlers, unknown routes and panics alike.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: ProblemType,
    detail: Cow<'static, str>,
    tables: Option<Vec<String>>,
    cause: Option<String>,
    /// Seconds until asking again makes sense, where that depends on the request.
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

    /// The client asks more often than it may; it may again after this long.
    pub(crate) fn too_many_requests(wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u32::MAX);
        let detail = "more requests than are allowed to one client; ask again later, and use `wait` \
                      or /v1/stream rather than asking often";
        Self { retry_after: Some(seconds), ..Self::new(ProblemType::TooManyRequests, detail) }
    }

    /// Nothing is known of the database yet.
    pub(crate) fn not_started() -> Self {
        Self::not_ready("nothing has been read from PostgreSQL yet")
    }

    /// A token that isn't valid, whatever the reason.
    pub(crate) fn token_refused() -> Self {
        Self::new(ProblemType::TokenRefused, "the token is not valid, or not any more")
    }

    /// A mistake of ours: `cause` is for the log only.
    pub(crate) fn internal(cause: String) -> Self {
        let detail = "the request could not be answered because of a mistake in the service";
        Self { cause: Some(cause), ..Self::new(ProblemType::Internal, detail) }
    }

    /// `name` is nobody's name; `known` are the names there are.
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

    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// What happened, where only the log may know.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The body, with the id of the request it answers.
    pub(crate) fn to_json(&self, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            kind: self.kind.uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
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
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        // A cached error made clients of others loop.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after.or(self.kind.retry_after()) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.kind.challenge() {
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
    /// Names the kind of error.
    #[serde(rename = "type")]
    #[schema(example = "urn:highwater:problem:invalid-parameter")]
    kind: &'a str,
    /// The kind of error in words; always the same for one `type`.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What was wrong with this request, and what would be right.
    detail: &'a str,
    /// The request's id: also in the `X-Request-Id` header and in the service's log.
    request_id: &'a str,
    /// With `unknown-table`: names that are known (at most 50).
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<&'a [String]>,
}

/// What a client sent, shortened for showing it back.
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
    fn long_input_is_shown_shortened() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"é".repeat(200)).chars().count(), 101);
    }
}
