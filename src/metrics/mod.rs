//! The metrics of one instance: name, help and labels of each, and the registry that holds them.
//!
//! Code that counts gets a clone of its handles. Nothing is global, so that tests can run many instances
//! in one process.

mod registry;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};

pub use registry::{MetricDescription, MetricKind, Registry};

/// Handles to all metrics of one instance. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    /// The source of `/metrics`.
    pub registry: Registry,

    /// Answered polls, by outcome.
    pub polls: IntCounterVec,
    /// Waiting long polls.
    pub poll_waiters: IntGauge,
    /// Connected push clients, by kind.
    pub push_clients: IntGaugeVec,
    /// Open connections of all listeners.
    pub http_connections: IntGauge,
    /// Connections closed by the service, by reason: `header_timeout`, `idle_timeout`, `tls_handshake`.
    pub http_connections_closed: IntCounterVec,
    /// Expiry of the certificate in use, in seconds since 1970; no series without TLS.
    pub tls_certificate_expiry: IntGaugeVec,
    /// Answered HTTP requests. `route` is the pattern of the route, not the path, to bound the series.
    pub http_requests: IntCounterVec,
    /// Seconds until the header of a response was ready, including the wait of long polls.
    pub http_request_seconds: HistogramVec,
}

impl Metrics {
    /// Registers everything on a new registry.
    ///
    /// # Errors
    /// When the name or a label of a metric is invalid or not unique.
    #[allow(clippy::too_many_lines, reason = "one list, one entry a metric")]
    pub fn new() -> prometheus::Result<Self> {
        let r = &Registry::default();
        let metrics = Self {
            registry: r.clone(),
            polls: register(
                r,
                IntCounterVec::new(
                    Opts::new("highwater_polls_total", "Answered polls, by outcome: changes, empty, reset or not_modified"),
                    &["outcome"],
                ),
            )?,
            poll_waiters: register(r, IntGauge::new("highwater_poll_waiters", "Waiting long polls"))?,
            push_clients: register(
                r,
                IntGaugeVec::new(
                    Opts::new("highwater_push_clients", "Connected push clients, by kind: sse (event streams) or ws (WebSockets)"),
                    &["kind"],
                ),
            )?,
            http_connections: register(
                r,
                IntGauge::new("highwater_http_connections", "Open connections of all listeners"),
            )?,
            http_connections_closed: register(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "highwater_http_connections_closed_total",
                        "Connections closed because of their client, by reason: header_timeout (a header did not arrive in time), idle_timeout or tls_handshake (the handshake failed)",
                    ),
                    &["reason"],
                ),
            )?,
            tls_certificate_expiry: register(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "highwater_tls_certificate_expiry_timestamp_seconds",
                        "Expiry time of the certificate in use, in seconds since 1970; only with TLS",
                    ),
                    &[],
                ),
            )?,
            http_requests: register(
                r,
                IntCounterVec::new(
                    Opts::new("highwater_http_requests_total", "Answered HTTP requests, by pattern of the route, method and status"),
                    &["route", "method", "status"],
                ),
            )?,
            http_request_seconds: register(
                r,
                HistogramVec::new(
                    HistogramOpts::new(
                        "highwater_http_request_seconds",
                        "Time until the header of a response was ready, including the wait of long polls",
                    )
                    .buckets(vec![
                        0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0,
                    ]),
                    &["route"],
                ),
            )?,
        };
        register(
            r,
            IntGaugeVec::new(
                Opts::new(
                    "highwater_build_info",
                    "Always 1; the label is the version of the program",
                ),
                &["version"],
            ),
        )?
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
        #[cfg(target_os = "linux")]
        r.add_process_metrics()?;
        Ok(metrics)
    }
}

/// Registers a metric and returns it.
pub(crate) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let metric = metric?;
    registry.add(metric.clone())?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_well() {
        let metrics = Metrics::new().unwrap();
        let families = metrics.registry.gather();
        assert!(families.iter().any(|f| f.name() == "highwater_http_connections"));
        assert!(families.iter().any(|f| f.name() == "highwater_build_info"));
    }
}
