//! A client like any other: it polls over HTTP, and knows nothing but the last version it was given.

use std::time::Duration;

use serde::Deserialize;

/// How much longer than the poll's own wait an answer may take.
const GRACE: Duration = Duration::from_secs(10);

/// An answer to a poll.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Answer {
    /// Where the client is now.
    pub(crate) version: String,
    /// Whether the rest follows from `version`.
    pub(crate) more: bool,
    /// Tables to be read again in full.
    pub(crate) reset: Vec<String>,
    /// Rows that changed.
    pub(crate) changes: Vec<Change>,
}

impl Answer {
    /// Whether it tells of anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.reset.is_empty() && self.changes.is_empty()
    }
}

/// A row that changed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Change {
    /// Its table.
    pub(crate) table: String,
    /// Its id: a JSON scalar, or an array where the key has several columns.
    pub(crate) id: serde_json::Value,
    /// `insert`, `update` or `delete`.
    pub(crate) op: String,
}

/// Polls one service.
pub(crate) struct PollingClient {
    http: reqwest::Client,
    changes: String,
    /// The version of the last answer, sent back as `after`.
    version: Option<String>,
}

impl PollingClient {
    /// A client of the service at `base`, like `http://127.0.0.1:8080`, without a version yet.
    pub(crate) fn new(base: &str) -> reqwest::Result<Self> {
        // reqwest wants a TLS provider to exist even though this is plain HTTP; an error says
        // that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The service is on this machine, whatever proxies the environment names.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, changes: format!("{base}/v1/changes"), version: None })
    }

    /// Asks what changed since the last answer, and lets the service wait this long for it.
    pub(crate) async fn poll(&mut self, wait: Duration) -> reqwest::Result<Answer> {
        let mut query = vec![("wait", format!("{}ms", wait.as_millis()))];
        if let Some(version) = &self.version {
            query.push(("after", version.clone()));
        }
        let request = self.http.get(&self.changes).query(&query).timeout(wait + GRACE);
        let answer: Answer = request.send().await?.error_for_status()?.json().await?;
        self.version = Some(answer.version.clone());
        Ok(answer)
    }
}
