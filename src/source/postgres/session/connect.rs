//! Connecting: from the catalog and the slot to a stream and the position where it begins.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{ConnectedSession, ReplicationSession, STANDBY_INTERVAL, ServerProcess};
use crate::change::ResetReason;
use crate::history::TimelineHistory;
use crate::lsn::Lsn;
use crate::source::postgres::catalog::{SlotState, SourceState, query_one, server_major};
use crate::source::postgres::catalog_poller::{CatalogPoller, CatalogSnapshot};
use crate::source::postgres::error::ReplicationError;
use crate::source::postgres::slot::{self, SlotAssessment, StartPoint};
use crate::source_status::{Phase, PostmasterId};
use crate::sql_text::fill;
use crate::version::{Position, Version};
use crate::wire::{CopyBoth, SystemIdentity, WalsenderConnection, WireError};

/// Timeout of a command that has nothing to wait for.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(15);
/// First major version in which pgoutput re-evaluates what is published of a table that was
/// attached to another or detached. Older ones do so only when the publication changes.
const PARTITIONS_NOTICED_SINCE: u32 = 15;
/// Time within which the error of a stream that ends at once has arrived.
const DRAIN_ERROR_TIME_MAX: Duration = Duration::from_millis(500);

impl ReplicationSession {
    pub(super) async fn connect(&mut self) -> Result<ConnectedSession, ReplicationError> {
        let (snapshots_in, snapshots) = watch::channel(None);
        let refresh_requested = self.channels.requests.refresh_catalog.clone();
        let poller = CatalogPoller::new(
            &self.options,
            refresh_requested,
            self.announcements.clone(),
            snapshots_in,
        );
        let mut sql = poller.connect().await?;
        let snapshot = self.poll_until_slot_is_free(&poller, &mut sql).await?;
        self.refuse_unscoped(&snapshot)?;
        let mut replication = WalsenderConnection::connect(&self.options.target).await?;
        let identity = in_time("IDENTIFY_SYSTEM", replication.identify_system()).await?;
        let database = snapshot.source.database_oid;
        let history =
            in_time("TIMELINE_HISTORY", history(&mut replication, &identity, database)).await?;
        let history = self.reconcile_history(history, &identity, &replication);
        let walsender = in_time("pg_backend_pid", own_process(&mut replication)).await?;
        let pid = walsender.pid;
        let version = replication.parameter("server_version").map(str::to_owned);
        let reset_reason = self.reset_reason_under(&history);
        let start =
            self.prepare_slot(&mut replication, &mut sql, &snapshot.source, reset_reason).await?;
        let is_snapshot_outdated = start.is_some_and(|start| start.is_newer_than_catalog());
        self.enable_slot_failover(&mut replication, snapshot.source.slot.as_ref()).await;
        self.send_start(start, history, walsender.postmaster, snapshot).await?;
        let notices_partitions = server_major(&replication) >= PARTITIONS_NOTICED_SINCE;
        let mut copy = in_time("START_REPLICATION", self.start_stream(replication)).await?;
        self.walsender = Some(walsender);
        if !self.has_started(&poller, &mut sql, pid).await? {
            return Err(drain_error(&mut copy).await);
        }
        let mut goal = identity.xlogpos;
        if is_snapshot_outdated {
            // Slot creation may have waited for minutes, and no stream contains what happened to
            // definitions meanwhile.
            goal = goal.max(poller.send_snapshot(&mut sql).await?);
        }
        self.reporter.connected(version.as_deref());
        let server = self.options.target.display_name();
        tracing::info!(server, version, from = %self.assembler.position(), "streaming changes");
        Ok(ConnectedSession { copy, poller, snapshots, sql, pid, goal, notices_partitions })
    }

