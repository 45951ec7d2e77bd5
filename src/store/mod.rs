//! The versions and rows of all published tables in memory: one writer, many readers.
//!
//! [`open`] makes the two handles. The [`Writer`] applies [`Event`](crate::change::Event)s in order,
//! fed by the [`Applier`]; clones of the [`Store`] answer change queries, return rows, and wait.
//!
//! # Invariants
//!
//! * **Positions come from the stream alone**: a commit's end LSN, a change's ordinal in it, the
//!   position up to which the server has sent. So two instances of one database give the same
//!   versions.
//! * **A change set shows a commit whole or not at all** (P2). A commit is applied under one hold of
//!   the lock and a change set is made under one, so it shows a commit in all tables or in none,
//!   unless `more` says that the rest follows.
//! * **The applied position never goes back** within a history and those it continues (see
//!   [`TimelineHistory`](crate::history::TimelineHistory)), nor do floors, and a change set's
//!   version is never older than that of its query (P3).
//! * **From the floor on every change is known.** Each table has a floor; eviction (by size, by age,
//!   at a reset) raises it, and a query from below it gets a reset, never an empty set (P1).
//! * **Each id is reported once**, with the operation relative to the query's version (P4). For
//!   that the log knows since when each row in it exists, and when it did before. This relies on
//!   the stream for the *sum* of what a commit did to a row: where several changes to a row in one
//!   commit are merged into one [`Change`](crate::change::Change), its operation must say whether
//!   the row existed before the commit and exists after it. A row that is inserted and deleted
//!   within the commit must be left out or reported change by change.
//! * **A reset between commits reaches every client**, also one that has the applied version: see
//!   `notifications::reset_after`.
//!
//! # What is deliberately absent
//!
//! PostgreSQL, connections and HTTP; files (the server's WAL is the durable log); spawned tasks.
//! Only waiting and the tasks that others spawn ([`Applier`], [`LoadWorker`], [`Preloader`],
//! [`ConsistencyChecker`]) need a runtime.
//!
//! # Layout
//!
//! * `log`: one table's version log, pure and single-threaded; `state`: all of them under one lock;
//! * `writer`, `applier`: the writing side; `reader`, `merge`, `visible_log`: change queries;
//! * `notifications`: positions visible without the lock; `waiters`: waits for them;
//! * `directory`: names; `status`, `metrics`, `resets`: the operators' side; `limits`;
//! * `cache`: bounded caches joined with the change stream; `rows`: rows in them, or in maps of whole
//!   tables; `consistency`: their comparison with the database.

mod applier;
mod cache;
mod consistency;
mod directory;
mod limits;
mod log;
mod merge;
mod metrics;
mod notifications;
mod reader;
mod resets;
mod rows;
mod state;
mod status;
mod visible_log;
mod waiters;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use applier::Applier;
pub use consistency::{ConsistencyChecker, Mismatch, TableVerification};
pub use directory::{Directory, Resource, ResourceSelection, ScopedResource};
pub use limits::{CheckPace, Limits, LogLimits, RowLimits};
pub use merge::PollChange;
pub use metrics::{CacheResult, ChangeCounts, RowRequestCounts, StoreMetrics};
pub use reader::{ChangeQuery, ChangeSet, Watermark};
pub use resets::{LastReset, Resets};
pub use rows::{
    LoadWorker, Page, Preloader, ReadRow, ReadRows, RowOrigin, RowsError, RowsState, RowsStatus,
    StoreImage, TableImage,
};
pub use state::Store;
pub use status::{StoreStatus, TableStatus};
pub use writer::Writer;

use crate::source_status::StreamRequests;
use state::StoreInner;

/// Makes an empty store: the writer's handle, of which there is one, and the readers'.
///
/// Through `requests` the store asks the change stream for its position or for a refresh of the
/// catalog.
pub fn open(limits: Limits, requests: StreamRequests, metrics: StoreMetrics) -> (Writer, Store) {
    let shared = Arc::new(StoreInner::new(limits.rows));
    (Writer::new(shared.clone(), limits.log, metrics), Store { shared, requests })
}
