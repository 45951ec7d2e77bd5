//! The session: the only module that connects and reconnects.

mod connect;

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::announcement::AnnouncementQueue;
use super::assembler::Assembler;
use super::catalog_poller::{CatalogPoller, CatalogSnapshot};
use super::commit_holdback::CommitHoldback;
use super::error::ReplicationError;
use super::feedback::{Feedback, ResumeWindow};
use super::liveness::LivenessMonitor;
use super::metrics::SourceMetrics;
use super::options::ReplicationOptions;
use super::read_coalescer::ReadCoalescer;
use super::reconnect::ReconnectPolicy;
use super::status_reporter::StatusReporter;
use super::stream::{EventBatch, ReplicationStream};
use crate::history::TimelineHistory;
use crate::lsn::Lsn;
use crate::source::EventSink;
use crate::source_status::{Phase, PostmasterId, SourceStatus, StreamRequests};
use crate::version::Epoch;
use crate::wire::{CopyBoth, WalsenderConnection};

/// A consumer of one slot across connections.
pub(super) struct ReplicationSession {
    options: ReplicationOptions,
    channels: SessionChannels,
    assembler: Assembler,
    announcements: AnnouncementQueue,
    reporter: StatusReporter,
    feedback: Option<Feedback>,
    /// The history the assembler's position belongs to; `None` before the first stream.
    history: Option<TimelineHistory>,
    /// Set once the server has lost WAL that it had written: the epoch it reports, and the history
    /// used in its place since.
    diverged: Option<(Epoch, TimelineHistory)>,
    /// The slot can't continue: it is to be replaced.
    replace_slot: bool,
    reconnect: ReconnectPolicy,
    /// The server process of the last stream.
    walsender: Option<ServerProcess>,
}

/// The session's channels to the rest of the process.
pub(super) struct SessionChannels {
    /// Receives the events and reports the applied position.
    pub(super) events: EventSink,
    /// Where the session publishes its state.
    pub(super) status: watch::Sender<SourceStatus>,
    /// Requests to act sooner than on the session's own schedule.
    pub(super) requests: StreamRequests,
    /// Ends the session.
    pub(super) shutdown: CancellationToken,
}

/// A process of a server. Its id alone could be that of another process later, or on another server.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
struct ServerProcess {
    pid: i32,
    /// `pg_stat_activity.backend_start`, as text.
    backend_start: String,
    postmaster: PostmasterId,
}

/// A stream that has begun, and the SQL connection beside it.
struct ConnectedSession {
    copy: CopyBoth,
    poller: CatalogPoller,
    snapshots: watch::Receiver<Option<CatalogSnapshot>>,
    sql: WalsenderConnection,
    pid: i32,
    goal: Lsn,
    notices_partitions: bool,
}

/// Interval at which a busy slot is polled, so that a standby takes over within a second.
const STANDBY_INTERVAL: Duration = Duration::from_millis(250);

impl ReplicationSession {
    /// A session that has not connected yet.
    pub(super) fn new(
        options: ReplicationOptions,
        channels: SessionChannels,
        metrics: SourceMetrics,
    ) -> Self {
        Self {
            assembler: Assembler::new(options.limits),
            announcements: AnnouncementQueue::default(),
            reporter: StatusReporter::new(channels.status.clone(), metrics),
            options,
            channels,
            feedback: None,
            history: None,
            diverged: None,
            replace_slot: false,
            reconnect: ReconnectPolicy::new(),
            walsender: None,
        }
    }

