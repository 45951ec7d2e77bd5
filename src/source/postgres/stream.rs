//! One connection's stream: frames in, batches of events out, status updates back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::announcement::AnnouncementQueue;
use super::assembler::Assembler;
use super::catalog_poller::CatalogSnapshot;
use super::commit_holdback::CommitHoldback;
use super::error::ReplicationError;
use super::feedback::Feedback;
use super::liveness::{Liveness, LivenessMonitor};
use super::read_coalescer::ReadCoalescer;
use super::status_reporter::StatusReporter;
use crate::change::{CommitTime, Event};
use crate::lsn::Lsn;
use crate::pgoutput::{self, LogicalMessage};
use crate::row::RowChange;
use crate::source_status::{Phase, StreamRequests};
use crate::wire::{CopyBoth, Frame, StatusUpdate};

/// Interval of unsolicited status updates, well inside `wal_sender_timeout` (60 s by default).
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// The same while the stream catches up with the server on a quiet connection.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(50);
/// Commits at which a batch is sent, even if more is buffered.
const BATCH_EVENTS_MAX: usize = 4096;
/// Row changes at which a batch is sent.
const BATCH_CHANGES_MAX: usize = 16_384;
/// Bytes of rows at which a batch is sent.
const BATCH_ROW_BYTES_MAX: usize = 4 << 20;
/// Reply requests within [`STATUS_INTERVAL`] that mean the server wants its clients to leave: at
/// shutdown it waits until all its WAL is confirmed, which a resume window never is, and requests
/// another reply as soon as it has one. Otherwise it requests replies only from clients that sent
/// nothing for half of `wal_sender_timeout`.
const REPLY_REQUESTS_MAX: usize = 20;
/// Reply requests that cause a catalog refresh: with a long round trip the server can't request
/// more. A server that shuts down accepts no new session.
const REPLY_REQUESTS_SUSPECT: usize = 3;
/// Minimum interval between position requests to the server on behalf of waiting clients.
const POSITION_INTERVAL: Duration = Duration::from_millis(1);
/// Timeout for sending a status update: the connection is dead.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// A stream in progress.
pub(super) struct ReplicationStream<'a> {
    pub(super) copy: CopyBoth,
    pub(super) publication: &'a str,
    pub(super) assembler: &'a mut Assembler,
    pub(super) events: &'a Sender<Vec<Event>>,
    /// Everything that ends at or before this is visible to readers.
    pub(super) applied: watch::Receiver<Lsn>,
    pub(super) snapshots: watch::Receiver<Option<CatalogSnapshot>>,
    pub(super) requests: StreamRequests,
    /// Changes to announce to other instances.
    pub(super) announcements: AnnouncementQueue,
    pub(super) feedback: &'a mut Feedback,
    pub(super) reporter: &'a mut StatusReporter,
    /// The stream has caught up once this is applied.
    pub(super) goal: Lsn,
    pub(super) coalescer: ReadCoalescer,
    pub(super) batch: EventBatch,
    pub(super) holdback: CommitHoldback,
    pub(super) reply_requests: VecDeque<Instant>,
    pub(super) liveness: LivenessMonitor,
    /// When the last probe was sent.
    pub(super) probed_at: Instant,
    /// When the server's position was last requested on behalf of a waiting client.
    pub(super) position_requested_at: tokio::time::Instant,
    /// Whether the server re-evaluates what is published when partitions come or go.
    pub(super) notices_partitions: bool,
    /// The walsender at the other end.
    pub(super) pid: i32,
    /// The newest position the server is known to have written.
    pub(super) server_end: Lsn,
}

/// Events to be sent to the store.
#[derive(Default)]
pub(super) struct EventBatch {
    events: Vec<Event>,
    changes: usize,
    row_bytes: usize,
}

impl EventBatch {
    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS_MAX
            || self.changes >= BATCH_CHANGES_MAX
            || self.row_bytes >= BATCH_ROW_BYTES_MAX
    }

    fn account_for(&mut self, before: usize) {
        for event in self.events.get(before..).unwrap_or_default() {
            if let Event::Commit(transaction) = event {
                self.changes += transaction.changes.len();
                self.row_bytes += transaction.rows.iter().map(RowChange::bytes).sum::<usize>();
            }
        }
    }
}

