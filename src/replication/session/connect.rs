//! From nothing to a stream: the catalog, the slot, where it begins.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{ConnectedSession, ReplicationSession, STANDBY_INTERVAL, ServerProcess};
use crate::change::ResetReason;
use crate::history::TimelineHistory;
use crate::lsn::Lsn;
use crate::replication::catalog::{SlotState, SourceState, bind, server_major};
use crate::replication::catalog_poller::{CatalogPoller, CatalogSnapshot};
use crate::replication::error::ReplicationError;
use crate::replication::slot::{self, SlotAssessment, StartPoint};
use crate::source::{Phase, PostmasterId};
use crate::version::{Position, Version};
use crate::wire::{CopyBoth, SystemIdentity, WalsenderConnection, WireError};

/// A command that has nothing to wait for is answered within this time, or the connection is dead.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(15);
/// pgoutput asks itself again what is published of a table that was attached to another or detached,
/// since this version. Older ones do so only when the publication changes.
const PARTITIONS_NOTICED_SINCE: u32 = 15;
/// A stream that ends at once has said why within this time.
const DRAIN_ERROR_TIME_MAX: Duration = Duration::from_millis(500);

impl ReplicationSession {
    pub(super) async fn connect(&mut self) -> Result<ConnectedSession, ReplicationError> {
        let (looks_in, looks) = watch::channel(None);
        let wanted = self.channels.requests.refresh_catalog.clone();
        let watch = CatalogPoller::new(&self.options, wanted, self.outbox.clone(), looks_in);
        let mut sql = watch.connect().await?;
        let look = self.poll_until_slot_is_free(&watch, &mut sql).await?;
        self.refuse_unscoped(&look)?;
        let mut replication = WalsenderConnection::connect(&self.options.target).await?;
        let identity = in_time("IDENTIFY_SYSTEM", replication.identify_system()).await?;
        let database = look.source.database_oid;
        let history =
            in_time("TIMELINE_HISTORY", history(&mut replication, &identity, database)).await?;
        let history = self.reconcile_history(history, &identity, &replication);
        let walsender = in_time("pg_backend_pid", own_process(&mut replication)).await?;
        let pid = walsender.pid;
        let version = replication.parameter("server_version").map(str::to_owned);
        let loss = self.loss_under(&history);
        let beginning = self.prepare_slot(&mut replication, &mut sql, &look.source, loss).await?;
        let look_is_outdated = beginning.is_some_and(|beginning| beginning.is_newer_than_look());
        self.let_standbys_copy_slot(&mut replication, look.source.slot.as_ref()).await;
        self.begin(beginning, history, walsender.server, look).await?;
        let notices_partitions = server_major(&replication) >= PARTITIONS_NOTICED_SINCE;
        let mut copy = in_time("START_REPLICATION", self.start(replication)).await?;
        self.walsender = Some(walsender);
        if !self.has_started(&watch, &mut sql, pid).await? {
            return Err(drain_error(&mut copy).await);
        }
        let mut goal = identity.xlogpos;
        if look_is_outdated {
            // Making a slot may wait for long, and what happened to definitions meanwhile is in no stream.
            goal = goal.max(watch.send_snapshot(&mut sql).await?);
        }
        self.report.connected(version.as_deref());
        let server = self.options.target.display_name();
        tracing::info!(server, version, from = %self.assembler.position(), "streaming changes");
        Ok(ConnectedSession { copy, watch, looks, sql, pid, goal, notices_partitions })
    }

    /// Looks at the slot while another consumer holds it, then at the catalog too.
    async fn poll_until_slot_is_free(
        &mut self,
        watch: &CatalogPoller,
        sql: &mut WalsenderConnection,
    ) -> Result<CatalogSnapshot, ReplicationError> {
        loop {
            let source = watch.poll_slot(sql).await?;
            if !source.publication_exists {
                self.let_slot_go(&source, sql).await?;
                return Err(ReplicationError::NoPublication(self.options.publication.clone()));
            }
            if let SlotAssessment::InUse(pid) = self.verdict(&source)? {
                self.stand_by(Some(pid));
                self.end_own_walsender(pid, sql).await?;
                sleep(STANDBY_INTERVAL).await;
                continue;
            }
            let look = watch.poll(sql).await?;
            if !matches!(self.verdict(&look.source)?, SlotAssessment::InUse(_)) {
                return Ok(look);
            }
        }
    }

