//! The registry, with descriptions for the reference documentation.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::{MetricFamily, MetricType};

/// A registry that can describe its metrics, also those without a series yet. Clones share it.
#[derive(Clone, Default)]
pub struct Registry {
    prometheus: prometheus::Registry,
    descriptions: Arc<Mutex<Vec<MetricDescription>>>,
}

/// The documentation of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDescription {
    /// The name, `highwater_polls_total`.
    pub name: String,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// Names of the labels.
    pub labels: Vec<String>,
    /// One sentence without a full stop, as in the exposition format.
    pub help: String,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that grows and shrinks.
    Gauge,
    /// The distribution of observed values in buckets.
    Histogram,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

impl Registry {
    /// The current values. Metrics without a series are omitted.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.prometheus.gather()
    }

    /// All metrics in the order of their registration, without those of the process.
    pub fn descriptions(&self) -> Vec<MetricDescription> {
        self.descriptions.lock().clone()
    }

    /// Adds the metrics of the process (`process_…`), which are not described.
    #[cfg(target_os = "linux")]
    pub(super) fn add_process_metrics(&self) -> prometheus::Result<()> {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        self.prometheus.register(Box::new(process))
    }

    pub(super) fn add<C: Collector + 'static>(&self, metric: C) -> prometheus::Result<()> {
        // A family without a series still has a type; `gather` would omit it.
        let kinds = metric.collect().into_iter().map(|family| match family.get_field_type() {
            MetricType::COUNTER => MetricKind::Counter,
            MetricType::HISTOGRAM => MetricKind::Histogram,
            _ => MetricKind::Gauge,
        });
        let described =
            metric.desc().into_iter().zip(kinds).map(|(desc, kind)| MetricDescription {
                name: desc.fq_name.clone(),
                kind,
                labels: desc.variable_labels.clone(),
                help: desc.help.clone(),
            });
        let described: Vec<_> = described.collect();
        self.prometheus.register(Box::new(metric))?;
        self.descriptions.lock().extend(described);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts};

    use super::*;

    #[test]
    fn a_metric_without_a_series_is_described_and_not_gathered() {
        let registry = Registry::default();
        let polls = IntCounterVec::new(Opts::new("polls_total", "Polls"), &["outcome"]).unwrap();
        registry.add(polls.clone()).unwrap();
        assert!(registry.gather().is_empty());
        let expected = MetricDescription {
            name: "polls_total".into(),
            kind: MetricKind::Counter,
            labels: vec!["outcome".into()],
            help: "Polls".into(),
        };
        assert_eq!(registry.descriptions(), std::slice::from_ref(&expected));
        assert!(registry.add(polls).is_err());
        assert_eq!(registry.descriptions(), [expected], "a rejected metric is not described");
    }
}
