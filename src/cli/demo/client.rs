//! An ordinary client: it polls over HTTP, and its only state is the version of the last response.

use std::time::Duration;

use serde::Deserialize;

/// Limit for a response beyond the poll's own wait.
const GRACE: Duration = Duration::from_secs(10);

/// The response to a poll.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PollResponse {
    /// The position up to which the client now knows all changes.
    pub(crate) version: String,
    /// Whether further changes are available at once, from `version` on.
    pub(crate) more: bool,
    /// Tables that the client has to read again in full.
    pub(crate) reset: Vec<String>,
    /// Changed rows.
    pub(crate) changes: Vec<PolledChange>,
}

impl PollResponse {
    /// Whether it reports neither changes nor resets.
    pub(crate) fn is_empty(&self) -> bool {
        self.reset.is_empty() && self.changes.is_empty()
    }
}

/// A changed row.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PolledChange {
    pub(crate) table: String,
    /// A JSON scalar, or an array for a key of several columns.
    pub(crate) id: serde_json::Value,
    /// `insert`, `update` or `delete`.
    pub(crate) op: String,
}

/// A client of one service, without authentication.
pub(crate) struct PollingClient {
    http: reqwest::Client,
    changes: String,
    /// The version of the last response, sent as `after`; `None` before the first one.
    version: Option<String>,
}

impl PollingClient {
    /// A client of the service at `base`, such as `http://127.0.0.1:8080`.
    pub(crate) fn new(base: &str) -> reqwest::Result<Self> {
        // reqwest requires a TLS provider even for plain HTTP; an error means that one is installed
        // already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The service is on this machine: the environment's proxies do not apply.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, changes: format!("{base}/v1/changes"), version: None })
    }

    /// Requests the changes since the last response; the service waits up to `wait` for some.
    pub(crate) async fn poll(&mut self, wait: Duration) -> reqwest::Result<PollResponse> {
        let mut query = vec![("wait", format!("{}ms", wait.as_millis()))];
        if let Some(version) = &self.version {
            query.push(("after", version.clone()));
        }
        let request = self.http.get(&self.changes).query(&query).timeout(wait + GRACE);
        let response: PollResponse = request.send().await?.error_for_status()?.json().await?;
        self.version = Some(response.version.clone());
        Ok(response)
    }
}
