//! Errors as clients see them: RFC 9457 problem details.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use super::problem_type::{ProblemDefinition, ProblemType};

/// The media type of every error body.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Table names listed when one is unknown; the text says how many more there are.
const KNOWN_TABLES_LISTED_MAX: usize = 50;

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
