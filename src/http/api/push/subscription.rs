//! What one client is told next, and when.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use crate::http::access::Principal;
use crate::http::api::poll;
use crate::http::api::state::AppState;
use crate::http::params::RowFilter;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::problem::Problem;
use crate::http::response::response_cache::ResponseKey;
use crate::store::ResourceSelection;
use crate::version::Version;

/// What a client asks to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionParams {
    /// Table names as sent; `None`: every published table.
    pub(crate) tables: Option<Vec<String>>,
    /// What the client knows; `None`: nothing.
    pub(crate) after: Option<Version>,
    /// Changes in one answer at most.
    pub(crate) limit: usize,
    /// Whether each change carries its version and time.
    pub(crate) detail: bool,
    /// Whether each insert and update carries its row.
    pub(crate) rows: bool,
    /// Which rows it is about.
    pub(crate) narrowing: RowFilter,
}

/// A client's question and how far it was answered.
pub(crate) struct Subscription {
    api: AppState,
    caller: Principal,
    /// With the version told last as `after`.
    wanted: SubscriptionParams,
    /// When the client is told the version of now, if it is told nothing else.
    progress_at: Instant,
}

impl Subscription {
    /// Refuses tables that aren't there.
    pub(crate) fn new(
        api: AppState,
        caller: Principal,
        wanted: SubscriptionParams,
    ) -> Result<Self, Problem> {
        poll::resolve(&api, &caller, wanted.tables.as_deref(), wanted.rows, &wanted.narrowing)?;
        let progress_at = Instant::now() + api.push().options().progress_interval;
        Ok(Self { api, caller, wanted, progress_at })
    }

    /// The next answer, as soon as it tells something; `None` once the store is closed. Cancel safe:
    /// what was not returned was not told.
    pub(crate) async fn answer(&mut self) -> Result<Option<Arc<EncodedResponse>>, Problem> {
        let mut overdue = false;
        loop {
            let question = self.question()?;
            let told = self.api.answer(&question).await?;
            let moved = question.after != Some(told.version);
            if told.is_news() || question.after.is_none() || (overdue && moved) {
                self.told(told.version);
                return Ok(Some(told));
            }
            if self.api.store().is_closed() {
                return Ok(None);
            }
            let since = told.version;
            // What says nothing is not kept for as long as nothing happens.
            drop(told);
            overdue = !self.wait(&question.tables, since).await;
        }
    }

    /// The version to read up to, as soon as there are changes before it; `None` once the store is
    /// closed. Cancel safe.
    pub(crate) async fn version(&mut self) -> Result<Option<Version>, Problem> {
        loop {
            let tables = self.tables()?;
            if let Some(after) = self.wanted.after {
                self.wait(&tables, after).await;
            }
            if self.api.store().is_closed() {
                return Ok(None);
            }
            let version = self.api.applied()?;
            // A version from ahead of this instance stays the client's until it is overtaken.
            let place = self.wanted.after.and_then(|after| self.api.store().position_of(after));
            if place.is_none_or(|place| place < version.position) {
                self.told(version);
                return Ok(Some(version));
            }
        }
    }

    fn question(&self) -> Result<ResponseKey, Problem> {
        let tables = self.tables()?;
        let SubscriptionParams { after, limit, detail, rows, .. } = self.wanted;
        Ok(ResponseKey { tables, after, limit, detail, rows })
    }

    fn tables(&self) -> Result<ResourceSelection, Problem> {
        let SubscriptionParams { tables, rows, narrowing, .. } = &self.wanted;
        poll::resolve(&self.api, &self.caller, tables.as_deref(), *rows, narrowing)
    }

    fn told(&mut self, version: Version) {
        self.wanted.after = Some(version);
        self.put_off_progress();
    }

    fn put_off_progress(&mut self) {
        self.progress_at = Instant::now() + self.api.push().options().progress_interval;
    }

    /// Waits for news, or for the end of the caller's token; `false` when there was none and it is
    /// time to tell the version of now.
    async fn wait(&mut self, tables: &ResourceSelection, since: Version) -> bool {
        let news = async {
            tokio::select! {
                () = self.api.wait_for_news(tables, since) => {}
                () = self.caller.ended() => {}
            }
        };
        let came = timeout_at(self.progress_at, news).await.is_ok();
        if !came {
            self.put_off_progress();
        }
        came
    }
}
