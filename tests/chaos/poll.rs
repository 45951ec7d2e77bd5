//! Responses of a service, and what their absence means.

use serde_json::Value;

use super::instance::Instance;

/// Why there is no usable response.
#[derive(Debug)]
pub(crate) enum FetchError {
    /// No service, a broken connection, or 503: retry.
    Unavailable,
    /// The version belongs to an abandoned timeline: read everything again.
    TimelineMismatch,
    /// The row does not exist.
    RowNotFound,
    /// The response breaks the contract.
    Violation(String),
}

/// The body of `GET /v1/changes`, or a pushed message with the same fields.
#[derive(Debug, Clone)]
pub(crate) struct PollResponse {
    pub(crate) version: String,
    pub(crate) more: bool,
    pub(crate) reset: Vec<String>,
    pub(crate) changes: Vec<PolledChange>,
}

#[derive(Debug, Clone)]
pub(crate) struct PolledChange {
    pub(crate) table: String,
    pub(crate) id: String,
    pub(crate) op: String,
    pub(crate) row: Option<Value>,
}

impl PollResponse {
    /// Reads a response from its JSON.
    pub(crate) fn parse(body: &Value) -> Result<Self, FetchError> {
        Self::from_fields(body)
            .ok_or_else(|| FetchError::Violation(format!("not a list of changes: {body}")))
    }

    fn from_fields(body: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let change = |change: &Value| {
            Some(PolledChange {
                table: text(&change["table"])?,
                id: change["id"].to_string(),
                op: text(&change["op"])?,
                row: change.get("row").cloned(),
            })
        };
        Some(Self {
            version: text(&body["version"])?,
            more: body["more"].as_bool()?,
            reset: body["reset"].as_array()?.iter().map(text).collect::<Option<_>>()?,
            changes: body["changes"].as_array()?.iter().map(change).collect::<Option<_>>()?,
        })
    }
}

/// The part of a version that identifies the timeline.
pub(crate) fn epoch(version: &str) -> &str {
    version.split('-').next().unwrap_or_default()
}

/// Fetches a path; returns its JSON and the version header.
pub(crate) async fn fetch(instance: &Instance, path: &str) -> Result<(Value, String), FetchError> {
    let response = instance.client.get(instance.url() + path).send().await;
    let response = response.map_err(|_| FetchError::Unavailable)?;
    let status = response.status().as_u16();
    let version = response.headers().get("highwater-version");
    let version = version.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let text = response.text().await.map_err(|_| FetchError::Unavailable)?;
    let violation = || FetchError::Violation(format!("{path}: {status} {text}"));
    match status {
        200 => serde_json::from_str(&text).map(|body| (body, version)).map_err(|_| violation()),
        503 => Err(FetchError::Unavailable),
        409 if text.contains("timeline-mismatch") => Err(FetchError::TimelineMismatch),
        404 if text.contains("unknown-row") => Err(FetchError::RowNotFound),
        _ => Err(violation()),
    }
}
