//! What a service says, and what it means when it doesn't.

use serde_json::Value;

use super::instance::Instance;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum PollTrouble {
    /// Nobody there, a broken connection, "not now": ask again.
    Later,
    /// The version is of a history that is no more: read everything again.
    OtherHistory,
    /// There is no such row.
    Absent,
    /// It must not be.
    Wrong(String),
}

/// An answer of §3.1.
#[derive(Debug, Clone)]
pub(crate) struct PollAnswer {
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

impl PollAnswer {
    /// Reads it from JSON.
    pub(crate) fn read(body: &Value) -> Result<Self, PollTrouble> {
        Self::parts(body).ok_or_else(|| PollTrouble::Wrong(format!("no answer: {body}")))
    }

    fn parts(body: &Value) -> Option<Self> {
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

/// The part of a version that names the history.
pub(crate) fn epoch(version: &str) -> &str {
    version.split('-').next().unwrap_or_default()
}

/// Fetches a path: its JSON, and the version of the answer.
pub(crate) async fn fetch(instance: &Instance, path: &str) -> Result<(Value, String), PollTrouble> {
    let response = instance.client.get(instance.url() + path).send().await;
    let response = response.map_err(|_| PollTrouble::Later)?;
    let status = response.status().as_u16();
    let version = response.headers().get("highwater-version");
    let version = version.and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let text = response.text().await.map_err(|_| PollTrouble::Later)?;
    let wrong = || PollTrouble::Wrong(format!("{path}: {status} {text}"));
    match status {
        200 => serde_json::from_str(&text).map(|body| (body, version)).map_err(|_| wrong()),
        503 => Err(PollTrouble::Later),
        409 if text.contains("other-history") => Err(PollTrouble::OtherHistory),
        404 if text.contains("unknown-row") => Err(PollTrouble::Absent),
        _ => Err(wrong()),
    }
}
