//! The walsender source: from a replication slot to events.
//!
//! [`session`] is the only module that connects and reconnects. It drives one [`stream`] at a time:
//! frames are decoded, the [`assembler`] turns messages into transactions, and batches of events go
//! over a bounded channel to the store. Backwards flows one number, the applied position; [`feedback`]
//! turns it into the position up to which the server may discard WAL. Beside the stream,
//! [`catalog_poller`] refreshes the catalog.
//!
//! `assembler`, `relation`, `transaction_buffer`, `feedback`, `commit_holdback`, `read_coalescer`,
//! `liveness` and `reconnect` are pure: no I/O, no clock of their own.

mod announcement;
pub mod assembler;
pub mod catalog;
mod catalog_poller;
mod commit_holdback;
pub mod error;
pub mod feedback;
mod liveness;
mod metrics;
mod options;
mod read_coalescer;
mod reconnect;
mod relation;
mod row_buffer;
mod row_layout;
mod session;
mod slot;
mod status_reporter;
mod stream;
pub mod transaction_buffer;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{ChangeSource, EventSink, SourceError};
use crate::source_status::{Phase, SlotStatus, SourceDetail, SourceStatus, StreamRequests};
use session::{ReplicationSession, SessionChannels};

pub use error::ReplicationError;
pub use feedback::ResumeWindow;
pub use metrics::SourceMetrics;
pub use options::{ReplicationOptions, Streaming};
pub use transaction_buffer::TransactionLimits;

/// A replication slot read through a walsender.
pub struct PostgresSource {
    options: ReplicationOptions,
    status: watch::Sender<SourceStatus>,
    metrics: SourceMetrics,
}

impl PostgresSource {
    /// A source that has not connected yet.
    pub fn new(options: ReplicationOptions, metrics: SourceMetrics) -> Self {
        let slot = SlotStatus {
            publication: options.publication.clone(),
            slot: options.slot.clone(),
            limit_bytes: Some(options.resume_window.max_wal),
            ..SlotStatus::default()
        };
        let server = options.target.display_name();
        let status = watch::Sender::new(SourceStatus::new(server, SourceDetail::Postgres(slot)));
        Self { options, status, metrics }
    }
}

impl ChangeSource for PostgresSource {
    fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }

    fn report_disconnected(&self, reason: String) {
        self.status.send_modify(|status| status.phase = Phase::Disconnected(reason));
    }

    fn run(
        self: Box<Self>,
        events: EventSink,
        requests: StreamRequests,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        let channels = SessionChannels { events, status: self.status, requests, shutdown };
        let session = ReplicationSession::new(self.options, channels, self.metrics);
        async { Ok(session.run().await?) }.boxed()
    }
}
