//! Torture: everything writes, everything fails, and mirrors that believe only what they are told
//! still equal the database at every quiet point.
//!
//! [`conductor`] leads: a storm, in which [`writers`] and [`migrations`] change everything while
//! [`faults`] strike; then calm, in which every one of the [`mirrors`] must catch up and is compared
//! with the [`truth`]. Own writes and single rows are read all the while ([`readers`]).
//!
//! `HIGHWATER_TORTURE_SEED` plays the same dice again (the machine's timing is its own),
//! `HIGHWATER_TORTURE_SECONDS` says how long.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod answer;
mod conductor;
mod faults;
mod instance;
mod knowledge;
mod link;
mod migrations;
mod mirrors;
mod readers;
mod schema;
mod tally;
mod truth;
mod world;
mod writers;

#[allow(dead_code, unused_imports, reason = "the other tests' harness, of which this needs a part")]
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

/// How long it lasts as one test among others.
const USUAL: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mirrors_equal_the_database_whatever_breaks() {
    let seed = setting("HIGHWATER_TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..));
    let duration = setting("HIGHWATER_TORTURE_SECONDS").map_or(USUAL, Duration::from_secs);
    conductor::torture(seed, duration).await;
}

#[allow(clippy::disallowed_methods, reason = "the tests' own settings")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number")))
}
