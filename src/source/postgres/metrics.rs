//! Metrics of the replication stream.

use prometheus::{Gauge, IntCounter, IntGauge};

use crate::metrics::Registry;

use crate::metrics::register;

/// Handles to the metrics of one replication stream. Clones share them.
#[derive(Clone)]
pub struct SourceMetrics {
    /// 1 while the walsender connection streams.
    pub(super) connected: IntGauge,
    /// 1 while another consumer holds the slot: a hot standby is healthy and not connected.
    pub(super) standby: IntGauge,
    /// Connections made after the first.
    pub(super) reconnects: IntCounter,
    /// Bytes of the replication protocol received.
    pub(super) received_bytes: IntCounter,
    /// Bytes of WAL between the end of the server's WAL and the applied position.
    pub(super) lag_bytes: IntGauge,
    /// Seconds since everything was last applied; 0 while it is.
    pub(super) lag_seconds: Gauge,
    /// Bytes of WAL the slot makes the server retain.
    pub(super) slot_retained_bytes: IntGauge,
}

impl SourceMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help| register(registry, IntGauge::new(name, help));
        let counter = |name, help| register(registry, IntCounter::new(name, help));
        Ok(Self {
            connected: gauge(
                "highwater_replication_connected",
                "1 while the change stream is connected",
            )?,
            standby: gauge(
                "highwater_replication_standby",
                "1 while another instance holds the slot and this one waits to take over: healthy, though not connected",
            )?,
            reconnects: counter(
                "highwater_replication_reconnects_total",
                "Connections of the change stream after the first",
            )?,
            received_bytes: counter(
                "highwater_replication_received_bytes_total",
                "Bytes received on the replication connection",
            )?,
            lag_bytes: gauge(
                "highwater_replication_lag_bytes",
                "WAL that the server has written and this instance has not applied",
            )?,
            lag_seconds: register(
                registry,
                Gauge::new(
                    "highwater_replication_lag_seconds",
                    "Time since this instance was last caught up with the server; 0 while it is",
                ),
            )?,
            slot_retained_bytes: gauge(
                "highwater_slot_retained_wal_bytes",
                "WAL that the replication slot makes the server retain",
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_described_well_and_registered_once() {
        let registry = Registry::default();
        SourceMetrics::register(&registry).unwrap();
        assert_eq!(registry.gather().len(), 7);
        assert!(SourceMetrics::register(&registry).is_err());
    }
}