    /// Polls the slot while another consumer holds it, then reads the catalog.
    async fn poll_until_slot_is_free(
        &mut self,
        poller: &CatalogPoller,
        sql: &mut WalsenderConnection,
    ) -> Result<CatalogSnapshot, ReplicationError> {
        loop {
            let source = poller.poll_slot(sql).await?;
            if !source.publication_exists {
                self.drop_unused_slot(&source, sql).await?;
                return Err(ReplicationError::NoPublication(self.options.publication.clone()));
            }
            if let SlotAssessment::InUse(pid) = self.assess_slot(&source)? {
                self.stand_by(Some(pid));
                self.end_own_walsender(pid, sql).await?;
                sleep(STANDBY_INTERVAL).await;
                continue;
            }
            let snapshot = poller.poll(sql).await?;
            if !matches!(self.assess_slot(&snapshot.source)?, SlotAssessment::InUse(_)) {
                return Ok(snapshot);
            }
        }
    }

    /// Refuses to start when scope can't be applied to a table. Once the process has streamed, such
    /// a table is only reset.
    fn refuse_unscoped(&self, snapshot: &CatalogSnapshot) -> Result<(), ReplicationError> {
        let refused = snapshot.catalog.tables.iter().find_map(|table| {
            let (reason, table) = (table.scope_error.clone()?, table.table.name.to_string());
            Some(ReplicationError::NoScope { table, reason })
        });
        match refused {
            Some(error) if self.history.is_none() => Err(error),
            Some(error) => {
                tracing::error!(%error, "scope not applied; every change of the table resets it until that is fixed");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn assess_slot(&self, source: &SourceState) -> Result<SlotAssessment, ReplicationError> {
        let database = self.options.target.database();
        let position = self.history.as_ref().map(|_| self.assembler.position());
        slot::assess(source.slot.as_ref(), database, &self.options.slot, position)
    }

    /// Drops the slot after the publication was dropped. Nothing the slot retains can be decoded
    /// without the publication, and once it is back every table is reset anyway: so the slot must
    /// not fill the server's disk.
    async fn drop_unused_slot(
        &self,
        source: &SourceState,
        sql: &mut WalsenderConnection,
    ) -> Result<(), ReplicationError> {
        let is_held =
            matches!(self.assess_slot(source)?, SlotAssessment::InUse(_) | SlotAssessment::Missing);
        if self.history.is_none() || is_held {
            return Ok(());
        }
        let slot = &self.options.slot;
        tracing::warn!(slot, "publication dropped; dropping the slot too until it is back");
        in_time("pg_drop_replication_slot", slot::drop(sql, slot)).await
    }

    /// Terminates the walsender of this session's lost connection. After a network failure the
    /// server may take a minute to notice (`wal_sender_timeout`), and no client is left at the
    /// other end.
    async fn end_own_walsender(
        &mut self,
        holder: i32,
        sql: &mut WalsenderConnection,
    ) -> Result<(), ReplicationError> {
        if let Some(own) = self.walsender.take_if(|own| own.pid == holder) {
            tracing::info!(pid = holder, "terminating the walsender of the lost connection");
            let command = fill(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid = :'pid'::int AND backend_start = :'started'::timestamptz",
                &[("pid", &holder.to_string()), ("started", &own.backend_start)],
            );
            in_time("pg_terminate_backend", sql.simple_query(&command)).await?;
        }
        Ok(())
    }

    /// The history to follow: the server's own, unless the server has lost WAL.
    ///
    /// What has been read was on the server's disk. If its WAL ends before that now, on the same
    /// timeline, its storage was set back: it will write other commits at the same positions.
    fn reconcile_history(
        &mut self,
        server_history: TimelineHistory,
        identity: &SystemIdentity,
        server: &WalsenderConnection,
    ) -> TimelineHistory {
        let plain = server_history.epoch();
        let history = match &self.diverged {
            Some((of, history)) if *of == plain => history.clone(),
            _ => server_history,
        };
        let is_same =
            self.history.as_ref().is_some_and(|followed| followed.epoch() == history.epoch());
        // A standby may be behind another one.
        let is_standby = server.parameter("in_hot_standby") == Some("on");
        let (read, end) = (self.assembler.position(), identity.xlogpos);
        if !is_same || is_standby || end >= read {
            return history;
        }
        tracing::error!(%read, %end, "the server lost WAL that was already read (storage rollback?); discarding state and resetting all tables. Restart the other instances too, and next time restore by recovery, which begins a new timeline");
        let history = history.diverged_at(read);
        self.diverged = Some((plain, history.clone()));
        history
    }

    /// The reset reason if the stream can't continue where it was; `None` before the first stream.
    ///
    /// A server of another history lacks part of what was reported already, or all of it:
    /// continuing would be a loss by itself.
    fn reset_reason_under(&self, history: &TimelineHistory) -> Option<ResetReason> {
        let followed = self.history.as_ref()?;
        let position = Position::after_commit(self.assembler.position());
        let version = Version { epoch: followed.epoch(), position };
        let is_shared = history.position_of(version).is_some();
        if followed.epoch() != history.epoch() {
            let position = self.assembler.position();
            tracing::warn!(%position, is_shared, "the server's history has changed (a failover, a restored backup, another server)");
        }
        Some(if is_shared { ResetReason::SlotLost } else { ResetReason::NewHistory })
    }

    /// Finds or creates the slot and returns where the stream will begin; `None` if it continues
    /// where it was.
    ///
    /// `reset_reason` is why every table is reset if it begins elsewhere.
    async fn prepare_slot(
        &mut self,
        replication: &mut WalsenderConnection,
        sql: &mut WalsenderConnection,
        source: &SourceState,
        reset_reason: Option<ResetReason>,
    ) -> Result<Option<StartPoint>, ReplicationError> {
        match self.assess_slot(source)? {
            SlotAssessment::Usable if !self.replace_slot => {
                let start = StartPoint::at(source.slot.as_ref(), reset_reason);
                return Ok((reset_reason != Some(ResetReason::SlotLost)).then_some(start));
            }
            SlotAssessment::Ahead if !self.replace_slot => {
                let start = StartPoint::at(source.slot.as_ref(), reset_reason);
                tracing::warn!(slot = self.options.slot, from = %start.from, "slot position is ahead of the last applied LSN; resetting all tables");
                return Ok(Some(start));
            }
            SlotAssessment::Missing => {}
            _ => {
                let slot = &self.options.slot;
                tracing::warn!(slot, "slot cannot continue; replacing it");
                in_time("pg_drop_replication_slot", slot::drop(sql, slot)).await?;
            }
        }
        let from = self.create_slot(replication, sql).await?;
        self.replace_slot = false;
        Ok(Some(StartPoint { from, broken: reset_reason, uncertain_transactions: None }))
    }

    async fn create_slot(
        &mut self,
        replication: &mut WalsenderConnection,
        sql: &mut WalsenderConnection,
    ) -> Result<Lsn, ReplicationError> {
        let (name, temporary) = (&self.options.slot, self.options.temporary_slot);
        let reporter = &mut self.reporter;
        let from = slot::create(replication, sql, name, temporary, |what| {
            tracing::warn!("{what}");
            reporter.disconnected(Phase::Disconnected(what));
        })
        .await?;
        tracing::info!(slot = name, temporary, %from, "created the replication slot");
        Ok(from)
    }

    /// Enables failover of the slot, if configured and supported. Without it the stream is
    /// unaffected; only a failover costs a reset.
    async fn enable_slot_failover(
        &self,
        replication: &mut WalsenderConnection,
        slot: Option<&SlotState>,
    ) {
        let is_configured = self.options.failover_slot && !self.options.temporary_slot;
        let is_enabled = slot.is_some_and(|slot| slot.survives_failover);
        if !is_configured || is_enabled || !slot::supports_failover(replication) {
            return;
        }
        let name = &self.options.slot;
        let altered = slot::enable_failover(replication, name);
        if let Err(error) = in_time("ALTER_REPLICATION_SLOT", altered).await {
            tracing::warn!(%error, slot = name, "failed to enable failover of the slot: it will not survive one");
        }
    }

    /// Sends the store the position where the stream begins; `None`: it continues where it was.
    async fn send_start(
        &mut self,
        start: Option<StartPoint>,
        history: TimelineHistory,
        server: PostmasterId,
        snapshot: CatalogSnapshot,
    ) -> Result<(), ReplicationError> {
        self.history = Some(history.clone());
        let event = match start {
            None => self.assembler.resume(history, server, snapshot.catalog),
            Some(StartPoint { from, broken, uncertain_transactions }) => {
                self.feedback = None;
                let (catalog, uncertain) = (snapshot.catalog, uncertain_transactions);
                self.assembler.start(history, server, from, catalog, uncertain, broken)
            }
        };
        let sent = self.channels.events.batches.send(vec![event]).await;
        sent.map_err(|_| ReplicationError::Stopping)?;
        if let Some(StartPoint { from, .. }) = start {
            // Until then the applied position may belong to another history: it must not be
            // confirmed.
            let applied = &mut self.channels.events.applied;
            applied.wait_for(|lsn| *lsn == from).await.map_err(|_| ReplicationError::Stopping)?;
        }
        Ok(())
    }

    /// Starts the stream. Logical messages are requested for the announcements of changed
    /// definitions; those of other programs arrive too.
    async fn start_stream(&self, replication: WalsenderConnection) -> Result<CopyBoth, WireError> {
        let publications = format!("\"{}\"", self.options.publication.replace('"', "\"\""));
        let (protocol, streaming) =
            self.options.streaming.plugin_options(server_major(&replication));
        let mut options = vec![
            ("proto_version", protocol),
            ("publication_names", &publications),
            ("messages", "true"),
        ];
        options.extend(streaming.map(|streaming| ("streaming", streaming)));
        let from = self.assembler.position();
        replication.start_replication(&self.options.slot, from, &options).await
    }

    /// Whether the slot is still the one that was assessed, begins no later than assumed, and the
    /// SQL connection leads to the same server. Asked once the stream has started, when no other
    /// consumer can move or replace the slot. If not, the next attempt assesses again.
    async fn has_started(
        &self,
        poller: &CatalogPoller,
        sql: &mut WalsenderConnection,
        pid: i32,
    ) -> Result<bool, ReplicationError> {
        let source = poller.poll_slot(sql).await?;
        let position = self.assembler.position();
        let begins_here = source.slot.as_ref().is_some_and(|slot| slot.confirmed <= position);
        Ok(begins_here && source.walsender(pid).is_some())
    }
}

/// The error that ended a stream which is not usable, if one arrives: it may have failed at its
/// first change.
async fn drain_error(copy: &mut CopyBoth) -> ReplicationError {
    let end = async {
        loop {
            while copy.next_frame()?.is_some() {}
            copy.fill().await?;
        }
    };
    let end: Result<Result<Infallible, WireError>, _> = timeout(DRAIN_ERROR_TIME_MAX, end).await;
    match end {
        Ok(Err(error)) => error.into(),
        _ => ReplicationError::Abandoned,
    }
}

/// SQLSTATE `undefined_file`.
const NO_FILE: &str = "58P01";

/// The history of the server. The first timeline continues none.
async fn history(
    replication: &mut WalsenderConnection,
    identity: &SystemIdentity,
    database_oid: u32,
) -> Result<TimelineHistory, WireError> {
    let &SystemIdentity { system_identifier, timeline, .. } = identity;
    let switches = match timeline {
        1 => Vec::new(),
        _ => match replication.timeline_history(timeline).await {
            Err(error) if error.sqlstate() == Some(NO_FILE) => {
                tracing::warn!(%error, timeline, "timeline history missing on the server; versions from before its last failover are answered with a reset");
                Vec::new()
            }
            answer => answer?,
        },
    };
    Ok(TimelineHistory::new(system_identifier, database_oid, timeline, &switches))
}

/// The server process of this walsender connection. The process id of the startup message would not
/// do: a proxy may have made it up.
async fn own_process(
    replication: &mut WalsenderConnection,
) -> Result<ServerProcess, ReplicationError> {
    let own = format!(
        "SELECT pid, backend_start::text, {} AS postmaster FROM pg_stat_activity
         WHERE pid = pg_backend_pid()",
        PostmasterId::EXPRESSION
    );
    Ok(query_one(replication, &own).await?)
}

async fn in_time<T, E: Into<ReplicationError>>(
    doing: &'static str,
    command: impl Future<Output = Result<T, E>>,
) -> Result<T, ReplicationError> {
    let done = timeout(COMMAND_TIME_MAX, command).await;
    done.map_err(|_| ReplicationError::Timeout(doing))?.map_err(Into::into)
}
