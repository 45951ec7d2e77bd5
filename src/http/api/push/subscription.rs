//! The sequence of responses that one push client receives.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use crate::http::access::Principal;
use crate::http::api::poll;
use crate::http::api::state::AppState;
use crate::http::params::ChangesRequest;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::problem::Problem;
use crate::http::response::response_cache::ResponseKey;
use crate::store::ResourceSelection;
use crate::version::Version;

/// A client's request and the version up to which it was answered.
pub(crate) struct Subscription {
    api: AppState,
    caller: Principal,
    /// With the version sent last as `after`.
    request: ChangesRequest,
    /// When the client is sent the current version, if it is sent nothing else before.
    progress_at: Instant,
}

impl Subscription {
    /// A subscription to tables that the caller may read; a problem where it names others.
    pub(crate) fn new(
        api: AppState,
        caller: Principal,
        request: ChangesRequest,
    ) -> Result<Self, Problem> {
        poll::resolve(&api, &caller, &request)?;
        let progress_at = Instant::now() + api.push().options().progress_interval;
        Ok(Self { api, caller, request, progress_at })
    }

    /// The next response with something to report; `None` once the store is closed. Cancel safe: a
    /// response that was not returned does not count as sent.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<EncodedResponse>>, Problem> {
        let mut progress_due = false;
        loop {
            let key = self.key()?;
            let response = self.api.response(&key).await?;
            let has_moved = key.after != Some(response.version);
            if response.is_news() || key.after.is_none() || (progress_due && has_moved) {
                self.sent(response.version);
                return Ok(Some(response));
            }
            if self.api.store().is_closed() {
                return Ok(None);
            }
            let since = response.version;
            // An empty response is not worth its memory while the client waits.
            drop(response);
            progress_due = !self.wait(&key.tables, since).await;
        }
    }

    /// The version up to which to poll, as soon as there are changes before it; `None` once the store
    /// is closed. Cancel safe.
    pub(crate) async fn next_version(&mut self) -> Result<Option<Version>, Problem> {
        loop {
            let tables = self.tables()?;
            if let Some(after) = self.request.after {
                self.wait(&tables, after).await;
            }
            if self.api.store().is_closed() {
                return Ok(None);
            }
            let version = self.api.applied()?;
            // A version from ahead of this instance remains the client's until it is overtaken.
            let position = self.request.after.and_then(|after| self.api.store().position_of(after));
            if position.is_none_or(|position| position < version.position) {
                self.sent(version);
                return Ok(Some(version));
            }
        }
    }

    fn key(&self) -> Result<ResponseKey, Problem> {
        let tables = self.tables()?;
        let ChangesRequest { after, limit, detail, include_rows, .. } = self.request;
        Ok(ResponseKey { tables, after, limit, detail, include_rows })
    }

    fn tables(&self) -> Result<ResourceSelection, Problem> {
        poll::resolve(&self.api, &self.caller, &self.request)
    }

    fn sent(&mut self, version: Version) {
        self.request.after = Some(version);
        self.postpone_progress();
    }

    fn postpone_progress(&mut self) {
        self.progress_at = Instant::now() + self.api.push().options().progress_interval;
    }

    /// Waits for changes or the expiry of the caller's token; `false` if there were none until it was
    /// time to send the current version.
    async fn wait(&mut self, tables: &ResourceSelection, since: Version) -> bool {
        let news = async {
            tokio::select! {
                () = self.api.wait_for_news(tables, since) => {}
                () = self.caller.expired() => {}
            }
        };
        let in_time = timeout_at(self.progress_at, news).await.is_ok();
        if !in_time {
            self.postpone_progress();
        }
        in_time
    }
}
