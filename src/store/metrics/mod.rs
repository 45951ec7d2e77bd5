//! The store's metrics: registered once for an instance, with per-table handles beside them.

mod rows;
mod table;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

pub use rows::{CacheResult, RowRequestCounts};
pub(super) use rows::{LoadOutcome, RowMetrics};
pub use table::ChangeCounts;
pub(super) use table::{TableMetrics, remove_table};

use crate::metrics::{Registry, register};

/// Handles to the metrics of the version log, the cached rows and the consistency checks.
/// Cloning shares them.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// Applied commits that touched at least one published table.
    pub transactions: IntCounter,
    /// Applied row changes, by table and operation.
    pub changes: IntCounterVec,
    /// Seconds from a commit's timestamp on the server until readers see it.
    pub commit_to_visible_seconds: Histogram,
    /// Distinct ids in the version log, by table.
    pub log_entries: IntGaugeVec,
    /// Bytes of all version logs together.
    pub log_bytes: IntGauge,
    /// Seconds since the floor of a table's log was committed.
    pub log_floor_age_seconds: GaugeVec,
    /// Resets, by table and reason.
    pub resets: IntCounterVec,
    /// Requests for rows, by table and cache result.
    pub cache_requests: IntCounterVec,
    /// Cached rows, by table.
    pub cache_entries: IntGaugeVec,
    /// Bytes of the cached rows, by table.
    pub cache_bytes: IntGaugeVec,
    /// Rows evicted because the cache was full, by table.
    pub cache_evictions: IntCounterVec,
    /// Rows requested from the database, by table and outcome.
    pub cache_loads: IntCounterVec,
    /// Seconds that one query for rows took.
    pub cache_load_seconds: Histogram,
    /// Cached rows compared with the database.
    pub consistency_checks: IntCounter,
    /// Cached rows that differed from the database.
    pub consistency_violations: IntCounter,
}

impl StoreMetrics {
    /// Registers the store's metrics.
    ///
    /// # Errors
    /// When the registry has a metric of one of these names already.
    #[allow(clippy::too_many_lines, reason = "one list, one entry a metric")]
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let r = registry;
        Ok(Self {
            transactions: register(
                r,
                IntCounter::new(
                    "highwater_transactions_total",
                    "Applied commits that touched a published table",
                ),
            )?,
            changes: register(
                r,
                IntCounterVec::new(
                    Opts::new("highwater_changes_total", "Applied row changes, by op: insert, update or delete"),
                    &["table", "op"],
                ),
            )?,
            commit_to_visible_seconds: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "highwater_commit_to_visible_seconds",
                        "Time from the commit timestamp until polls return the change; includes the offset between the clocks of the server and this machine",
                    )
                    .buckets(vec![
                        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
                        30.0, 300.0,
                    ]),
                ),
            )?,
            log_entries: register(
                r,
                IntGaugeVec::new(
                    Opts::new("highwater_log_entries", "Ids in the version log"),
                    &["table"],
                ),
            )?,
            log_bytes: register(
                r,
                IntGauge::new("highwater_log_bytes", "Memory of the version log"),
            )?,
            log_floor_age_seconds: register(
                r,
                GaugeVec::new(
                    Opts::new(
                        "highwater_log_floor_age_seconds",
                        "Age of the oldest version from which the log knows every change; clients that were away for longer get a reset",
                    ),
                    &["table"],
                ),
            )?,
            resets: register(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "highwater_resets_total",
                        "Resets of a table, by reason: truncate, large_transaction, no_key, unknown_key, schema, membership, slot_lost, new_history or reload",
                    ),
                    &["table", "reason"],
                ),
            )?,
            cache_requests: register(
                r,
                IntCounterVec::new(
                    Opts::new("highwater_cache_requests_total", "Requests for rows, by result: hit, miss, or stale (served from the cache while the stream is not connected)"),
                    &["table", "result"],
                ),
            )?,
            cache_entries: register(
                r,
                IntGaugeVec::new(Opts::new("highwater_cache_entries", "Cached rows"), &["table"]),
            )?,
            cache_bytes: register(
                r,
                IntGaugeVec::new(
                    Opts::new("highwater_cache_bytes", "Memory of the cached rows"),
                    &["table"],
                ),
            )?,
            cache_evictions: register(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "highwater_cache_evictions_total",
                        "Rows evicted because the cache was full",
                    ),
                    &["table"],
                ),
            )?,
            cache_loads: register(
                r,
                IntCounterVec::new(
                    Opts::new("highwater_cache_loads_total", "Rows requested from the database, by outcome: loaded, absent, retried (the snapshot was too old) or failed"),
                    &["table", "outcome"],
                ),
            )?,
            cache_load_seconds: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "highwater_cache_load_seconds",
                        "Duration of one query for rows",
                    )
                    .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0]),
                ),
            )?,
            consistency_checks: register(
                r,
                IntCounter::new(
                    "highwater_consistency_checks_total",
                    "Cached rows compared with the database",
                ),
            )?,
            consistency_violations: register(
                r,
                IntCounter::new(
                    "highwater_consistency_violations_total",
                    "Cached rows that differed from the database",
                ),
            )?,
        })
    }
}
