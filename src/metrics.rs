//! Every metric: its name, help and labels, registered on a registry of ours.
//!
//! Whoever measures gets a clone of [`Metrics`]; nothing is global, so tests can run many
//! instances in one process.

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Handles to all metrics of one instance. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    /// What `/metrics` gathers.
    pub registry: Registry,

    /// Polls answered.
    pub polls: IntCounterVec,
    /// Long polls being held now.
    pub poll_waiters: IntGauge,
    /// Clients being pushed to, by kind.
    pub push_clients: IntGaugeVec,
    /// Connections open on both listeners.
    pub http_connections: IntGauge,
    /// Connections closed by the service, by reason: `header_timeout`, `idle_timeout`, `tls_handshake`.
    pub http_connections_closed: IntCounterVec,
    /// Expiry of the certificate in use, in seconds since 1970; no series without TLS.
    pub tls_certificate_expiry: IntGaugeVec,
    /// HTTP requests answered; `route` is the route's pattern, never the path sent.
    pub http_requests: IntCounterVec,
    /// Time until the answer's head was ready, waiting included.
    pub http_request_seconds: HistogramVec,
}

impl Metrics {
    /// Registers everything on a new registry.
    ///
    /// # Errors
    /// When a metric is described wrongly: a mistake in this file, shown by its test.
    #[allow(clippy::too_many_lines, reason = "one list, one entry a metric")]
    pub fn new() -> prometheus::Result<Self> {
        let r = &Registry::new();
        let metrics = Self {
            registry: r.clone(),
            polls: register(
                r,
                IntCounterVec::new(
                    Opts::new("highwater_polls_total", "Polls answered"),
                    &["outcome"],
                ),
            )?,
            poll_waiters: register(
                r,
                IntGauge::new("highwater_poll_waiters", "Long polls being held"),
            )?,
            push_clients: register(
                r,
                IntGaugeVec::new(
                    Opts::new("highwater_push_clients", "Clients being pushed to"),
                    &["kind"],
                ),
            )?,
            http_connections: register(
                r,
                IntGauge::new("highwater_http_connections", "HTTP connections open"),
            )?,
            http_connections_closed: register(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "highwater_http_connections_closed_total",
                        "HTTP connections closed because of what the client did, or did not do",
                    ),
                    &["reason"],
                ),
            )?,
            tls_certificate_expiry: register(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "highwater_tls_certificate_expiry_timestamp_seconds",
                        "Expiry time of the certificate in use",
                    ),
                    &[],
                ),
            )?,
            http_requests: register(
                r,
                IntCounterVec::new(
                    Opts::new("highwater_http_requests_total", "HTTP requests answered"),
                    &["route", "method", "status"],
                ),
            )?,
            http_request_seconds: register(
                r,
                HistogramVec::new(
                    HistogramOpts::new(
                        "highwater_http_request_seconds",
                        "Seconds until the answer's head was ready, long polling included",
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
                Opts::new("highwater_build_info", "Always 1; the version is a label"),
                &["version"],
            ),
        )?
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
        #[cfg(target_os = "linux")]
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }
}

/// Registers a metric and hands it back.
pub(crate) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_well() {
        let metrics = Metrics::new().unwrap();
        let families = metrics.registry.gather();
        assert!(families.iter().any(|f| f.name() == "highwater_replication_connected"));
        assert!(families.iter().any(|f| f.name() == "highwater_build_info"));
    }
}
