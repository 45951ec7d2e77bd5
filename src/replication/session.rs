//! The session: the only place that connects and reconnects.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::assembler::Assembler;
use super::catalog::SourceState;
use super::error::SessionError;
use super::feedback::{Feedback, ResumeWindow};
use super::pace::Pace;
use super::report::Report;
use super::slot::{self, Beginning, Verdict};
use super::staging::StageLimits;
use super::stream::{Batch, Stream};
use super::watch::{Look, Watch};
use crate::change::{Event, ResetReason};
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::source::{Phase, SourceStatus};
use crate::version::Epoch;
use crate::wire::{Connection, CopyBoth, SystemIdentity, Target};

/// What to stream, and how.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The server and database.
    pub target: Target,
    /// The publication's name.
    pub publication: String,
    /// The slot's name: lower-case letters, digits and underscores.
    pub slot: String,
    /// Whether the slot ends with the connection.
    pub temporary_slot: bool,
    /// How much WAL is kept for a restart.
    pub resume_window: ResumeWindow,
    /// Bounds of a transaction.
    pub stage: StageLimits,
}

/// The ends of the session that others hold.
pub struct SessionChannels {
    /// Where events go, in order.
    pub events: Sender<Vec<Event>>,
    /// Tells up to where events are visible to readers.
    pub applied: watch::Receiver<Lsn>,
    /// Where the session says how it is.
    pub status: watch::Sender<SourceStatus>,
    /// Ends the session.
    pub shutdown: CancellationToken,
}

/// Streams a slot's changes, whatever happens to the connection.
pub struct Session {
    options: SessionOptions,
    channels: SessionChannels,
    assembler: Assembler,
    report: Report,
    feedback: Option<Feedback>,
    /// The history the assembler's position belongs to; `None` before the first stream.
    history: Option<Epoch>,
    /// The slot can't continue: drop it and make a new one.
    replace_slot: bool,
}

/// A stream that has begun, and the SQL connection beside it.
struct Connected {
    copy: CopyBoth,
    watch: Watch,
    looks: watch::Receiver<Option<Look>>,
    sql: Connection,
    goal: Lsn,
}

/// The first pause before connecting again; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest pause before connecting again.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A busy slot is looked at this often, so that a standby takes over within a second.
const STANDBY_INTERVAL: Duration = Duration::from_millis(250);

impl Session {
    /// A session that has not begun.
    pub fn new(options: SessionOptions, channels: SessionChannels, metrics: Metrics) -> Self {
        Self {
            assembler: Assembler::new(options.stage),
            report: Report::new(channels.status.clone(), metrics),
            options,
            channels,
            feedback: None,
            history: None,
            replace_slot: false,
        }
    }

    /// Streams until the shutdown is asked for.
    ///
    /// # Errors
    /// What waiting won't heal, and only before the first stream: later everything is retried while
    /// readers go on being served.
    pub async fn run(mut self) -> Result<(), SessionError> {
        let shutdown = self.channels.shutdown.clone();
        let mut backoff = BACKOFF_MIN;
        loop {
            let began = Instant::now();
            let Err(error) = self.stream_once(&shutdown).await else { return Ok(()) };
            if self.history.is_none() && error.is_permanent() {
                return Err(error);
            }
            if began.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_MIN;
            }
            let pause = self.pause_after(&error, &mut backoff);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    /// Connects and streams until the connection fails, or until the shutdown: then the position is
    /// confirmed and the connection closed.
    async fn stream_once(&mut self, shutdown: &CancellationToken) -> Result<(), SessionError> {
        let connected = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            connected = self.connect() => connected?,
        };
        let Connected { copy, watch, looks, sql, goal } = connected;
        let mut stream = self.stream(copy, looks, &watch, goal);
        tokio::select! {
            ended = stream.run() => match ended? {},
            never = watch.run(sql) => match never {},
            () = shutdown.cancelled() => {}
        }
        stream.finish().await
    }

    /// Says what went wrong; answers how long to wait before the next try.
    fn pause_after(&mut self, error: &SessionError, backoff: &mut Duration) -> Duration {
        if error.is_slot_in_use() {
            self.stand_by(None);
            return STANDBY_INTERVAL;
        }
        if error.is_slot_older_than_publication() {
            tracing::warn!(%error, slot = self.options.slot, "the slot is older than the publication; it will be replaced");
            self.replace_slot = true;
        }
        tracing::warn!(%error, retry_in = ?*backoff, "no change stream");
        self.report.disconnected(Phase::Disconnected(error.to_string()));
        let pause = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
        *backoff = (*backoff * 2).min(BACKOFF_MAX);
        pause
    }

