//! The metrics of one table's rows, with the labels looked up once.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::StoreMetrics;

/// The result of a request for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// Served from memory.
    Hit,
    /// Loaded from the database.
    Miss,
    /// Served from memory while the change stream was not connected.
    Stale,
}

impl CacheResult {
    const ALL: [Self; 3] = [Self::Hit, Self::Miss, Self::Stale];

    /// The label of `highwater_cache_requests_total`, and the value of `X-Cache`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
        }
    }
}

/// Requests for rows of a table since the process started, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowRequestCounts {
    /// Served from memory.
    pub hits: u64,
    /// Loaded from the database.
    pub misses: u64,
    /// Served from memory while the change stream was not connected.
    pub stale: u64,
}

/// The outcome of loading one row.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum LoadOutcome {
    /// The row exists.
    Loaded,
    /// The row does not exist.
    Absent,
    /// The snapshot was too old, or the changes could not be joined with the row.
    Retried,
    /// The database was unavailable, or refused.
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
    pub(in crate::store) fn new(metrics: &StoreMetrics, table: &str) -> Self {
        Self {
            requests: CacheResult::ALL
                .map(|result| metrics.cache_requests.with_label_values(&[table, result.as_str()])),
            loads: OUTCOMES.map(|outcome| metrics.cache_loads.with_label_values(&[table, outcome])),
            evictions: metrics.cache_evictions.with_label_values(&[table]),
            entries: metrics.cache_entries.with_label_values(&[table]),
            bytes: metrics.cache_bytes.with_label_values(&[table]),
            load_seconds: metrics.cache_load_seconds.clone(),
            checks: metrics.consistency_checks.clone(),
            violations: metrics.consistency_violations.clone(),
        }
    }

    pub(in crate::store) fn requests(&self) -> RowRequestCounts {
        let [hits, misses, stale] = self.requests.each_ref().map(IntCounter::get);
        RowRequestCounts { hits, misses, stale }
    }

    pub(in crate::store) fn count_request(&self, result: CacheResult) {
        let [hit, miss, stale] = &self.requests;
        match result {
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

/// Removes the series of a table. One that was never set can't be removed, which is no mistake.
pub(super) fn remove_table(metrics: &StoreMetrics, table: &str) {
    for result in CacheResult::ALL {
        let _ = metrics.cache_requests.remove_label_values(&[table, result.as_str()]);
    }
    for outcome in OUTCOMES {
        let _ = metrics.cache_loads.remove_label_values(&[table, outcome]);
    }
    let _ = metrics.cache_evictions.remove_label_values(&[table]);
    let _ = metrics.cache_entries.remove_label_values(&[table]);
    let _ = metrics.cache_bytes.remove_label_values(&[table]);
}