impl ReplicationStream<'_> {
    /// Streams until the connection or the store ends, and returns the reason.
    pub(super) async fn run(&mut self) -> ReplicationError {
        match self.stream().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn stream(&mut self) -> Result<Infallible, ReplicationError> {
        let mut tick = interval(CATCH_UP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.read_buffered(&mut tick).await?;
            if self.assembler.take_needs_refresh() {
                self.requests.refresh_catalog.notify_one();
            }
            self.announcements.add(self.assembler.take_delta());
            if !self.holdback.holds_back(self.assembler.is_awaiting_refresh(), Instant::now()) {
                self.flush(&mut tick).await?;
            }
            if self.coalescer.should_pause() {
                self.pause().await;
            }
            tokio::select! {
                read = self.copy.fill() => self.on_bytes(read?),
                _ = tick.tick() => self.on_tick(&mut tick).await?,
                () = position_requested(&self.requests, self.position_requested_at) => {
                    self.position_requested_at = tokio::time::Instant::now();
                    self.send_status(true).await?;
                }
                changed = self.snapshots.changed() => {
                    changed.map_err(|_| ReplicationError::Stopping)?;
                    self.take_snapshot().await?;
                }
            }
        }
    }

    /// Confirms the position and ends the stream in order.
    pub(super) async fn finish(mut self) -> Result<(), ReplicationError> {
        self.send_status(false).await?;
        Ok(self.copy.finish().await?)
    }

    /// Processes every complete frame that has been received.
    async fn read_buffered(&mut self, tick: &mut Interval) -> Result<(), ReplicationError> {
        loop {
            if self.assembler.take_membership_changed() && !self.notices_partitions {
                return Err(ReplicationError::MembershipChanged);
            }
            let before = self.batch.events.len();
            let mut reply = false;
            match self.copy.next_frame()? {
                None => return Ok(()),
                Some(Frame::XLogData { wal_end, clock, data, .. }) => {
                    self.server_end = self.server_end.max(wal_end);
                    if self.assembler.in_block() {
                        let streamed = pgoutput::decode_streamed(data)?;
                        self.assembler.push_streamed(&streamed, &mut self.batch.events)?;
                    } else {
                        let message = pgoutput::decode(data)?;
                        match &message {
                            LogicalMessage::Begin(begin) => {
                                self.coalescer.on_transaction(begin.committed_at);
                            }
                            LogicalMessage::StreamCommit(commit) => {
                                self.coalescer.on_transaction(commit.committed_at);
                            }
                            _ => {}
                        }
                        self.assembler.push(&message, &mut self.batch.events)?;
                    }
                    self.coalescer.on_message(clock);
                }
                Some(Frame::Keepalive { wal_end, reply_requested, .. }) => {
                    self.coalescer.on_idle();
                    self.server_end = self.server_end.max(wal_end);
                    self.assembler.keepalive(wal_end, &mut self.batch.events);
                    reply = reply_requested;
                }
            }
            self.batch.account_for(before);
            if reply {
                self.count_reply_request()?;
                self.send_status(false).await?;
            }
            if self.batch.is_full() {
                self.flush(tick).await?;
            }
        }
    }

    /// Sends the batch to the store. While the store is busy, status updates continue, so that the
    /// server does not close the connection.
    async fn flush(&mut self, tick: &mut Interval) -> Result<(), ReplicationError> {
        if self.batch.events.is_empty() {
            return Ok(());
        }
        loop {
            tokio::select! {
                sent = self.send_batch() => return sent,
                _ = tick.tick() => self.send_status(false).await?,
            }
        }
    }

    /// Sends the batch to the store, however long that takes. Cancel safe.
    ///
    /// Also after the stream has failed: what is assembled ends before the position at which the
    /// next stream begins, and would never be sent again.
    pub(super) async fn send_batch(&mut self) -> Result<(), ReplicationError> {
        let permit = self.events.reserve().await.map_err(|_| ReplicationError::Stopping)?;
        let events = std::mem::take(&mut self.batch).events;
        if !events.is_empty() {
            self.assembler.release_without_refresh();
            permit.send(events);
        }
        Ok(())
    }

    /// Lets bytes accumulate in the receive window.
    ///
    /// The thread sleeps, not only this task: a runtime that waits for a timer wakes for every
    /// segment that arrives meanwhile, which costs both sides what the pause is to spare them. The
    /// thread belongs to the change stream; the store's writer, which shares it, runs first.
    async fn pause(&mut self) {
        yield_now().await;
        thread::sleep(self.coalescer.until_half_way(Instant::now()));
        let (half_way, rest) = (self.copy.readable_bytes(), self.coalescer.rest(Instant::now()));
        thread::sleep(rest);
        if let (Some(half_way), Some(at_end)) = (half_way, self.copy.readable_bytes()) {
            self.coalescer.adjust(half_way, at_end, rest);
        }
    }

    fn on_bytes(&mut self, bytes: usize) {
        self.coalescer.on_read(Instant::now());
        self.reporter.received_bytes(bytes);
        if self.liveness.liveness() != Liveness::Alive {
            self.reporter.answering_again();
            self.goal = self.server_end;
        }
        if self.liveness.is_probing() {
            self.reporter.answered();
        }
        self.liveness.on_bytes();
    }

    async fn on_tick(&mut self, tick: &mut Interval) -> Result<(), ReplicationError> {
        let applied = *self.applied.borrow_and_update();
        if applied >= self.goal && self.reporter.caught_up() {
            *tick = interval(STATUS_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick.reset();
        }
        // Ticks are not exact: one that comes slightly early counts.
        let probing = self.probed_at.elapsed() + CATCH_UP_INTERVAL > STATUS_INTERVAL;
        if probing {
            self.probed_at = Instant::now();
            self.liveness.on_probe();
            self.check_liveness()?;
        }
        // On a quiet server only a reply shows that a position is reached.
        let awaits_position = self.assembler.position() < self.server_end.max(self.goal);
        self.send_status(awaits_position || probing).await
    }

    /// Acts on unanswered probes, if there are any.
    fn check_liveness(&mut self) -> Result<(), ReplicationError> {
        if self.liveness.needs_refresh() {
            self.requests.refresh_catalog.notify_one();
        }
        match self.liveness.liveness() {
            Liveness::Alive => {}
            Liveness::Suspect => self.reporter.disconnected(Phase::Disconnected(format!(
                "the server has not responded for {} s",
                (STATUS_INTERVAL * LivenessMonitor::SUSPECT_AFTER).as_secs()
            ))),
            Liveness::Dead => return Err(ReplicationError::Silent),
        }
        Ok(())
    }

    async fn take_snapshot(&mut self) -> Result<(), ReplicationError> {
        let snapshot = self.snapshots.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            if !snapshot.source.publication_exists {
                return Err(ReplicationError::NoPublication(self.publication.to_owned()));
            }
            self.liveness.on_activity(
                snapshot.source.walsender(self.pid).ok_or(ReplicationError::Abandoned)?,
            );
            self.server_end = self.server_end.max(snapshot.source.wal_end);
            self.reporter.catalog_refreshed(&snapshot);
            self.assembler.update_catalog(snapshot.catalog, &mut self.batch.events);
            if self.assembler.position() < self.server_end {
                self.send_status(true).await?;
            }
        }
        Ok(())
    }

    /// Sends the stream's position to the server. Only what is applied and has left the resume
    /// window is confirmed.
    async fn send_status(&mut self, reply_requested: bool) -> Result<(), ReplicationError> {
        let now = Instant::now();
        let applied = *self.applied.borrow();
        self.feedback.applied(applied, now);
        let confirmed = self.feedback.resume_point(now);
        self.reporter.positions(self.assembler.position(), applied, confirmed, self.server_end);
        let clock = CommitTime::from_timestamp(jiff::Timestamp::now()).0;
        let written = self.assembler.position().max(confirmed);
        let status = StatusUpdate {
            written,
            flushed: confirmed,
            applied: confirmed,
            clock,
            reply_requested,
        };
        let sent = timeout(SEND_TIME_MAX, self.copy.send_status(status)).await;
        Ok(sent.map_err(|_| ReplicationError::Silent)??)
    }

    fn count_reply_request(&mut self) -> Result<(), ReplicationError> {
        let now = Instant::now();
        self.reply_requests.push_back(now);
        let recent = |at: &&Instant| now.duration_since(**at) < STATUS_INTERVAL;
        if self.reply_requests.iter().filter(recent).count() >= REPLY_REQUESTS_SUSPECT {
            self.requests.refresh_catalog.notify_one();
        }
        if self.reply_requests.len() <= REPLY_REQUESTS_MAX {
            return Ok(());
        }
        match self.reply_requests.pop_front() {
            Some(oldest) if now.duration_since(oldest) < STATUS_INTERVAL => {
                Err(ReplicationError::ServerShutdown)
            }
            _ => Ok(()),
        }
    }
}

/// Waits until a client waits for a position and [`POSITION_INTERVAL`] has passed since the last
/// request. Cancel safe: the request is consumed last.
async fn position_requested(
    requests: &StreamRequests,
    position_requested_at: tokio::time::Instant,
) {
    sleep_until(position_requested_at + POSITION_INTERVAL).await;
    requests.report_position.notified().await;
}
