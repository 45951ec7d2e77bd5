//! From nothing to a stream: the catalog, the slot, where it begins.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Connected, STANDBY_INTERVAL, Session};
use crate::change::ResetReason;
use crate::lsn::Lsn;
use crate::replication::catalog::{SourceState, has_announcements};
use crate::replication::error::SessionError;
use crate::replication::slot::{self, Beginning, Verdict};
use crate::replication::watch::{Look, Watch};
use crate::source::Phase;
use crate::version::Epoch;
use crate::wire::{Connection, CopyBoth, SystemIdentity, WireError};

/// A command that has nothing to wait for is answered within this time, or the connection is dead.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(15);
/// A stream that ends at once has said why within this time.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_millis(500);

impl Session {
    pub(super) async fn connect(&mut self) -> Result<Connected, SessionError> {
        let (looks_in, looks) = watch::channel(None);
        let watch = Watch::new(&self.options, self.channels.wishes.look.clone(), looks_in);
        let mut sql = watch.connect().await?;
        let look = self.look_when_slot_is_free(&watch, &mut sql).await?;
        let mut replication = Connection::connect(&self.options.target).await?;
        let identity = in_time("IDENTIFY_SYSTEM", replication.identify_system()).await?;
        let pid = in_time("pg_backend_pid", walsender_pid(&mut replication)).await?;
        let version = replication.parameter("server_version").map(str::to_owned);
        let beginning = self.prepare_slot(&mut replication, &mut sql, &look.source).await?;
        self.begin(beginning, &identity, look).await?;
        let announced = in_time("pg_event_trigger", has_announcements(&mut sql)).await?;
        let mut copy = in_time("START_REPLICATION", self.start(replication, announced)).await?;
        self.walsender = Some(pid);
        if !self.has_started(&watch, &mut sql, pid).await? {
            return Err(last_words(&mut copy).await);
        }
        self.report.connected(version.as_deref());
        let server = self.options.target.display_name();
        tracing::info!(server, version, from = %self.assembler.position(), "streaming changes");
        Ok(Connected { copy, watch, looks, sql, pid, goal: identity.xlogpos })
    }

    /// Looks at the slot while another consumer holds it, then at the catalog too.
    async fn look_when_slot_is_free(
        &mut self,
        watch: &Watch,
        sql: &mut Connection,
    ) -> Result<Look, SessionError> {
        loop {
            let source = watch.look_at_slot(sql).await?;
            if !source.publication_exists {
                self.let_slot_go(&source, sql).await?;
                return Err(SessionError::NoPublication(self.options.publication.clone()));
            }
            if let Verdict::InUse(pid) = self.verdict(&source)? {
                self.stand_by(Some(pid));
                self.end_own_walsender(pid, sql).await?;
                sleep(STANDBY_INTERVAL).await;
                continue;
            }
            let look = watch.look(sql).await?;
            if !matches!(self.verdict(&look.source)?, Verdict::InUse(_)) {
                return Ok(look);
            }
        }
    }

    fn verdict(&self, source: &SourceState) -> Result<Verdict, SessionError> {
        let database = self.options.target.database();
        let position = self.history.map(|_| self.assembler.position());
        slot::judge(source.slot.as_ref(), database, &self.options.slot, position)
    }

    /// The publication was dropped while we ran. Nothing the slot keeps can be told without it, and
    /// when it is back everybody is reset anyway: so the slot must not fill the server's disk.
    async fn let_slot_go(
        &self,
        source: &SourceState,
        sql: &mut Connection,
    ) -> Result<(), SessionError> {
        let is_held = matches!(self.verdict(source)?, Verdict::InUse(_) | Verdict::Missing);
        if self.history.is_none() || is_held {
            return Ok(());
        }
        let slot = &self.options.slot;
        tracing::warn!(slot, "the publication was dropped; dropping the slot too until it is back");
        in_time("pg_drop_replication_slot", slot::drop(sql, slot)).await
    }

