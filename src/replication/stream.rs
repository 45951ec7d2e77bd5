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
use crate::source::{Phase, StreamRequests};
use crate::wire::{CopyBoth, Frame, StatusUpdate};

/// Status updates go out this often on their own, well inside `wal_sender_timeout` (60 s by default).
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// …and this often while the stream catches up with the server on a quiet connection.
const CATCH_UP_INTERVAL: Duration = Duration::from_millis(50);
/// A batch is handed on when it holds this many commits, even if more is buffered.
const BATCH_EVENTS_MAX: usize = 4096;
/// …or this many row changes.
const BATCH_CHANGES_MAX: usize = 16_384;
/// …or this many bytes of rows.
const BATCH_ROW_BYTES_MAX: usize = 4 << 20;
/// A server that asks for so many replies within [`STATUS_INTERVAL`] wants us to leave: at shutdown
/// it waits until all its WAL is confirmed, which a resume window never is, and asks again as soon
/// as it is answered. Otherwise it asks only who has said nothing for half of `wal_sender_timeout`.
const REPLY_REQUESTS_MAX: usize = 20;
/// …and if it asks for so many, a look tells: over a long way it can't ask faster. A server that
/// shuts down lets no new session in.
const REPLY_REQUESTS_SUSPECT: usize = 3;
/// Somebody who waits for a position makes us ask the server where it is, but not more often than this.
const ASK_INTERVAL: Duration = Duration::from_millis(1);
/// A status update that can't be sent for so long never will be.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// A stream in progress.
pub(super) struct ReplicationStream<'a> {
    pub(super) copy: CopyBoth,
    pub(super) publication: &'a str,
    pub(super) assembler: &'a mut Assembler,
    pub(super) events: &'a Sender<Vec<Event>>,
    /// Everything that ends at or before this is visible to readers.
    pub(super) applied: watch::Receiver<Lsn>,
    pub(super) looks: watch::Receiver<Option<CatalogSnapshot>>,
    pub(super) requests: StreamRequests,
    /// What other instances are to be told.
    pub(super) outbox: AnnouncementQueue,
    pub(super) feedback: &'a mut Feedback,
    pub(super) report: &'a mut StatusReporter,
    /// The stream has caught up once this is applied.
    pub(super) goal: Lsn,
    pub(super) pace: ReadCoalescer,
    pub(super) batch: EventBatch,
    pub(super) hold: CommitHoldback,
    pub(super) reply_requests: VecDeque<Instant>,
    pub(super) silence: LivenessMonitor,
    /// When the last probe was sent.
    pub(super) probed_at: Instant,
    /// When the server was last asked where it is because somebody waits for a position.
    pub(super) asked_at: tokio::time::Instant,
    /// Whether the server asks itself again what is published when partitions come or go.
    pub(super) notices_partitions: bool,
    /// The walsender at the other end.
    pub(super) pid: i32,
    /// The newest position the server is known to have written.
    pub(super) server_end: Lsn,
}

/// Events on their way to the store.
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

    fn note_last(&mut self, before: usize) {
        for event in self.events.get(before..).unwrap_or_default() {
            if let Event::Commit(transaction) = event {
                self.changes += transaction.changes.len();
                self.row_bytes += transaction.rows.iter().map(RowChange::bytes).sum::<usize>();
            }
        }
    }
}

