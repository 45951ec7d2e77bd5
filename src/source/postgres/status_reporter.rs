//! The session's published state: status snapshot and metrics.

use std::time::Instant;

use tokio::sync::watch;

use super::catalog_poller::CatalogSnapshot;
use super::metrics::SourceMetrics;
use crate::lsn::Lsn;
use crate::source_status::{Phase, SourceStatus};

/// Publisher of the session's state.
pub(super) struct StatusReporter {
    status: watch::Sender<SourceStatus>,
    metrics: SourceMetrics,
    /// When everything the server was known to have written was last applied.
    caught_up_at: Instant,
    connected_before: bool,
    /// When bytes last arrived from the server.
    last_bytes_at: Option<Instant>,
}

impl StatusReporter {
    pub(super) fn new(status: watch::Sender<SourceStatus>, metrics: SourceMetrics) -> Self {
        Self {
            status,
            metrics,
            caught_up_at: Instant::now(),
            connected_before: false,
            last_bytes_at: None,
        }
    }

    /// The walsender streams.
    pub(super) fn connected(&mut self, server_version: Option<&str>) {
        let again = std::mem::replace(&mut self.connected_before, true);
        self.metrics.connected.set(1);
        self.metrics.standby.set(0);
        self.metrics.reconnects.inc_by(u64::from(again));
        self.status.send_modify(|status| {
            status.phase = Phase::CatchingUp;
            status.last_seen = Some(Instant::now());
            status.server_version = server_version.map(str::to_owned);
            status.reconnects += u64::from(again);
        });
    }

    /// There is no stream; the phase carries the reason.
    pub(super) fn disconnected(&mut self, phase: Phase) {
        self.metrics.connected.set(0);
        self.metrics.standby.set(i64::from(matches!(phase, Phase::Standby(_))));
        self.measure_lag(Instant::now());
        self.status.send_if_modified(|status| {
            let changed = status.phase != phase;
            status.phase = phase;
            changed
        });
    }

    /// The stream has caught up with where the server was when it began. Returns true if it had not
    /// before.
    pub(super) fn caught_up(&mut self) -> bool {
        self.status.send_if_modified(|status| {
            let is_change = status.phase == Phase::CatchingUp;
            if is_change {
                status.phase = Phase::Streaming;
                status.was_ready = true;
            }
            is_change
        })
    }

    /// The server responds again. Whether anything was missed meanwhile is not known yet.
    pub(super) fn answering_again(&mut self) {
        self.metrics.connected.set(1);
        self.status.send_modify(|status| status.phase = Phase::CatchingUp);
    }

    pub(super) fn received_bytes(&mut self, bytes: usize) {
        self.last_bytes_at = Some(Instant::now());
        self.metrics.received_bytes.inc_by(bytes as u64);
    }

    /// The server replied to a probe. Published at once, for requests that wait for certainty.
    pub(super) fn answered(&mut self) {
        self.status.send_modify(|status| {
            status.last_message = self.last_bytes_at;
            status.last_seen = self.last_bytes_at;
        });
    }

    /// The catalog was refreshed.
    pub(super) fn catalog_refreshed(&mut self, snapshot: &CatalogSnapshot) {
        let slot = snapshot.source.slot.as_ref();
        let retained = slot.and_then(|slot| slot.retained_bytes);
        self.metrics.slot_retained_bytes.set(gauge(retained.unwrap_or(0)));
        self.status.send_modify(|status| {
            status.last_seen = Some(Instant::now());
            let own = status.slot_mut();
            own.retained_bytes = retained;
            own.wal_status = slot.and_then(|slot| slot.wal_status.clone());
            own.server_wal_end = own.server_wal_end.max(snapshot.source.wal_end);
        });
    }

    /// The stream's positions changed.
    pub(super) fn positions(
        &mut self,
        received: Lsn,
        applied: Lsn,
        confirmed: Lsn,
        server_end: Lsn,
    ) {
        let now = Instant::now();
        let lag = server_end.bytes_since(applied);
        if lag == 0 {
            self.caught_up_at = now;
        }
        self.metrics.lag_bytes.set(gauge(lag));
        self.measure_lag(now);
        let last_bytes_at = self.last_bytes_at;
        self.status.send_modify(|status| {
            status.received = received;
            status.last_message = last_bytes_at;
            let slot = status.slot_mut();
            slot.confirmed = confirmed;
            slot.server_wal_end = server_end;
        });
    }

    fn measure_lag(&self, now: Instant) {
        let lag = now.duration_since(self.caught_up_at);
        self.metrics.lag_seconds.set(lag.as_secs_f64());
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
