//! `docs/src/reference/metrics.md`.

use std::fmt::Write as _;

use highwater::metrics::{MetricDescription, Metrics};
use highwater::source::postgres::SourceMetrics;
use highwater::store::StoreMetrics;

use super::{assert_page, cell};

const INTRODUCTION: &str = "\
# Metrics

`/metrics` serves these metrics in the Prometheus text format, or as OpenMetrics when `Accept` prefers it. On Linux it also serves the usual
`process_…` metrics. A metric with labels has no series before its first value. [Monitoring](../operations/monitoring.md) describes which of
them to watch, with dashboards and alerts.

| name | type | unit | labels | meaning |
| --- | --- | --- | --- | --- |
";

fn page() -> String {
    let metrics = Metrics::new().expect("the metrics can be registered");
    SourceMetrics::register(&metrics.registry).expect("the source's metrics");
    StoreMetrics::register(&metrics.registry).expect("the store's metrics");
    let mut page = INTRODUCTION.to_owned();
    for metric in metrics.registry.descriptions() {
        page.push_str(&row(&metric));
    }
    page
}

fn row(metric: &MetricDescription) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let mut row = String::new();
    writeln!(
        row,
        "| `{}` | {} | {} | {} | {}. |",
        metric.name,
        metric.kind,
        unit(&metric.name),
        labels.join(", "),
        cell(&metric.help)
    )
    .expect("a String accepts text");
    row
}

/// The unit, which the conventions of Prometheus put at the end of the name.
fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    match name.rsplit('_').next() {
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        _ => "",
    }
}

#[test]
fn the_page_is_up_to_date() {
    assert_page("docs/src/reference/metrics.md", &page());
}

#[test]
fn units_come_from_the_name() {
    assert_eq!(unit("highwater_replication_received_bytes_total"), "bytes");
    assert_eq!(unit("highwater_http_request_seconds"), "seconds");
    assert_eq!(unit("highwater_polls_total"), "");
}

#[test]
fn help_is_a_clause_without_a_full_stop() {
    for metric in Metrics::new().unwrap().registry.descriptions() {
        assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{metric:?}");
    }
}
