//! The state that all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::http::access::Principal;
use crate::http::api::push::PushClients;
use crate::http::console::Console;
use crate::http::options::HttpOptions;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::problem::{Problem, ProblemType};
use crate::http::response::response_budget::{BudgetPermit, ResponseBudget};
use crate::http::response::response_cache::{ResponseCache, ResponseKey};
use crate::metrics::{Metrics, Registry};
use crate::source_status::{Phase, SourceStatus};
use crate::store::{ResourceSelection, Store};
use crate::version::Version;

/// Responses with whole tables that may be in progress at once. A slow reader retains the rows as
/// they were when it began, so there must be a limit; at it, further requests get 503.
const STORE_DUMPS_MAX: usize = 64;
/// A server that has not responded for this long may be dead, and another one promoted. One that is
/// alive is queried every second.
pub(crate) const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// Handles to everything the handlers need. Cloning shares them.
#[derive(Clone)]
pub(crate) struct AppState(Arc<AppStateInner>);

struct AppStateInner {
    store: Store,
    source: watch::Receiver<SourceStatus>,
    registry: Registry,
    polls: PollCounts,
    store_dumps: Arc<Semaphore>,
    waiters: IntGauge,
    wait_max: Duration,
    ahead_wait_max: Duration,
    coalesce_interval: Duration,
    responses: ResponseCache,
    budget: ResponseBudget,
    push: PushClients,
    console: Console,
    /// The OpenAPI document as JSON.
    openapi: Bytes,
    /// `SourceStatus::was_ready` once it was true: it stays true, so polls need not take the
    /// watch channel's lock to check it.
    was_ready: AtomicBool,
}

/// `polls_total`, by outcome.
pub(crate) struct PollCounts {
    pub(crate) changes: IntCounter,
    pub(crate) empty: IntCounter,
    pub(crate) reset: IntCounter,
    pub(crate) not_modified: IntCounter,
}