impl ReplicationStream<'_> {
    /// Streams until the connection or the store ends; answers why.
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
            self.outbox.add(self.assembler.take_delta());
            if !self.hold.keeps_back(self.assembler.is_awaiting_refresh(), Instant::now()) {
                self.flush(&mut tick).await?;
            }
            if self.pace.should_pause() {
                self.pause().await;
            }
            tokio::select! {
                read = self.copy.fill() => self.heard(read?),
                _ = tick.tick() => self.on_tick(&mut tick).await?,
                () = wished(&self.requests, self.asked_at) => {
                    self.asked_at = tokio::time::Instant::now();
                    self.send_status(true).await?;
                }
                changed = self.looks.changed() => {
                    changed.map_err(|_| ReplicationError::Stopping)?;
                    self.take_look().await?;
                }
            }
        }
    }

    /// Confirms the position and takes leave of the server.
    pub(super) async fn finish(mut self) -> Result<(), ReplicationError> {
        self.send_status(false).await?;
        Ok(self.copy.finish().await?)
    }

    /// Takes every whole frame that is already here.
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
                            LogicalMessage::Begin(begin) => self.pace.begin(begin.committed_at),
                            LogicalMessage::StreamCommit(commit) => {
                                self.pace.begin(commit.committed_at)
                            }
                            _ => {}
                        }
                        self.assembler.push(&message, &mut self.batch.events)?;
                    }
                    self.pace.sent(clock);
                }
                Some(Frame::Keepalive { wal_end, reply_requested, .. }) => {
                    self.pace.idle();
                    self.server_end = self.server_end.max(wal_end);
                    self.assembler.keepalive(wal_end, &mut self.batch.events);
                    reply = reply_requested;
                }
            }
            self.batch.note_last(before);
            if reply {
                self.notice_shutdown()?;
                self.send_status(false).await?;
            }
            if self.batch.is_full() {
                self.flush(tick).await?;
            }
        }
    }

    /// Hands the batch to the store. While the store is busy status updates go on, so the server
    /// never takes us for dead.
    async fn flush(&mut self, tick: &mut Interval) -> Result<(), ReplicationError> {
        if self.batch.events.is_empty() {
            return Ok(());
        }
        loop {
            tokio::select! {
                handed_over = self.hand_over() => return handed_over,
                _ = tick.tick() => self.send_status(false).await?,
            }
        }
    }

    /// Hands the batch to the store, however long that takes. Cancel safe.
    ///
    /// Also after the stream has failed: what is assembled is behind the position at which the next
    /// stream begins, and would never come again.
    pub(super) async fn hand_over(&mut self) -> Result<(), ReplicationError> {
        let permit = self.events.reserve().await.map_err(|_| ReplicationError::Stopping)?;
        let events = std::mem::take(&mut self.batch).events;
        if !events.is_empty() {
            self.assembler.release_without_refresh();
            permit.send(events);
        }
        Ok(())
    }

    /// Lets bytes gather.
    ///
    /// The thread sleeps, not this task alone: a runtime that waits for a timer wakes for every segment
    /// that arrives meanwhile, which costs both sides what the pause is to spare them. The thread is
    /// the change stream's own; the store's writer, which shares it, has its turn before.
    async fn pause(&mut self) {
        yield_now().await;
        thread::sleep(self.pace.until_half_way(Instant::now()));
        let (half_way, rest) = (self.copy.waiting(), self.pace.rest(Instant::now()));
        thread::sleep(rest);
        if let (Some(half_way), Some(at_end)) = (half_way, self.copy.waiting()) {
            self.pace.gathered(half_way, at_end, rest);
        }
    }

    fn heard(&mut self, bytes: usize) {
        self.pace.read(Instant::now());
        self.report.received_bytes(bytes);
        if self.silence.liveness() != Liveness::Alive {
            self.report.heard_again();
            self.goal = self.server_end;
        }
        if self.silence.is_probing() {
            self.report.answered();
        }
        self.silence.heard();
    }

    async fn on_tick(&mut self, tick: &mut Interval) -> Result<(), ReplicationError> {
        let applied = *self.applied.borrow_and_update();
        if applied >= self.goal && self.report.caught_up() {
            *tick = interval(STATUS_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick.reset();
        }
        // Ticks are not exact: one that comes a little early is as good.
        let probing = self.probed_at.elapsed() + CATCH_UP_INTERVAL > STATUS_INTERVAL;
        if probing {
            self.probed_at = Instant::now();
            self.silence.probed();
            self.listen()?;
        }
        // On a quiet server only an answer tells that a position is reached.
        let curious = self.assembler.position() < self.server_end.max(self.goal);
        self.send_status(curious || probing).await
    }

    /// Judges the silence, if there is one.
    fn listen(&mut self) -> Result<(), ReplicationError> {
        if self.silence.needs_refresh() {
            self.requests.refresh_catalog.notify_one();
        }
        match self.silence.liveness() {
            Liveness::Alive => {}
            Liveness::Doubtful => self.report.disconnected(Phase::Disconnected(format!(
                "the server has not answered for {} s",
                (STATUS_INTERVAL * LivenessMonitor::SUSPECT_AFTER).as_secs()
            ))),
            Liveness::Dead => return Err(ReplicationError::Silent),
        }
        Ok(())
    }

    async fn take_look(&mut self) -> Result<(), ReplicationError> {
        let look = self.looks.borrow_and_update().clone();
        if let Some(look) = look {
            if !look.source.publication_exists {
                return Err(ReplicationError::NoPublication(self.publication.to_owned()));
            }
            self.silence.seen(look.source.walsender(self.pid).ok_or(ReplicationError::Abandoned)?);
            self.server_end = self.server_end.max(look.source.wal_end);
            self.report.looked(&look);
            self.assembler.update_catalog(look.catalog, &mut self.batch.events);
            if self.assembler.position() < self.server_end {
                self.send_status(true).await?;
            }
        }
        Ok(())
    }

    /// Tells the server how far we are. Confirmed is only what is applied and has left the resume window.
    async fn send_status(&mut self, reply_requested: bool) -> Result<(), ReplicationError> {
        let now = Instant::now();
        let applied = *self.applied.borrow();
        self.feedback.applied(applied, now);
        let confirmed = self.feedback.resume_point(now);
        self.report.positions(self.assembler.position(), applied, confirmed, self.server_end);
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

    fn notice_shutdown(&mut self) -> Result<(), ReplicationError> {
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

/// Somebody waits for a position, and the last question is not too recent. Cancel safe: the wish is
/// taken last.
async fn wished(requests: &StreamRequests, asked_at: tokio::time::Instant) {
    sleep_until(asked_at + ASK_INTERVAL).await;
    requests.report_position.notified().await;
}