    /// A start is refused where somebody could be told of rows that are none of theirs. While it runs,
    /// such a table is only reset.
    fn refuse_unscoped(&self, look: &CatalogSnapshot) -> Result<(), ReplicationError> {
        let refused = look.catalog.tables.iter().find_map(|table| {
            let (reason, table) = (table.scope_refused.clone()?, table.table.name.to_string());
            Some(ReplicationError::NoScope { table, reason })
        });
        match refused {
            Some(error) if self.history.is_none() => Err(error),
            Some(error) => {
                tracing::error!(%error, "until that is mended, every change of the table resets it");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn verdict(&self, source: &SourceState) -> Result<SlotAssessment, ReplicationError> {
        let database = self.options.target.database();
        let position = self.history.as_ref().map(|_| self.assembler.position());
        slot::assess(source.slot.as_ref(), database, &self.options.slot, position)
    }

    /// The publication was dropped while we ran. Nothing the slot keeps can be told without it, and
    /// when it is back everybody is reset anyway: so the slot must not fill the server's disk.
    async fn let_slot_go(
        &self,
        source: &SourceState,
        sql: &mut WalsenderConnection,
    ) -> Result<(), ReplicationError> {
        let is_held =
            matches!(self.verdict(source)?, SlotAssessment::InUse(_) | SlotAssessment::Missing);
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
        sql: &mut WalsenderConnection,
    ) -> Result<(), ReplicationError> {
        if let Some(own) = self.walsender.take_if(|own| own.pid == holder) {
            tracing::info!(pid = holder, "ending the walsender of our lost connection");
            let command = bind(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE pid = :'pid'::int AND backend_start = :'started'::timestamptz",
                &[("pid", &holder.to_string()), ("started", &own.started)],
            );
            in_time("pg_terminate_backend", sql.simple_query(&command)).await?;
        }
        Ok(())
    }

    /// The history that the server follows, as far as it can be believed.
    ///
    /// What we have read was on the server's disk. If its WAL ends before that now, on the same timeline,
    /// its storage was set back: it will write other commits into the same places.
    fn reconcile_history(
        &mut self,
        told: TimelineHistory,
        identity: &SystemIdentity,
        server: &WalsenderConnection,
    ) -> TimelineHistory {
        let plain = told.epoch();
        let history = match &self.rewound {
            Some((of, history)) if *of == plain => history.clone(),
            _ => told,
        };
        let is_same = self.history.as_ref().is_some_and(|held| held.epoch() == history.epoch());
        // Another standby may be behind.
        let is_standby = server.parameter("in_hot_standby") == Some("on");
        let (read, end) = (self.assembler.position(), identity.xlogpos);
        if !is_same || is_standby || end >= read {
            return history;
        }
        tracing::error!(%read, %end, "the server has lost a part of its WAL that was read already (its storage was set back to an earlier state?); nothing told before is believed, and every table is reset. Restart the other instances too, and next time restore by recovery, which begins a timeline of its own");
        let history = history.diverged_at(read);
        self.rewound = Some((plain, history.clone()));
        history
    }

    /// What it costs if the stream can't go on where it was; `None` before the first stream.
    ///
    /// A server of another history lacks some of what was told already, or all of it: going on would
    /// be a loss by itself.
    fn loss_under(&self, history: &TimelineHistory) -> Option<ResetReason> {
        let held = self.history.as_ref()?;
        let position = Position::after_commit(self.assembler.position());
        let told = Version { epoch: held.epoch(), position };
        let is_shared = history.position_of(told).is_some();
        if held.epoch() != history.epoch() {
            let position = self.assembler.position();
            tracing::warn!(%position, is_shared, "the server follows another history than before (a failover, a restored backup, another server)");
        }
        Some(if is_shared { ResetReason::SlotLost } else { ResetReason::NewHistory })
    }

    /// Finds or makes the slot; answers where the stream will begin. `None`: where it was.
    ///
    /// `loss` is why every table is reset if it begins elsewhere.
    async fn prepare_slot(
        &mut self,
        replication: &mut WalsenderConnection,
        sql: &mut WalsenderConnection,
        source: &SourceState,
        loss: Option<ResetReason>,
    ) -> Result<Option<StartPoint>, ReplicationError> {
        match self.verdict(source)? {
            SlotAssessment::Usable if !self.replace_slot => {
                let beginning = StartPoint::at(source.slot.as_ref(), loss);
                return Ok((loss != Some(ResetReason::SlotLost)).then_some(beginning));
            }
            SlotAssessment::Ahead if !self.replace_slot => {
                let beginning = StartPoint::at(source.slot.as_ref(), loss);
                tracing::warn!(slot = self.options.slot, from = %beginning.from, "the slot stands beyond what was read from it; every table is reset");
                return Ok(Some(beginning));
            }
            SlotAssessment::Missing => {}
            _ => {
                let slot = &self.options.slot;
                tracing::warn!(slot, "the slot can't continue; making a new one");
                in_time("pg_drop_replication_slot", slot::drop(sql, slot)).await?;
            }
        }
        let from = self.create_slot(replication, sql).await?;
        self.replace_slot = false;
        Ok(Some(StartPoint { from, broken: loss, uncertain_transactions: None }))
    }

    async fn create_slot(
        &mut self,
        replication: &mut WalsenderConnection,
        sql: &mut WalsenderConnection,
    ) -> Result<Lsn, ReplicationError> {
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

    /// Makes the slot one that standbys may keep a copy of, if it isn't and can be. Without that the
    /// stream is as good; only a failover costs more.
    async fn let_standbys_copy_slot(
        &self,
        replication: &mut WalsenderConnection,
        slot: Option<&SlotState>,
    ) {
        let wanted = self.options.failover_slot && !self.options.temporary_slot;
        let is_one = slot.is_some_and(|slot| slot.survives_failover);
        if !wanted || is_one || !slot::supports_failover(replication) {
            return;
        }
        let name = &self.options.slot;
        let altered = slot::enable_failover(replication, name);
        if let Err(error) = in_time("ALTER_REPLICATION_SLOT", altered).await {
            tracing::warn!(%error, slot = name, "the slot will not survive a failover");
        }
    }

    /// Tells the store where the stream begins. `None`: where it was.
    async fn begin(
        &mut self,
        beginning: Option<StartPoint>,
        history: TimelineHistory,
        server: PostmasterId,
        look: CatalogSnapshot,
    ) -> Result<(), ReplicationError> {
        self.history = Some(history.clone());
        let event = match beginning {
            None => self.assembler.resume(history, server, look.catalog),
            Some(StartPoint { from, broken, uncertain_transactions }) => {
                self.feedback = None;
                let (catalog, uncertain) = (look.catalog, uncertain_transactions);
                self.assembler.start(history, server, from, catalog, uncertain, broken)
            }
        };
        let sent = self.channels.events.send(vec![event]).await;
        sent.map_err(|_| ReplicationError::Stopping)?;
        if let Some(StartPoint { from, .. }) = beginning {
            // Until then the applied position may belong to another history: it must not be confirmed.
            let applied = &mut self.channels.applied;
            applied.wait_for(|lsn| *lsn == from).await.map_err(|_| ReplicationError::Stopping)?;
        }
        Ok(())
    }

    /// Announcements of changed definitions are sent, too, and so are everybody's logical messages.
    async fn start(&self, replication: WalsenderConnection) -> Result<CopyBoth, WireError> {
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

    /// Now that nobody else can move or replace the slot: is it still the one that was judged, does
    /// it begin no later than we believe, and does the SQL connection lead to the same server? If
    /// not, the next try judges anew.
    async fn has_started(
        &self,
        watch: &CatalogPoller,
        sql: &mut WalsenderConnection,
        pid: i32,
    ) -> Result<bool, ReplicationError> {
        let source = watch.poll_slot(sql).await?;
        let position = self.assembler.position();
        let begins_here = source.slot.as_ref().is_some_and(|slot| slot.confirmed <= position);
        Ok(begins_here && source.walsender(pid).is_some())
    }
}

/// Why a stream that we can't believe in ended, if it says so: perhaps it failed at its first change.
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

/// Which history the server follows. The first timeline continues none.
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
                tracing::warn!(%error, timeline, "the server has lost the history of its timeline; versions from before its last failover are answered with a reset");
                Vec::new()
            }
            answer => answer?,
        },
    };
    Ok(TimelineHistory::new(system_identifier, database_oid, timeline, &switches))
}

/// The walsender we speak to: what a proxy told at the start may be of its own making.
async fn own_process(replication: &mut WalsenderConnection) -> Result<ServerProcess, WireError> {
    let own = format!(
        "SELECT pid, backend_start, {} FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        PostmasterId::EXPRESSION
    );
    let rows = replication.simple_query(&own).await?;
    let process = rows.first().and_then(|row| {
        let [Some(pid), Some(started), Some(server)] = row.as_slice() else { return None };
        let (pid, server) = (pid.parse().ok()?, server.parse().ok()?);
        Some(ServerProcess { pid, started: started.clone(), server })
    });
    process.ok_or(WireError::Unexpected("pg_stat_activity"))
}

async fn in_time<T, E: Into<ReplicationError>>(
    doing: &'static str,
    command: impl Future<Output = Result<T, E>>,
) -> Result<T, ReplicationError> {
    let done = timeout(COMMAND_TIME_MAX, command).await;
    done.map_err(|_| ReplicationError::Timeout(doing))?.map_err(Into::into)
}
