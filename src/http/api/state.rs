//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

/// Answers with whole tables that may be under way at once. A slow reader keeps the rows as they
/// were when it began, so there must be a limit; beyond it, others are told to come again (503).
const PICTURES_MAX: usize = 64;
/// A server that was not seen for so long may be dead, and another one promoted. One that lives is
/// asked every second.
pub(crate) const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// Handles to everything the handlers need. Cloning shares them.
#[derive(Clone)]
pub(crate) struct AppState(Arc<AppStateInner>);

struct AppStateInner {
    store: Store,
    source: watch::Receiver<SourceStatus>,
    registry: Registry,
    polls: PollCounts,
    pictures: Arc<Semaphore>,
    waiters: IntGauge,
    wait_max: Duration,
    ahead_wait_max: Duration,
    coalesce_interval: Duration,
    answers: ResponseCache,
    room: ResponseBudget,
    push: PushClients,
    console: Console,
    /// `SourceStatus::was_ready` once it was true: it stays true, and polls needn't ask again,
    /// which would take a lock.
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
    ) -> Self {
        let outcome = |outcome| metrics.polls.with_label_values(&[outcome]);
        let room = ResponseBudget::new(options.max_buffered_response_bytes);
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
            pictures: Arc::new(Semaphore::new(PICTURES_MAX)),
            waiters: metrics.poll_waiters.clone(),
            wait_max: options.wait_max,
            ahead_wait_max: options.ahead_wait_max,
            coalesce_interval: options.coalesce_interval,
            answers: ResponseCache::new(room.clone()),
            room,
            push: PushClients::new(&options.push, &options.cors_origins, metrics),
            console: Console::new(options.console_head),
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

    pub(crate) fn polls(&self) -> &PollCounts {
        &self.0.polls
    }

    /// Room for one more answer with whole tables, until the permit is dropped.
    pub(crate) fn room_for_picture(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0.pictures.clone().try_acquire_owned().map_err(|_| {
            Problem::new(
                ProblemType::RowsNotNow,
                format!("{PICTURES_MAX} clients are reading whole tables already: ask again"),
            )
        })
    }

    /// Room for an answer of so many bytes, until its client has read it.
    pub(crate) fn room_for(&self, bytes: usize) -> Result<BudgetPermit, Problem> {
        self.0.room.take(bytes)
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

    /// The answer to a question, from here on shared by all who ask it now.
    pub(crate) async fn answer(
        &self,
        question: &ResponseKey,
    ) -> Result<Arc<EncodedResponse>, Problem> {
        self.0.answers.answer(&self.0.store, question).await
    }

    /// How far everything is applied.
    pub(crate) fn applied(&self) -> Result<Version, Problem> {
        self.0.store.applied().ok_or_else(Problem::not_started)
    }

    /// Waits for news of these tables, and for more to come with them (`coalesce_interval`). Returns as
    /// well once the store is closed. Cancel safe.
    pub(crate) async fn wait_for_news(&self, tables: &ResourceSelection, after: Version) {
        let store = &self.0.store;
        store.wait_for_change(tables, after).await;
        if !self.0.coalesce_interval.is_zero() && !store.is_closed() {
            tokio::time::sleep(self.0.coalesce_interval).await;
        }
    }

    /// How the source is doing, as last published.
    pub(crate) fn source(&self) -> SourceStatus {
        self.0.source.borrow().clone()
    }

    /// Whether what is in memory may be behind because the change stream is away: for how long
    /// the server has been silent; for ever, if it was never heard.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let source = self.0.source.borrow();
        let streams = source.phase == Phase::Streaming;
        (!streams).then(|| source.last_message.map_or(Duration::MAX, |at| at.elapsed()))
    }

    /// Waits until the change stream is connected and has caught up, and its server was seen within
    /// [`SEEN_WITHIN`]. Cancel safe.
    ///
    /// A dead server looks connected until the stream gives it up, which takes many seconds, since a
    /// healthy one may be silent as long over a large transaction. So where it is silent the catalog is
    /// looked at, over another connection: that answers at once, or not at all.
    pub(crate) async fn wait_for_stream(&self) {
        let is_there = |source: &SourceStatus| {
            let seen = source.last_seen;
            source.phase == Phase::Streaming && seen.is_none_or(|at| at.elapsed() < SEEN_WITHIN)
        };
        let mut source = self.0.source.clone();
        while !is_there(&source.borrow_and_update()) {
            self.0.store.request_catalog_refresh();
            // Without a session that tells, there is nothing more to wait for.
            if source.changed().await.is_err() {
                return;
            }
        }
    }

    /// Refuses polls until the service has caught up once. After that they go on being answered,
    /// also while the source is away: what is known stays true.
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

    /// Counts a held poll for as long as the guard lives: also when the client goes away.
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

/// Why the stream isn't where it should be, as one sentence; to who is no operator, without names of
/// servers and their words.
pub(crate) fn reason(phase: &Phase, caller: &Principal) -> String {
    match phase {
        Phase::Disconnected(_) if !caller.is_operator() => "not connected to PostgreSQL".into(),
        Phase::Standby(_) if !caller.is_operator() => "standing by".into(),
        Phase::Disconnected(why) => format!("not connected to PostgreSQL: {why}"),
        Phase::Standby(why) => format!("standing by: {why}"),
        Phase::CatchingUp => "catching up with what was committed before the connection".into(),
        Phase::Streaming => "streaming".into(),
    }
}