impl AppState {
    pub(crate) fn new(
        store: Store,
        source: watch::Receiver<SourceStatus>,
        metrics: &Metrics,
        options: &HttpOptions,
        openapi: Bytes,
    ) -> Self {
        let outcome = |outcome| metrics.polls.with_label_values(&[outcome]);
        let budget = ResponseBudget::new(options.max_buffered_response_bytes);
        Self(Arc::new(AppStateInner {
            store,
            source,
            registry: metrics.registry.clone(),
            polls: PollCounts {
                changes: outcome("changes"),
                empty: outcome("empty"),
                reset: outcome("reset"),
                not_modified: outcome("not_modified"),
            },
            store_dumps: Arc::new(Semaphore::new(STORE_DUMPS_MAX)),
            waiters: metrics.poll_waiters.clone(),
            wait_max: options.wait_max,
            ahead_wait_max: options.ahead_wait_max,
            coalesce_interval: options.coalesce_interval,
            responses: ResponseCache::new(budget.clone()),
            budget,
            push: PushClients::new(&options.push, &options.cors_origins, metrics),
            console: Console::new(options.console_head),
            openapi,
            was_ready: AtomicBool::new(false),
        }))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn console(&self) -> &Console {
        &self.0.console
    }

    pub(crate) fn openapi(&self) -> Bytes {
        self.0.openapi.clone()
    }

    pub(crate) fn polls(&self) -> &PollCounts {
        &self.0.polls
    }

    /// A permit for one response with whole tables; 503 when all [`STORE_DUMPS_MAX`] are taken.
    pub(crate) fn store_dump_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0.store_dumps.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                ProblemType::RowsUnavailable,
                format!("{STORE_DUMPS_MAX} clients are already reading whole tables: retry later"),
            )
        })
    }

    /// Reserves a response's bytes in the budget until its client has read it.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<BudgetPermit, Problem> {
        self.0.budget.reserve(bytes)
    }

    pub(crate) fn wait_max(&self) -> Duration {
        self.0.wait_max
    }

    pub(crate) fn ahead_wait_max(&self) -> Duration {
        self.0.ahead_wait_max
    }

    pub(crate) fn push(&self) -> &PushClients {
        &self.0.push
    }

    /// The response to a request for changes, shared by all concurrent requests with this key.
    pub(crate) async fn response(
        &self,
        key: &ResponseKey,
    ) -> Result<Arc<EncodedResponse>, Problem> {
        self.0.responses.response(&self.0.store, key).await
    }

    /// The applied version; 503 before the stream first begins.
    pub(crate) fn applied(&self) -> Result<Version, Problem> {
        self.0.store.applied().ok_or_else(Problem::not_started)
    }

    /// Waits for changes of these tables, and then for `http.coalesce_interval`, so that several
    /// commits share one response. Returns at once when the store is closed. Cancel safe.
    pub(crate) async fn wait_for_news(&self, tables: &ResourceSelection, after: Version) {
        let store = &self.0.store;
        store.wait_for_change(tables, after).await;
        if !self.0.coalesce_interval.is_zero() && !store.is_closed() {
            tokio::time::sleep(self.0.coalesce_interval).await;
        }
    }

    /// The source's status as last published.
    pub(crate) fn source(&self) -> SourceStatus {
        self.0.source.borrow().clone()
    }

    /// How long the server has been silent, where cached rows may be stale because the change stream
    /// is down; `None` while it is up, `Duration::MAX` before the first message.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let source = self.0.source.borrow();
        let streams = source.phase == Phase::Streaming;
        (!streams).then(|| source.last_message.map_or(Duration::MAX, |at| at.elapsed()))
    }

    /// Waits until the change stream is connected and has caught up, and its server has responded within
    /// [`SEEN_WITHIN`]. Cancel safe.
    ///
    /// A dead server looks connected until the stream's timeout, which is many seconds, since a healthy
    /// server may be silent as long during a large transaction. So while it is silent, a refresh of the
    /// catalog is requested, which uses another connection and gets its response at once or not at all.
    pub(crate) async fn wait_for_stream(&self) {
        let is_there = |source: &SourceStatus| {
            let seen = source.last_seen;
            source.phase == Phase::Streaming && seen.is_none_or(|at| at.elapsed() < SEEN_WITHIN)
        };
        let mut source = self.0.source.clone();
        while !is_there(&source.borrow_and_update()) {
            self.0.store.request_catalog_refresh();
            // Without a session that publishes its status there is nothing more to wait for.
            if source.changed().await.is_err() {
                return;
            }
        }
    }

    /// Rejects polls until the service has caught up once. After that they are answered also while
    /// the source is down: what is in memory remains true.
    pub(crate) fn require_was_ready(&self, caller: &Principal) -> Result<(), Problem> {
        if self.0.was_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let source = self.0.source.borrow();
        if !source.was_ready {
            return Err(Problem::not_ready(reason(&source.phase, caller)));
        }
        self.0.was_ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a held poll for as long as the guard lives; a client that disconnects drops it.
    pub(crate) fn count_waiter(&self) -> WaiterGuard {
        self.0.waiters.inc();
        WaiterGuard(self.0.waiters.clone())
    }
}

/// One held poll.
pub(crate) struct WaiterGuard(IntGauge);

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why the stream is not ready, as one sentence. Callers without an admin token get no host names and
/// no messages of the server.
pub(crate) fn reason(phase: &Phase, caller: &Principal) -> String {
    match phase {
        Phase::Disconnected(_) if !caller.is_admin() => "not connected to PostgreSQL".into(),
        Phase::Standby(_) if !caller.is_admin() => "standing by".into(),
        Phase::Disconnected(why) => format!("not connected to PostgreSQL: {why}"),
        Phase::Standby(why) => format!("standing by: {why}"),
        Phase::CatchingUp => "catching up with what was committed before the connection".into(),
        Phase::Streaming => "streaming".into(),
    }
}
