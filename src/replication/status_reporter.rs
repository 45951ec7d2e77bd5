//! What the session tells the outside about itself: status picture and metrics.

use std::time::Instant;

use tokio::sync::watch;

use super::catalog_poller::CatalogSnapshot;
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::source::{Phase, SourceStatus};

/// Publishes the session's state.
pub(super) struct StatusReporter {
    status: watch::Sender<SourceStatus>,
    metrics: Metrics,
    /// When everything the server was known to have written was applied, last time.
    caught_up_at: Instant,
    connected_before: bool,
    /// When bytes last came from the server.
    heard_at: Option<Instant>,
}

impl StatusReporter {
    pub(super) fn new(status: watch::Sender<SourceStatus>, metrics: Metrics) -> Self {
        Self {
            status,
            metrics,
            caught_up_at: Instant::now(),
            connected_before: false,
            heard_at: None,
        }
    }

    /// The walsender streams.
    pub(super) fn connected(&mut self, server_version: Option<&str>) {
        let again = std::mem::replace(&mut self.connected_before, true);
        self.metrics.replication_connected.set(1);
        self.metrics.replication_standby.set(0);
        self.metrics.replication_reconnects.inc_by(u64::from(again));
        self.status.send_modify(|status| {
            status.phase = Phase::CatchingUp;
            status.last_seen = Some(Instant::now());
            status.server_version = server_version.map(str::to_owned);
            status.reconnects += u64::from(again);
        });
    }

    /// There is no stream, for the reason given.
    pub(super) fn disconnected(&mut self, phase: Phase) {
        self.metrics.replication_connected.set(0);
        self.metrics.replication_standby.set(i64::from(matches!(phase, Phase::Standby(_))));
        self.measure_lag(Instant::now());
        self.status.send_if_modified(|status| {
            let changed = status.phase != phase;
            status.phase = phase;
            changed
        });
    }

    /// The stream has caught up with where the server was when it began. Answers whether that is
    /// news.
    pub(super) fn caught_up(&mut self) -> bool {
        self.status.send_if_modified(|status| {
            let news = status.phase == Phase::CatchingUp;
            if news {
                status.phase = Phase::Streaming;
                status.was_ready = true;
            }
            news
        })
    }

    /// The server answers again: whether anything was missed meanwhile is not known yet.
    pub(super) fn heard_again(&mut self) {
        self.metrics.replication_connected.set(1);
        self.status.send_modify(|status| status.phase = Phase::CatchingUp);
    }

    pub(super) fn received_bytes(&mut self, bytes: usize) {
        self.heard_at = Some(Instant::now());
        self.metrics.replication_received_bytes.inc_by(bytes as u64);
    }

    /// The server is there: told at once, for those who wait until it is certain.
    pub(super) fn answered(&mut self) {
        self.status.send_modify(|status| {
            status.last_message = self.heard_at;
            status.last_seen = self.heard_at;
        });
    }

    /// A look at the server.
    pub(super) fn looked(&mut self, look: &CatalogSnapshot) {
        let slot = look.source.slot.as_ref();
        let retained = slot.and_then(|slot| slot.retained_bytes);
        self.metrics.slot_retained_wal_bytes.set(gauge(retained.unwrap_or(0)));
        self.status.send_modify(|status| {
            status.last_seen = Some(Instant::now());
            status.slot_retained_bytes = retained;
            status.slot_wal_status = slot.and_then(|slot| slot.wal_status.clone());
            status.server_wal_end = status.server_wal_end.max(look.source.wal_end);
        });
    }

    /// Where everything stands.
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
        self.metrics.replication_lag_bytes.set(gauge(lag));
        self.measure_lag(now);
        let heard_at = self.heard_at;
        self.status.send_modify(|status| {
            status.received = received;
            status.confirmed = confirmed;
            status.server_wal_end = server_end;
            status.last_message = heard_at;
        });
    }

    fn measure_lag(&self, now: Instant) {
        let lag = now.duration_since(self.caught_up_at);
        self.metrics.replication_lag_seconds.set(lag.as_secs_f64());
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
