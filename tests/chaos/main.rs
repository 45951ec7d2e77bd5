//! Chaos test: concurrent writers, migrations and faults; clients that know only what the services
//! report must equal the database at every quiescent point.
//!
//! [`runner`] alternates two phases. In a fault phase [`writers`] and [`migrations`] change everything
//! while [`faults`] are injected. In the quiescent phase that follows, each of the [`replica_clients`]
//! must catch up and is compared with the database, as the [`oracle`] reads it. All the time
//! [`readers`] check single rows and read their own writes.
//!
//! `HIGHWATER_CHAOS_SEED` repeats a run's random choices (the timing of the machine differs),
//! `HIGHWATER_CHAOS_SECONDS` sets its duration.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod client_model;
mod counters;
mod faults;
mod instance;
mod migrations;
mod oracle;
mod poll;
mod readers;
mod replica_clients;
mod runner;
mod scenario;
mod schema;
mod sql_client;
mod writers;

#[allow(dead_code, unused_imports, reason = "the other tests' harness, used only in part")]
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

/// Duration of a run where `HIGHWATER_CHAOS_SECONDS` is not set.
const DEFAULT_DURATION: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_equal_the_database_after_every_fault() {
    let seed = setting("HIGHWATER_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let duration = setting("HIGHWATER_CHAOS_SECONDS").map_or(DEFAULT_DURATION, Duration::from_secs);
    runner::run(seed, duration).await;
}

#[allow(clippy::disallowed_methods, reason = "settings of this test")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number")))
}
