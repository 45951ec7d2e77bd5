//! What clients are told: a log of versions for each table, one writer, many readers.
//!
//! [`open`] makes the two handles. The [`Writer`] takes [`Event`](crate::change::Event)s in order;
//! clones of the [`Store`] answer what changed, and wait.
//!
//! # What always holds
//!
//! * **Positions come from the stream alone**: a commit's end LSN, a change's ordinal in it, what
//!   the server says it has sent. So two instances of one database give the same versions.
//! * **A picture is whole** (P2). A commit is applied under one hold of the lock and an answer is
//!   made under one, so an answer shows a commit in all tables or in none, unless `more` says
//!   that the rest follows.
//! * **The applied position never goes back** within a history and those it continues (see
//!   [`History`](crate::history::History)), nor do floors, and an answer's
//!   version is never older than the one it was asked with (P3).
//! * **From the floor on everything is known.** Each table has one; what is forgotten (for space,
//!   by age, at a reset) raises it, and below it the answer is a reset, never nothing (P1).
//! * **Each id is told once**, with what happened to it relative to the version sent (P4). For
//!   that the log knows since when each remembered row exists, and when it did before. This takes
//!   the stream's word for what a commit did to a row *in sum*: where several changes to a row
//!   in one commit are merged into one [`Change`](crate::change::Change), its operation must say
//!   whether the row existed before the commit and exists after it. A row that comes and goes
//!   within the commit must be left out or told change by change.
//! * **A reset between commits is seen by everybody**, also by who holds the applied version: see
//!   `signals::beyond`.
//!
//! # What it deliberately does not do
//!
//! It does not know PostgreSQL, connections or HTTP; it writes nothing to disk
//! (the server's WAL is the durable log); it spawns nothing and needs no runtime, only the
//! waiting does.
//!
//! # Where things are
//!
//! `log` one table's log, pure and single-threaded; `state` all of them under the lock;
//! `writer` and `reader` the two sides, `merge` several logs as one list; `signals` what is
//! seen without the lock, `waiters` who waits for it; `directory` names; `rows` the rows that are
//! in memory; `status`, `meters` what operators see.

mod directory;
mod limits;
mod log;
mod merge;
mod meters;
mod reader;
mod resets;
mod rows;
mod signals;
mod state;
mod status;
mod visible_log;
mod waiters;
mod writer;

#[cfg(test)]
mod model;
#[cfg(test)]
mod race;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod timelines;

use std::sync::Arc;

pub use directory::{Directory, Resource, ResourceSelection, ScopedResource};
pub use limits::{CheckPace, Limits, LogLimits, RowLimits};
pub use merge::PollChange;
pub use meters::{CacheResult, ChangeCounts, RowRequestCounts};
pub use reader::{ChangeQuery, ChangeSet, Watermark};
pub use resets::{LastReset, Resets};
pub use rows::{
    ConsistencyChecker, LoadWorker, Mismatch, Page, Preloader, ReadRow, ReadRows, RowOrigin,
    RowsError, RowsState, RowsStatus, StoreImage, TableImage, TableVerification,
};
pub use state::Store;
pub use status::{StoreStatus, TableStatus};
pub use writer::Writer;

use crate::metrics::Metrics;
use crate::source::StreamRequests;
use state::StoreInner;

/// Makes an empty store: the writer's side, of which there is one, and the readers'.
///
/// `wishes` is what it asks of the change stream: a position sooner, a look at the catalog.
pub fn open(limits: Limits, requests: StreamRequests, metrics: Metrics) -> (Writer, Store) {
    let shared = Arc::new(StoreInner::new(limits.rows));
    (Writer::new(shared.clone(), limits.log, metrics), Store { shared, requests })
}
