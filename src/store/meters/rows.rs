//! The metrics of one table's rows, with the labels looked up once.

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::metrics::Metrics;

/// How a request for a row was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// From memory.
    Hit,
    /// After asking the database.
    Miss,
    /// From memory, while the change stream is not connected.
    Stale,
}

impl CacheResult {
    const ALL: [Self; 3] = [Self::Hit, Self::Miss, Self::Stale];

    /// The label of `highwater_cache_requests_total`, and what `X-Cache` says.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

/// Requests for rows of a table since the process started, by how they were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowRequestCounts {
    /// From memory.
    pub hits: u64,
    /// After asking the database.
    pub misses: u64,
    /// From memory, while the change stream was not connected.
    pub stale: u64,
}

/// What became of asking the database for a row.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum LoadOutcome {
    /// There is one.
    Loaded,
    /// There is none.
    Absent,
    /// The snapshot was too old, or the stream did not send what it should be joined with.
    Retried,
    /// The database could not be asked, or refused.
    Failed,
}

const OUTCOMES: [&str; 4] = ["loaded", "absent", "retried", "failed"];

/// Handles to one table's counters. Cloning shares them.
#[derive(Clone, Debug)]
pub(in crate::store) struct RowMetrics {
    requests: [IntCounter; 3],
    loads: [IntCounter; 4],
    pub(in crate::store) evictions: IntCounter,
    pub(in crate::store) entries: IntGauge,
    pub(in crate::store) bytes: IntGauge,
    pub(in crate::store) load_seconds: Histogram,
    pub(in crate::store) checks: IntCounter,
    pub(in crate::store) violations: IntCounter,
}

impl RowMetrics {
    pub(in crate::store) fn new(metrics: &Metrics, table: &str) -> Self {
        Self {
            requests: CacheResult::ALL
                .map(|served| metrics.cache_requests.with_label_values(&[table, served.as_str()])),
            loads: OUTCOMES.map(|outcome| metrics.cache_loads.with_label_values(&[table, outcome])),
            evictions: metrics.cache_evictions.with_label_values(&[table]),
            entries: metrics.cache_entries.with_label_values(&[table]),
            bytes: metrics.cache_bytes.with_label_values(&[table]),
            load_seconds: metrics.cache_load_seconds.clone(),
            checks: metrics.consistency_checks.clone(),
            violations: metrics.consistency_violations.clone(),
        }
    }

    /// The requests that were counted.
    pub(in crate::store) fn requests(&self) -> RowRequestCounts {
        let [hits, misses, stale] = self.requests.each_ref().map(IntCounter::get);
        RowRequestCounts { hits, misses, stale }
    }

    pub(in crate::store) fn count_request(&self, served: CacheResult) {
        let [hit, miss, stale] = &self.requests;
        match served {
            CacheResult::Hit => hit.inc(),
            CacheResult::Miss => miss.inc(),
            CacheResult::Stale => stale.inc(),
        }
    }

    pub(in crate::store) fn count_load(&self, outcome: LoadOutcome) {
        let [loaded, absent, retried, failed] = &self.loads;
        match outcome {
            LoadOutcome::Loaded => loaded.inc(),
            LoadOutcome::Absent => absent.inc(),
            LoadOutcome::Retried => retried.inc(),
            LoadOutcome::Failed => failed.inc(),
        }
    }
}

/// Forgets every value of a table. A value that was never set can't be removed, which is no mistake.
pub(super) fn remove_table(metrics: &Metrics, table: &str) {
    for served in CacheResult::ALL {
        let _ = metrics.cache_requests.remove_label_values(&[table, served.as_str()]);
    }
    for outcome in OUTCOMES {
        let _ = metrics.cache_loads.remove_label_values(&[table, outcome]);
    }
    let _ = metrics.cache_evictions.remove_label_values(&[table]);
    let _ = metrics.cache_entries.remove_label_values(&[table]);
    let _ = metrics.cache_bytes.remove_label_values(&[table]);
}
