//! Compares rows in memory with the database: a few all the time, or all of them when asked to.
//!
//! # What is compared with what
//!
//! What is in memory is what stands in the database at the applied position. So a row is read from
//! the database like one that a reader waits for: put on a desk of its own, read in a snapshot, and
//! joined there with the changes that the snapshot does not see. When everything that the snapshot
//! sees has been applied, what is on the desk stands at the applied position, too. In that moment,
//! while the writer is locked out, both have to be the same ([`compare`]). Time plays no part: a row
//! whose snapshot lacks a commit, or whose changes can't be joined, is asked for again.
//!
//! # Which rows
//!
//! [`sweep`] goes through what is in memory, absent rows that are remembered included. Of preloaded
//! tables, of which every row should be there, ids between those in memory are asked for as well;
//! who wants to know it for certain compares a copy ([`verify`]).
//!
//! A row that is compared counts as used where the least recently used leave first.

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

/// Compares rows with the database. There is to be one of it.
#[derive(Debug)]
pub struct ConsistencyChecker {
    store: Store,
    pace: Option<CheckPace>,
    rounds: RoundRobin,
}

/// A row in memory that is not what the database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its id.
    pub id: Key,
    /// In what they differ.
    pub difference: String,
}

impl Store {
    /// What compares rows: all the time at this pace, and when asked to.
    pub fn checker(&self, pace: Option<CheckPace>) -> ConsistencyChecker {
        ConsistencyChecker { store: self.clone(), pace, rounds: RoundRobin::default() }
    }
}

impl ConsistencyChecker {
    /// Works until `shutdown`.
    pub async fn run(mut self, loader: Arc<dyn Loader>, shutdown: CancellationToken) {
        let work = async {
            let mut next = self.next_check();
            loop {
                let wanted = self.store.shared.verifications.wanted();
                let due = async {
                    match next {
                        Some(time) => sleep_until(time).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    verification = wanted => self.verify(&*loader, verification).await,
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
        let Some((table, keys)) = self.rounds.next_keys(&self.store, pace.rows) else { return };
        if let Err(error) = self.compare(loader, table, &keys).await {
            tracing::debug!(%error, "rows could not be compared with the database");
        }
    }
}
