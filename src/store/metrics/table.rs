//! The metrics of one table's changes, with the labels looked up once.

use prometheus::IntCounter;

use super::{StoreMetrics, rows};
use crate::change::{Op, ResetReason};

const OPS: [Op; 3] = [Op::Insert, Op::Update, Op::Delete];

/// Every reason; a test fails if one is missing.
const REASONS: [ResetReason; 9] = [
    ResetReason::Truncate,
    ResetReason::LargeTransaction,
    ResetReason::NoKey,
    ResetReason::UnknownKey,
    ResetReason::Schema,
    ResetReason::Membership,
    ResetReason::SlotLost,
    ResetReason::NewHistory,
    ResetReason::Reload,
];

/// Changes of a table, by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// Rows inserted.
    pub inserts: u64,
    /// Rows updated.
    pub updates: u64,
    /// Rows deleted.
    pub deletes: u64,
}

/// Handles to one table's counters.
#[derive(Debug)]
pub(in crate::store) struct TableMetrics {
    inserts: IntCounter,
    updates: IntCounter,
    deletes: IntCounter,
}

impl TableMetrics {
    pub(in crate::store) fn new(metrics: &StoreMetrics, table: &str) -> Self {
        let [inserts, updates, deletes] =
            OPS.map(|op| metrics.changes.with_label_values(&[table, op.as_str()]));
        Self { inserts, updates, deletes }
    }

    pub(in crate::store) fn counts(&self) -> ChangeCounts {
        ChangeCounts {
            inserts: self.inserts.get(),
            updates: self.updates.get(),
            deletes: self.deletes.get(),
        }
    }

    pub(in crate::store) fn count(&self, op: Op) {
        match op {
            Op::Insert => self.inserts.inc(),
            Op::Update => self.updates.inc(),
            Op::Delete => self.deletes.inc(),
        }
    }
}

/// Removes the series of a table that is no longer published under this name. One that was never
/// set can't be removed, which is no mistake.
pub(in crate::store) fn remove_table(metrics: &StoreMetrics, table: &str) {
    for op in OPS {
        let _ = metrics.changes.remove_label_values(&[table, op.as_str()]);
    }
    for reason in REASONS {
        let _ = metrics.resets.remove_label_values(&[table, reason.as_str()]);
    }
    let _ = metrics.log_entries.remove_label_values(&[table]);
    let _ = metrics.log_floor_age_seconds.remove_label_values(&[table]);
    rows::remove_table(metrics, table);
}

#[cfg(test)]
mod tests {
    use crate::metrics::Registry;

    use super::*;

    /// The index of a reason in [`REASONS`]; does not compile when one is missing here.
    fn index(reason: ResetReason) -> usize {
        match reason {
            ResetReason::Truncate => 0,
            ResetReason::LargeTransaction => 1,
            ResetReason::NoKey => 2,
            ResetReason::UnknownKey => 3,
            ResetReason::Schema => 4,
            ResetReason::Membership => 5,
            ResetReason::SlotLost => 6,
            ResetReason::NewHistory => 7,
            ResetReason::Reload => 8,
        }
    }

    #[test]
    fn every_reason_is_listed() {
        let indices: Vec<usize> = REASONS.into_iter().map(index).collect();
        assert_eq!(indices, (0..REASONS.len()).collect::<Vec<_>>());
    }

    #[test]
    fn a_removed_table_leaves_no_series() {
        let registry = Registry::default();
        let metrics = StoreMetrics::register(&registry).unwrap();
        TableMetrics::new(&metrics, "items").count(Op::Insert);
        TableMetrics::new(&metrics, "users").count(Op::Delete);
        for reason in REASONS {
            metrics.resets.with_label_values(&["items", reason.as_str()]).inc();
        }
        metrics.log_entries.with_label_values(&["items"]).set(1);
        metrics.log_floor_age_seconds.with_label_values(&["items"]).set(1.0);
        remove_table(&metrics, "items");
        let labels: Vec<String> = registry
            .gather()
            .iter()
            .flat_map(prometheus::proto::MetricFamily::get_metric)
            .flat_map(prometheus::proto::Metric::get_label)
            .map(|label| label.value().to_string())
            .collect();
        assert!(!labels.iter().any(|label| label == "items"), "{labels:?}");
        assert!(labels.iter().any(|label| label == "users"));
    }
}