    /// Streams until the shutdown.
    ///
    /// # Errors Failures that waiting cannot resolve, and only before the first stream: later everything is retried while readers are served.
    pub(super) async fn run(mut self) -> Result<(), ReplicationError> {
        let shutdown = self.channels.shutdown.clone();
        loop {
            let started = Instant::now();
            let Err(error) = self.stream_once(&shutdown).await else { return Ok(()) };
            if self.is_final(&error) {
                return Err(error);
            }
            let pause = self.pause_after(&error, started.elapsed());
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    fn is_final(&self, error: &ReplicationError) -> bool {
        let has_streamed = self.history.is_some();
        matches!(error, ReplicationError::Stopping) || (!has_streamed && error.is_permanent())
    }

    /// Connects and streams until the connection fails, or until the shutdown: then the position is
    /// confirmed and the connection closed.
    async fn stream_once(&mut self, shutdown: &CancellationToken) -> Result<(), ReplicationError> {
        let connected = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            connected = self.connect() => connected?,
        };
        let (mut stream, poller, sql) = self.stream(connected);
        let error = tokio::select! {
            () = shutdown.cancelled() => return stream.finish().await,
            error = stream.run() => error,
            error = poller.run(sql) => error,
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            sent = stream.send_batch() => sent?,
        }
        if matches!(error, ReplicationError::MembershipChanged) {
            // The next stream needs the slot at once.
            stream.finish().await?;
        }
        Err(error)
    }

    /// Logs and publishes the failure, and returns the pause before the next attempt.
    fn pause_after(&mut self, error: &ReplicationError, lasted: Duration) -> Duration {
        if error.is_slot_in_use() {
            self.stand_by(None);
            return STANDBY_INTERVAL;
        }
        if matches!(error, ReplicationError::MembershipChanged) {
            tracing::info!("{error}; restarting the stream");
            return Duration::ZERO;
        }
        let slot = &self.options.slot;
        if error.is_slot_older_than_publication() {
            tracing::warn!(%error, slot, "the slot is older than the publication; it will be replaced");
            self.replace_slot = true;
        } else if error.is_caused_by_content()
            && self.reconnect.is_stalled(self.assembler.position())
        {
            tracing::error!(%error, slot, position = %self.assembler.position(), "the stream fails repeatedly at the same position; the slot will be replaced and every table reset");
            self.replace_slot = true;
        }
        let pause = self.reconnect.pause(lasted);
        tracing::warn!(%error, retry_in = ?pause, "change stream lost; reconnecting");
        self.reporter.disconnected(Phase::Disconnected(error.to_string()));
        pause
    }

    fn stand_by(&mut self, pid: Option<i32>) {
        // If there was anything wrong with the slot, its consumer has resolved it.
        self.replace_slot = false;
        let holder = pid.map_or(String::new(), |pid| format!(" (server process {pid})"));
        let slot = &self.options.slot;
        let phase = Phase::Standby(format!(
            "another consumer{holder} holds the replication slot \"{slot}\"; this instance takes over when it is free"
        ));
        if self.channels.status.borrow().phase != phase {
            tracing::info!(slot, pid, "slot in use by another consumer; standing by");
        }
        self.reporter.disconnected(phase);
    }

    fn stream(
        &mut self,
        connected: ConnectedSession,
    ) -> (ReplicationStream<'_>, CatalogPoller, WalsenderConnection) {
        let ConnectedSession { copy, poller, snapshots, sql, pid, goal, notices_partitions } =
            connected;
        let window = if self.options.temporary_slot {
            ResumeWindow::NONE
        } else {
            self.options.resume_window
        };
        let from = self.assembler.position();
        let stream = ReplicationStream {
            coalescer: ReadCoalescer::new(!copy.is_unix_socket()),
            copy,
            publication: &self.options.publication,
            feedback: self
                .feedback
                .get_or_insert_with(|| Feedback::new(window, from, Instant::now())),
            assembler: &mut self.assembler,
            events: &self.channels.events.batches,
            applied: self.channels.events.applied.clone(),
            snapshots,
            requests: self.channels.requests.clone(),
            announcements: self.announcements.clone(),
            reporter: &mut self.reporter,
            goal,
            batch: EventBatch::default(),
            holdback: CommitHoldback::default(),
            reply_requests: std::collections::VecDeque::new(),
            liveness: LivenessMonitor::default(),
            probed_at: Instant::now(),
            position_requested_at: tokio::time::Instant::now(),
            notices_partitions,
            pid,
            server_end: goal,
        };
        (stream, poller, sql)
    }
}
