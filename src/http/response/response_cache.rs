//! Answers given to many: whoever asks the same question while nothing else happens in its tables is
//! given the same bytes, made once.
//!
//! A commit wakes thousands who hold the same version of the same tables. The first of them makes
//! the answer, those who come meanwhile wait for it, the rest find it made. The same holds for
//! clients that poll at the same pace. An answer stays true for ever; it is only not the newest any
//! more once something has changed in its tables, and then it is not found here.

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

/// Answers remembered; at it the oldest is forgotten, and made again if somebody asks.
const ANSWERS_MAX: usize = 32;

/// Memory of all remembered answers, in bytes; at it the oldest are forgotten. The newest may come on
/// top of it.
const ANSWERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// While other tables change, the applied position moves on and an answer's version stays behind
/// it. After this long the answer is made again, with the version of then.
const VERSION_AGE_MAX: Duration = Duration::from_millis(50);

/// Rows that an answer is to carry and that are not in memory are waited for this long; then it is
/// refused (503), and the client asks again with the same version.
const ROWS_WAIT_MAX: Duration = Duration::from_secs(5);

/// Everything an answer's bytes depend on but the moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResponseKey {
    pub(crate) tables: ResourceSelection,
    /// The version of the client's last answer; `None` to begin.
    pub(crate) after: Option<Version>,
    /// Changes in the answer at most.
    pub(crate) limit: usize,
    /// Whether each change carries its version and time.
    pub(crate) detail: bool,
    /// Whether each insert and update carries its row, where rows are held.
    pub(crate) rows: bool,
}

/// An answer takes so many times its size: as JSON, and once more as an event or compressed.
const ENCODINGS: usize = 2;

/// The recent answers.
#[derive(Debug, Default)]
pub(crate) struct ResponseCache {
    recent: Mutex<VecDeque<Arc<CachedResponse>>>,
    /// For these, and for those that are on their way to clients.
    room: ResponseBudget,
}

/// An answer, made or being made.
#[derive(Debug)]
struct CachedResponse {
    question: ResponseKey,
    standing: Watermark,
    told: OnceCell<Arc<EncodedResponse>>,
}

impl ResponseCache {
    pub(crate) fn new(room: ResponseBudget) -> Self {
        Self { recent: Mutex::default(), room }
    }

    /// The answer to a question now. Cancel safe: another who waits for it goes on making it. A
    /// problem is not shared: each tries for itself, within its own time.
    pub(crate) async fn answer(
        &self,
        store: &Store,
        question: &ResponseKey,
    ) -> Result<Arc<EncodedResponse>, Problem> {
        let until = Instant::now() + ROWS_WAIT_MAX;
        let after =
            question.after.filter(|&after| store.unchanged(&question.tables, after).is_none());
        let standing = after.and_then(|_| store.watermark(&question.tables));
        // Nothing to tell, or the first answer: short, and quickly made. And what can't be seen
        // without a lock can't be compared without one.
        let Some(standing) = standing else { return self.make(store, question, until).await };
        let kept = self.find(question, standing);
        kept.told.get_or_try_init(|| self.make(store, question, until)).await.cloned()
    }

    async fn make(
        &self,
        store: &Store,
        question: &ResponseKey,
        until: Instant,
    ) -> Result<Arc<EncodedResponse>, Problem> {
        let ResponseKey { tables, after, limit, detail, rows } = question;
        let query = ChangeQuery { resources: tables, after: *after, limit: *limit };
        let found = if *rows {
            store.changes_with_rows(&query, until).await?
        } else {
            store.changes(&query).map(|answer| (answer, Vec::new()))
        };
        let (answer, rows) = found.ok_or_else(Problem::not_started)?;
        let content = BodyContent { answer, rows, detail: *detail };
        let taken = self.room(content.bytes().saturating_mul(ENCODINGS))?;
        Ok(Arc::new(EncodedResponse::new(content, taken)))
    }

    /// Room for an answer; if there is none, that of the answers remembered for others.
    fn room(&self, bytes: usize) -> Result<BudgetPermit, Problem> {
        self.room.take(bytes).or_else(|_| {
            self.recent.lock().clear();
            self.room.take(bytes)
        })
    }

    /// The remembered answer, or a place for one.
    fn find(&self, question: &ResponseKey, standing: Watermark) -> Arc<CachedResponse> {
        let mut recent = self.recent.lock();
        if let Some(kept) = recent.iter().rev().find(|kept| kept.answers(question, standing)) {
            return kept.clone();
        }
        make_room(&mut recent);
        let kept = CachedResponse { question: question.clone(), standing, told: OnceCell::new() };
        let kept = Arc::new(kept);
        recent.push_back(kept.clone());
        kept
    }
}

/// Forgets the oldest until one more has a place.
fn make_room(recent: &mut VecDeque<Arc<CachedResponse>>) {
    let mut bytes: usize = recent.iter().map(|kept| kept.bytes()).sum();
    while recent.len() >= ANSWERS_MAX || bytes > ANSWERS_BYTES_MAX {
        let Some(oldest) = recent.pop_front() else { return };
        bytes = bytes.saturating_sub(oldest.bytes());
    }
}

impl CachedResponse {
    fn answers(&self, question: &ResponseKey, standing: Watermark) -> bool {
        self.standing.newest == standing.newest
            && self.question == *question
            && (self.standing.applied == standing.applied || self.is_young())
    }

    fn is_young(&self) -> bool {
        self.told.get().is_none_or(|told| told.made_at.elapsed() < VERSION_AGE_MAX)
    }

    fn bytes(&self) -> usize {
        let told = self.told.get();
        size_of::<Self>() + told.map_or(0, |told| told.bytes())
    }
}