    fn stand_by(&mut self, pid: Option<i32>) {
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

    async fn connect(&mut self) -> Result<Connected, SessionError> {
        let (looks_in, looks) = watch::channel(None);
        let watch = Watch::new(
            self.options.target.clone(),
            self.options.publication.clone(),
            self.options.slot.clone(),
            looks_in,
        );
        let mut sql = watch.connect().await?;
        let look = self.look_until_slot_is_free(&watch, &mut sql).await?;
        let mut replication = Connection::connect(&self.options.target).await?;
        let identity = replication.identify_system().await?;
        let version = replication.parameter("server_version").map(str::to_owned);
        let beginning = self.prepare_slot(&mut replication, &mut sql, &look.source).await?;
        self.begin(beginning, &identity, look).await?;
        let copy = self.start(replication).await?;
        self.report.connected(version.as_deref());
        let server = self.options.target.display_name();
        tracing::info!(server, version, from = %self.assembler.position(), "streaming changes");
        Ok(Connected { copy, watch, looks, sql, goal: identity.xlogpos })
    }

    /// Looks at the catalog and the slot; while another consumer holds the slot, again and again.
    async fn look_until_slot_is_free(
        &mut self,
        watch: &Watch,
        sql: &mut Connection,
    ) -> Result<Look, SessionError> {
        loop {
            let look = watch.look(sql).await?;
            if !look.source.publication_exists {
                return Err(SessionError::NoPublication(self.options.publication.clone()));
            }
            match self.verdict(&look.source)? {
                Verdict::InUse(pid) => {
                    self.stand_by(Some(pid));
                    sleep(STANDBY_INTERVAL).await;
                }
                _ => return Ok(look),
            }
        }
    }

    fn verdict(&self, source: &SourceState) -> Result<Verdict, SessionError> {
        let database = self.options.target.database();
        let position = self.history.map(|_| self.assembler.position());
        slot::judge(source.slot.as_ref(), database, &self.options.slot, position)
    }

    /// Finds or makes the slot; answers where the stream will begin. `None`: where it was.
    async fn prepare_slot(
        &mut self,
        replication: &mut Connection,
        sql: &mut Connection,
        source: &SourceState,
    ) -> Result<Option<Beginning>, SessionError> {
        let verdict = self.verdict(source)?;
        let lost = self.history.map(|_| ResetReason::SlotLost);
        let confirmed = source.slot.as_ref().map_or(Lsn::ZERO, |slot| slot.confirmed);
        match verdict {
            Verdict::Usable if !self.replace_slot => {
                let first = Beginning { from: confirmed, broken: None };
                return Ok(self.history.is_none().then_some(first));
            }
            Verdict::Ahead if !self.replace_slot => {
                tracing::warn!(slot = self.options.slot, %confirmed, "the slot was moved by somebody else; every table is reset");
                return Ok(Some(Beginning { from: confirmed, broken: lost }));
            }
            Verdict::Missing => {}
            _ => {
                tracing::warn!(
                    slot = self.options.slot,
                    "the slot can't continue; making a new one"
                );
                slot::drop(replication, &self.options.slot).await?;
            }
        }
        let from = self.create_slot(replication, sql).await?;
        self.replace_slot = false;
        Ok(Some(Beginning { from, broken: lost }))
    }

    async fn create_slot(
        &mut self,
        replication: &mut Connection,
        sql: &mut Connection,
    ) -> Result<Lsn, SessionError> {
        let (name, temporary) = (&self.options.slot, self.options.temporary_slot);
        let report = &mut self.report;
        let from = slot::create(replication, sql, name, temporary, |what| {
            tracing::warn!("{what}");
            report.disconnected(Phase::Disconnected(what));
        })
        .await?;
        tracing::info!(slot = name, temporary, %from, "created the replication slot");
        Ok(from)
    }

    /// Tells the store where the stream begins.
    async fn begin(
        &mut self,
        beginning: Option<Beginning>,
        identity: &SystemIdentity,
        look: Look,
    ) -> Result<(), SessionError> {
        let epoch =
            Epoch::new(identity.system_identifier, identity.timeline, look.source.database_oid);
        let same_history = self.history == Some(epoch);
        let confirmed = look.source.slot.as_ref().map_or(Lsn::ZERO, |slot| slot.confirmed);
        let beginning = match beginning {
            Some(beginning) => Some(beginning),
            None if same_history => None,
            // The slot is there, but the server's history is another one.
            None => Some(Beginning { from: confirmed, broken: Some(ResetReason::NewHistory) }),
        };
        let uncertain = look.source.slot.as_ref().and_then(|slot| slot.transactions_since);
        let event = match beginning {
            None => self.assembler.resume(epoch, look.catalog),
            Some(Beginning { from, broken }) => {
                self.feedback = None;
                self.assembler.start(epoch, from, look.catalog, uncertain, broken)
            }
        };
        self.history = Some(epoch);
        let sent = self.channels.events.send(vec![event]).await;
        sent.map_err(|_| SessionError::Stopping)?;
        if let Some(Beginning { from, .. }) = beginning {
            // Until then the applied position may belong to another history: it must not be confirmed.
            let applied = &mut self.channels.applied;
            applied.wait_for(|lsn| *lsn == from).await.map_err(|_| SessionError::Stopping)?;
        }
        Ok(())
    }

    async fn start(&self, replication: Connection) -> Result<CopyBoth, SessionError> {
        let publications = format!("\"{}\"", self.options.publication.replace('"', "\"\""));
        let options = [("proto_version", "1"), ("publication_names", publications.as_str())];
        let from = self.assembler.position();
        Ok(replication.start_replication(&self.options.slot, from, &options).await?)
    }

    fn stream(
        &mut self,
        copy: CopyBoth,
        looks: watch::Receiver<Option<Look>>,
        watch: &Watch,
        goal: Lsn,
    ) -> Stream<'_> {
        let window = if self.options.temporary_slot {
            ResumeWindow::NONE
        } else {
            self.options.resume_window
        };
        let from = self.assembler.position();
        Stream {
            pace: Pace::new(!copy.is_unix_socket()),
            copy,
            feedback: self
                .feedback
                .get_or_insert_with(|| Feedback::new(window, from, Instant::now())),
            assembler: &mut self.assembler,
            events: &self.channels.events,
            applied: self.channels.applied.clone(),
            looks,
            look_wanted: watch.wanted.clone(),
            report: &mut self.report,
            goal,
            batch: Batch::default(),
            reply_requests: std::collections::VecDeque::new(),
            server_end: goal,
        }
    }
}