    /// After the network was cut, the server may take a minute to find out (`wal_sender_timeout`).
    /// Its client was us, and we are gone from there: the walsender may end now.
    async fn end_own_walsender(
        &mut self,
        holder: i32,
        sql: &mut Connection,
    ) -> Result<(), SessionError> {
        if self.walsender.take_if(|pid| *pid == holder).is_some() {
            tracing::info!(pid = holder, "ending the walsender of our lost connection");
            let command = format!("SELECT pg_terminate_backend({holder})");
            in_time("pg_terminate_backend", sql.simple_query(&command)).await?;
        }
        Ok(())
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
        match verdict {
            Verdict::Usable if !self.replace_slot => {
                let first = Beginning::at(source.slot.as_ref(), None);
                return Ok(self.history.is_none().then_some(first));
            }
            Verdict::Ahead if !self.replace_slot => {
                let beginning = Beginning::at(source.slot.as_ref(), lost);
                tracing::warn!(slot = self.options.slot, from = %beginning.from, "the slot was moved by somebody else; every table is reset");
                return Ok(Some(beginning));
            }
            Verdict::Missing => {}
            _ => {
                let slot = &self.options.slot;
                tracing::warn!(slot, "the slot can't continue; making a new one");
                in_time("pg_drop_replication_slot", slot::drop(sql, slot)).await?;
            }
        }
        let from = self.create_slot(replication, sql).await?;
        self.replace_slot = false;
        Ok(Some(Beginning { from, broken: lost, uncertain_transactions: None }))
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
        // Otherwise: the slot is there, but the server's history is another one.
        let beginning = beginning.or_else(|| {
            let slot = look.source.slot.as_ref();
            (!same_history).then(|| Beginning::at(slot, Some(ResetReason::NewHistory)))
        });
        let event = match beginning {
            None => self.assembler.resume(epoch, look.catalog),
            Some(Beginning { from, broken, uncertain_transactions }) => {
                self.feedback = None;
                self.assembler.start(epoch, from, look.catalog, uncertain_transactions, broken)
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

    /// With `announced` the messages of the event trigger are sent, too, and everybody else's.
    async fn start(&self, replication: Connection, announced: bool) -> Result<CopyBoth, WireError> {
        let publications = format!("\"{}\"", self.options.publication.replace('"', "\"\""));
        let mut options =
            vec![("proto_version", "1"), ("publication_names", publications.as_str())];
        options.extend(announced.then_some(("messages", "true")));
        let from = self.assembler.position();
        replication.start_replication(&self.options.slot, from, &options).await
    }

    /// Now that nobody else can move or replace the slot: is it still the one that was judged, does
    /// it begin no later than we believe, and does the SQL connection lead to the same server? If
    /// not, the next try judges anew.
    async fn has_started(
        &self,
        watch: &Watch,
        sql: &mut Connection,
        pid: i32,
    ) -> Result<bool, SessionError> {
        let source = watch.look_at_slot(sql).await?;
        let position = self.assembler.position();
        let begins_here = source.slot.as_ref().is_some_and(|slot| slot.confirmed <= position);
        Ok(begins_here && source.walsender(pid).is_some())
    }
}

/// Why a stream that we can't believe in ended, if it says so: perhaps it failed at its first change.
async fn last_words(copy: &mut CopyBoth) -> SessionError {
    let end = async {
        loop {
            while copy.next_frame()?.is_some() {}
            copy.fill().await?;
        }
    };
    let end: Result<Result<Infallible, WireError>, _> = timeout(LAST_WORDS_TIME_MAX, end).await;
    match end {
        Ok(Err(error)) => error.into(),
        _ => SessionError::Abandoned,
    }
}

/// The real one: what a proxy told at the start may be of its own making.
async fn walsender_pid(replication: &mut Connection) -> Result<i32, WireError> {
    let rows = replication.simple_query("SELECT pg_backend_pid()").await?;
    let pid = rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
    pid.ok_or(WireError::Unexpected("pg_backend_pid"))
}

async fn in_time<T, E: Into<SessionError>>(
    doing: &'static str,
    command: impl Future<Output = Result<T, E>>,
) -> Result<T, SessionError> {
    let done = timeout(COMMAND_TIME_MAX, command).await;
    done.map_err(|_| SessionError::Timeout(doing))?.map_err(Into::into)
}
