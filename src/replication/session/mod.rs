//! The session: the only place that connects and reconnects.

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
use super::options::{ReplicationChannels, ReplicationOptions};
use super::read_coalescer::ReadCoalescer;
use super::retry::Retry;
use super::status_reporter::StatusReporter;
use super::stream::{EventBatch, ReplicationStream};
use crate::history::TimelineHistory;
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::source::{Phase, PostmasterId};
use crate::version::Epoch;
use crate::wire::{CopyBoth, WalsenderConnection};

/// Streams a slot's changes, whatever happens to the connection.
pub struct ReplicationSession {
    options: ReplicationOptions,
    channels: ReplicationChannels,
    assembler: Assembler,
    outbox: AnnouncementQueue,
    report: StatusReporter,
    feedback: Option<Feedback>,
    /// The history the assembler's position belongs to; `None` before the first stream.
    history: Option<TimelineHistory>,
    /// The server lost what it had written: the epoch that it tells, and what we call its history since.
    rewound: Option<(Epoch, TimelineHistory)>,
    /// The slot can't continue: drop it and make a new one.
    replace_slot: bool,
    retry: Retry,
    /// The process at the other end of our last stream.
    walsender: Option<ServerProcess>,
}

/// A process of a server. Its number alone could be that of another one later, or elsewhere.
#[derive(Debug, PartialEq, Eq)]
struct ServerProcess {
    pid: i32,
    /// `pg_stat_activity.backend_start`, as text.
    started: String,
    server: PostmasterId,
}

/// A stream that has begun, and the SQL connection beside it.
struct ConnectedSession {
    copy: CopyBoth,
    watch: CatalogPoller,
    looks: watch::Receiver<Option<CatalogSnapshot>>,
    sql: WalsenderConnection,
    pid: i32,
    goal: Lsn,
    notices_partitions: bool,
}

/// A busy slot is looked at this often, so that a standby takes over within a second.
const STANDBY_INTERVAL: Duration = Duration::from_millis(250);

impl ReplicationSession {
    /// A session that has not begun.
    pub fn new(
        options: ReplicationOptions,
        channels: ReplicationChannels,
        metrics: Metrics,
    ) -> Self {
        Self {
            assembler: Assembler::new(options.limits),
            outbox: AnnouncementQueue::default(),
            report: StatusReporter::new(channels.status.clone(), metrics),
            options,
            channels,
            feedback: None,
            history: None,
            rewound: None,
            replace_slot: false,
            retry: Retry::new(),
            walsender: None,
        }
    }

    /// Streams until the shutdown is asked for.
    ///
    /// # Errors
    /// What waiting won't heal, and only before the first stream: later everything is retried while
    /// readers go on being served.
    pub async fn run(mut self) -> Result<(), ReplicationError> {
        let shutdown = self.channels.shutdown.clone();
        loop {
            let began = Instant::now();
            let Err(error) = self.stream_once(&shutdown).await else { return Ok(()) };
            if self.is_final(&error) {
                return Err(error);
            }
            let pause = self.pause_after(&error, began.elapsed());
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    fn is_final(&self, error: &ReplicationError) -> bool {
        let began_before = self.history.is_some();
        matches!(error, ReplicationError::Stopping) || (!began_before && error.is_permanent())
    }

    /// Connects and streams until the connection fails, or until the shutdown: then the position is
    /// confirmed and the connection closed.
    async fn stream_once(&mut self, shutdown: &CancellationToken) -> Result<(), ReplicationError> {
        let connected = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            connected = self.connect() => connected?,
        };
        let (mut stream, watch, sql) = self.stream(connected);
        let error = tokio::select! {
            () = shutdown.cancelled() => return stream.finish().await,
            error = stream.run() => error,
            error = watch.run(sql) => error,
        };
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            handed_over = stream.hand_over() => handed_over?,
        }
        if matches!(error, ReplicationError::MembershipChanged) {
            // The slot is to be free at once.
            stream.finish().await?;
        }
        Err(error)
    }

    /// Says what went wrong; answers how long to wait before the next try.
    fn pause_after(&mut self, error: &ReplicationError, lasted: Duration) -> Duration {
        if error.is_slot_in_use() {
            self.stand_by(None);
            return STANDBY_INTERVAL;
        }
        if matches!(error, ReplicationError::MembershipChanged) {
            tracing::info!("{error}; going on in one");
            return Duration::ZERO;
        }
        let slot = &self.options.slot;
        if error.is_slot_older_than_publication() {
            tracing::warn!(%error, slot, "the slot is older than the publication; it will be replaced");
            self.replace_slot = true;
        } else if error.is_of_content() && self.retry.is_stuck(self.assembler.position()) {
            tracing::error!(%error, slot, position = %self.assembler.position(), "the stream fails at the same place again and again; the slot will be replaced and every table reset");
            self.replace_slot = true;
        }
        let pause = self.retry.pause(lasted);
        tracing::warn!(%error, retry_in = ?pause, "no change stream");
        self.report.disconnected(Phase::Disconnected(error.to_string()));
        pause
    }

    fn stand_by(&mut self, pid: Option<i32>) {
        // Whatever was wrong with the slot, somebody else has made it work.
        self.replace_slot = false;
        let holder = pid.map_or(String::new(), |pid| format!(" (server process {pid})"));
        let slot = &self.options.slot;
        let phase = Phase::Standby(format!(
            "another consumer{holder} holds the replication slot \"{slot}\"; this instance takes over when it is free"
        ));
        if self.channels.status.borrow().phase != phase {
            tracing::info!(slot, pid, "the slot is in use; standing by");
        }
        self.report.disconnected(phase);
    }

    fn stream(
        &mut self,
        connected: ConnectedSession,
    ) -> (ReplicationStream<'_>, CatalogPoller, WalsenderConnection) {
        let ConnectedSession { copy, watch, looks, sql, pid, goal, notices_partitions } = connected;
        let window = if self.options.temporary_slot {
            ResumeWindow::NONE
        } else {
            self.options.resume_window
        };
        let from = self.assembler.position();
        let stream = ReplicationStream {
            pace: ReadCoalescer::new(!copy.is_unix_socket()),
            copy,
            publication: &self.options.publication,
            feedback: self
                .feedback
                .get_or_insert_with(|| Feedback::new(window, from, Instant::now())),
            assembler: &mut self.assembler,
            events: &self.channels.events,
            applied: self.channels.applied.clone(),
            looks,
            requests: self.channels.requests.clone(),
            outbox: self.outbox.clone(),
            report: &mut self.report,
            goal,
            batch: EventBatch::default(),
            hold: CommitHoldback::default(),
            reply_requests: std::collections::VecDeque::new(),
            silence: LivenessMonitor::default(),
            probed_at: Instant::now(),
            asked_at: tokio::time::Instant::now(),
            notices_partitions,
            pid,
            server_end: goal,
        };
        (stream, watch, sql)
    }
}
