//! Responses shared by concurrent requests: requests with the same key get the same bytes, made once,
//! while nothing changes in their tables.
//!
//! A commit wakes thousands of clients that hold the same version of the same tables. The first of them
//! makes the response, those that come meanwhile wait for it, the rest find it made. The same holds for
//! clients that poll at the same interval. A response stays true for ever; it is only no longer the
//! newest once something has changed in its tables, and then it is not found here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::http::response::changes_body::BodyContent;
use crate::http::response::encoded_response::EncodedResponse;
use crate::http::response::problem::Problem;
use crate::http::response::response_budget::{BudgetPermit, ResponseBudget};
use crate::store::{ChangeQuery, ResourceSelection, Store, Watermark};
use crate::version::Version;

/// The maximum number of cached responses; at it the oldest is evicted, and made again on request.
const RESPONSES_MAX: usize = 32;

/// The maximum memory of cached responses in bytes; past it the oldest are evicted. The newest may
/// exceed it.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// While other tables change, the applied position moves on and a response's version stays behind it.
/// After this long the response is made again with the current version.
const VERSION_AGE_MAX: Duration = Duration::from_millis(50);

/// How long a response waits for included rows that are not in memory; past it the client gets 503 and
/// polls again with the same version.
const ROWS_WAIT_MAX: Duration = Duration::from_secs(5);

/// Everything that determines a response but the time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResponseKey {
    pub(crate) tables: ResourceSelection,
    /// The version of the client's last response; `None` for the starting point.
    pub(crate) after: Option<Version>,
    /// The maximum number of changes.
    pub(crate) limit: usize,
    /// Whether each change carries its version and commit time.
    pub(crate) detail: bool,
    /// Whether each insert and update carries its row, where rows are cached.
    pub(crate) include_rows: bool,
}

/// A response reserves this multiple of its size: as JSON, and once more as an event or compressed.
const ENCODINGS: usize = 2;

/// The most recent responses.
#[derive(Debug, Default)]
pub(crate) struct ResponseCache {
    recent: Mutex<VecDeque<Arc<CachedResponse>>>,
    /// For cached responses and those in flight to clients.
    budget: ResponseBudget,
}

/// A response, made or being made.
#[derive(Debug)]
struct CachedResponse {
    key: ResponseKey,
    watermark: Watermark,
    response: OnceCell<Arc<EncodedResponse>>,
}

impl ResponseCache {
    pub(crate) fn new(budget: ResponseBudget) -> Self {
        Self { recent: Mutex::default(), budget }
    }

    /// The current response to a request. Cancel safe: another request that waits for it continues
    /// making it. A problem is not shared: each request tries for itself, within its own time.
    pub(crate) async fn response(
        &self,
        store: &Store,
        key: &ResponseKey,
    ) -> Result<Arc<EncodedResponse>, Problem> {
        let until = Instant::now() + ROWS_WAIT_MAX;
        let after = key.after.filter(|&after| store.unchanged(&key.tables, after).is_none());
        let watermark = after.and_then(|_| store.watermark(&key.tables));
        // Without changes, and for the starting point, the response is short and made quickly. A
        // selection whose watermark can't be read without a lock can't be compared without one.
        let Some(watermark) = watermark else { return self.make(store, key, until).await };
        let cached = self.find(key, watermark);
        cached.response.get_or_try_init(|| self.make(store, key, until)).await.cloned()
    }

    async fn make(
        &self,
        store: &Store,
        key: &ResponseKey,
        until: Instant,
    ) -> Result<Arc<EncodedResponse>, Problem> {
        let ResponseKey { tables, after, limit, detail, include_rows } = key;
        let query = ChangeQuery { resources: tables, after: *after, limit: *limit };
        let found = if *include_rows {
            store.changes_with_rows(&query, until).await?
        } else {
            store.changes(&query).map(|changes| (changes, Vec::new()))
        };
        let (changes, rows) = found.ok_or_else(Problem::not_started)?;
        let content = BodyContent { changes, rows, detail: *detail };
        let reserved = self.reserve(content.bytes().saturating_mul(ENCODINGS))?;
        Ok(Arc::new(EncodedResponse::new(content, reserved)))
    }

    /// Reserves a response's bytes; if the budget is exhausted, evicts all cached responses first.
    fn reserve(&self, bytes: usize) -> Result<BudgetPermit, Problem> {
        self.budget.reserve(bytes).or_else(|_| {
            self.recent.lock().clear();
            self.budget.reserve(bytes)
        })
    }

    /// The cached response, or a new entry for it.
    fn find(&self, key: &ResponseKey, watermark: Watermark) -> Arc<CachedResponse> {
        let mut recent = self.recent.lock();
        if let Some(cached) = recent.iter().rev().find(|cached| cached.is_for(key, watermark)) {
            return cached.clone();
        }
        evict(&mut recent);
        let cached = CachedResponse { key: key.clone(), watermark, response: OnceCell::new() };
        let cached = Arc::new(cached);
        recent.push_back(cached.clone());
        cached
    }
}

/// Evicts the oldest responses until one more fits.
fn evict(recent: &mut VecDeque<Arc<CachedResponse>>) {
    let mut bytes: usize = recent.iter().map(|cached| cached.bytes()).sum();
    while recent.len() >= RESPONSES_MAX || bytes > RESPONSE_BYTES_MAX {
        let Some(oldest) = recent.pop_front() else { return };
        bytes = bytes.saturating_sub(oldest.bytes());
    }
}

impl CachedResponse {
    fn is_for(&self, key: &ResponseKey, watermark: Watermark) -> bool {
        self.watermark.newest == watermark.newest
            && self.key == *key
            && (self.watermark.applied == watermark.applied || self.is_recent())
    }

    fn is_recent(&self) -> bool {
        self.response.get().is_none_or(|response| response.made_at.elapsed() < VERSION_AGE_MAX)
    }

    fn bytes(&self) -> usize {
        let response = self.response.get();
        size_of::<Self>() + response.map_or(0, |response| response.bytes())
    }
}
