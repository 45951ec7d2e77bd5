//! Comparison of cached rows with the database: some in the background, or all of them on request.
//!
//! # What is compared with what
//!
//! A cached row is the row in the database at the applied position. So a row is read from the
//! database like one that a reader waits for: added to pending loads of its own, read in a snapshot,
//! and joined with the changes that the snapshot does not see. When everything that the snapshot
//! sees has been applied, the loaded row is exact at the applied position, too. At that moment,
//! while the writer is locked out, both have to be the same ([`compare`]). Time plays no part: a row
//! whose snapshot lacks a commit, or whose changes can't be joined, is read again.
//!
//! # Which rows
//!
//! [`scan`] iterates over the cached rows, cached absent ones included. Of preloaded tables, of which
//! every row should be cached, ids between those in memory are read as well; only a comparison with a
//! whole copy finds every missing row ([`verify`]).
//!
//! A comparison counts as a use of the row for eviction.

mod compare;
mod scan;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use verify::TableVerification;
pub(in crate::store) use verify::Verifications;

use crate::key::Key;
use crate::load::Loader;
use crate::store::limits::CheckPace;
use crate::store::state::Store;
use scan::RoundRobin;

/// The task that compares cached rows with the database. There is to be one of it.
#[derive(Debug)]
pub struct ConsistencyChecker {
    store: Store,
    pace: Option<CheckPace>,
    tables: RoundRobin,
}

/// A cached row that differs from the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The row's id.
    pub id: Key,
    /// The properties that differ, with both values.
    pub difference: String,
}

impl Store {
    /// The task that compares rows: at this pace in the background, and on request.
    pub fn checker(&self, pace: Option<CheckPace>) -> ConsistencyChecker {
        ConsistencyChecker { store: self.clone(), pace, tables: RoundRobin::default() }
    }
}

impl ConsistencyChecker {
    /// Works until `shutdown`.
    pub async fn run(mut self, loader: Arc<dyn Loader>, shutdown: CancellationToken) {
        let work = async {
            let mut next = self.next_check();
            loop {
                let requested = self.store.shared.verifications.next();
                let due = async {
                    match next {
                        Some(time) => sleep_until(time).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    verification = requested => self.verify(&*loader, verification).await,
                    () = due => {
                        self.check(&*loader).await;
                        next = self.next_check();
                    }
                }
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    fn next_check(&self) -> Option<Instant> {
        self.pace.map(|pace| Instant::now() + pace.interval)
    }

    /// Compares the next few rows.
    async fn check(&mut self, loader: &dyn Loader) {
        let Some(pace) = self.pace else { return };
        let Some((table, keys)) = self.tables.next_keys(&self.store, pace.rows) else { return };
        if let Err(error) = self.compare(loader, table, &keys).await {
            tracing::debug!(%error, "consistency check failed");
        }
    }
}
