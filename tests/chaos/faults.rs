//! Fault injection. Each fault lasts for a random time and is healed; an open transaction lasts until
//! the quiescent phase.

use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use tokio::task::block_in_place;

use super::instance::Instance;
use super::scenario::ChaosScenario;
use super::sql_client::{SqlClient, SqlError};
use crate::support::{SessionKind, Slots, TestPostgres};

/// How long a fault waits for its preconditions; without them it is skipped.
const SETUP_TIME_MAX: Duration = Duration::from_secs(8);
/// Shorter runs have no time to copy the server for a standby.
const PROMOTION_RUN_MIN: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    WalsenderEnded,
    ServerRestarted,
    ServerStoppedAtOnce,
    ServerKilled,
    ServiceKilled,
    ServiceStopped,
    NetworkCut,
    NetworkReset,
    NetworkHalfClosed,
    NetworkSilent,
    StreamSilent,
    SqlSilent,
    NetworkSlow,
    SlotDropped,
    SlotMoved,
    SlotInvalidated,
    StandbyPromoted,
    Reload,
    IdleInTransaction,
}

use Fault::{
    IdleInTransaction, NetworkCut, NetworkHalfClosed, NetworkReset, NetworkSilent, NetworkSlow,
    Reload, ServerKilled, ServerRestarted, ServerStoppedAtOnce, ServiceKilled, ServiceStopped,
    SlotDropped, SlotInvalidated, SlotMoved, SqlSilent, StandbyPromoted, StreamSilent,
    WalsenderEnded,
};

const ALL: &[Fault] = &[
    WalsenderEnded,
    ServerRestarted,
    ServerStoppedAtOnce,
    ServerKilled,
    ServiceKilled,
    ServiceKilled,
    ServiceStopped,
    ServiceStopped,
    NetworkCut,
    NetworkReset,
    NetworkHalfClosed,
    NetworkSilent,
    StreamSilent,
    SqlSilent,
    NetworkSlow,
    SlotDropped,
    SlotMoved,
    SlotInvalidated,
    StandbyPromoted,
    Reload,
    Reload,
    IdleInTransaction,
];

impl Fault {
    fn name(self) -> &'static str {
        match self {
            WalsenderEnded => "walsender ended",
            ServerRestarted => "server restarted",
            ServerStoppedAtOnce => "server stopped (immediate)",
            ServerKilled => "server killed",
            ServiceKilled => "service killed",
            ServiceStopped => "service stopped",
            NetworkCut => "network cut",
            NetworkReset => "connections reset",
            NetworkHalfClosed => "connections half closed",
            NetworkSilent => "network silent",
            StreamSilent => "stream silent",
            SqlSilent => "sessions silent",
            NetworkSlow => "network slow",
            SlotDropped => "slot dropped",
            SlotMoved => "slot moved",
            SlotInvalidated => "slot invalidated",
            StandbyPromoted => "standby promoted",
            Reload => "reload",
            IdleInTransaction => "idle in transaction",
        }
    }
}

/// Injects faults in random order.
pub(crate) struct FaultInjector {
    rng: fastrand::Rng,
    duration: Duration,
    /// Shuffled; refilled when empty, so that every kind is drawn before any is repeated.
    bag: Vec<Fault>,
    idle: Option<SqlClient>,
}

impl FaultInjector {
    pub(crate) fn new(rng: fastrand::Rng, duration: Duration) -> Self {
        Self { rng, duration, bag: Vec::new(), idle: None }
    }

    /// Injects and heals one random fault after another.
    pub(crate) async fn inject_until(
        &mut self,
        scenario: &std::sync::Arc<ChaosScenario>,
        pg: &mut TestPostgres,
        until: Instant,
    ) {
        let mut session = SqlClient::new(scenario);
        while Instant::now() < until && !scenario.is_finished() {
            let fault = self.draw();
            let instance = &scenario.instances[self.rng.usize(0..2)];
            let duration = Duration::from_millis(self.rng.u64(20..1500));
            let began = Instant::now();
            let injected = self.inject(fault, scenario, instance, &mut session, pg, duration).await;
            if injected {
                scenario.counters.fault(fault.name());
            }
            let instance =
                if matches!(fault, ServiceKilled | ServiceStopped) { instance.name } else { "" };
            eprintln!(
                "  {} {instance} {:?}{}",
                fault.name(),
                began.elapsed(),
                if injected { "" } else { " (skipped)" }
            );
            for instance in &scenario.instances {
                if let Some(status) = instance.unexpected_exit() {
                    scenario.fail(instance.name, &format!("exited unexpectedly with {status}"));
                }
            }
            scenario.sleep(Duration::from_millis(self.rng.u64(50..900))).await;
        }
    }

    /// Ends every lasting fault.
    pub(crate) fn heal(&mut self, scenario: &ChaosScenario) {
        self.idle = None;
        for instance in &scenario.instances {
            instance.proxy.heal();
            instance.start();
        }
    }

    fn draw(&mut self) -> Fault {
        loop {
            if self.bag.is_empty() {
                self.bag = ALL.to_vec();
                self.rng.shuffle(&mut self.bag);
            }
            match self.bag.pop() {
                Some(StandbyPromoted) if self.duration < PROMOTION_RUN_MIN => {}
                Some(fault) => return fault,
                None => {}
            }
        }
    }

    /// Injects one fault; false if its preconditions were not met.
    async fn inject(
        &mut self,
        fault: Fault,
        scenario: &std::sync::Arc<ChaosScenario>,
        instance: &Instance,
        session: &mut SqlClient,
        pg: &mut TestPostgres,
        duration: Duration,
    ) -> bool {
        let proxy = &instance.proxy;
        match fault {
            WalsenderEnded => return end_walsenders(session).await.is_ok(),
            ServerRestarted => return restart(pg, ShutdownMode::Fast).await,
            ServerStoppedAtOnce => return restart(pg, ShutdownMode::Immediate).await,
            ServerKilled => {
                block_in_place(|| pg.server().kill()).expect("killed");
                return restart(pg, ShutdownMode::Immediate).await;
            }
            ServiceKilled => {
                instance.kill();
                scenario.sleep(duration).await;
                instance.start();
            }
            ServiceStopped => {
                if let Err(problem) = instance.stop().await {
                    scenario.fail(instance.name, &problem);
                }
                scenario.sleep(duration).await;
                instance.start();
            }
            NetworkReset => proxy.reset(),
            NetworkHalfClosed => proxy.half_close(),
            NetworkCut => proxy.cut(),
            NetworkSilent => proxy.black_hole(),
            StreamSilent => proxy.silence(SessionKind::Replication),
            SqlSilent => proxy.silence(SessionKind::Sql),
            NetworkSlow => proxy.delay(Duration::from_millis(self.rng.u64(1..30))),
            SlotDropped => {
                let change = format!("SELECT pg_drop_replication_slot('{}')", instance.slot);
                return tamper(instance, session, &change).await;
            }
            SlotMoved => {
                let change = format!(
                    "SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())",
                    instance.slot
                );
                return tamper(instance, session, &change).await;
            }
            SlotInvalidated => return invalidate(instance, session).await.unwrap_or(false),
            StandbyPromoted => {
                self.idle = None;
                promote(scenario, pg, duration).await;
            }
            Reload => {
                let reloading =
                    instance.client.post(instance.url() + "/admin/reload?table=all").send().await;
                return reloading.is_ok_and(|reply| reply.status().as_u16() == 202);
            }
            IdleInTransaction => {
                let mut idle = SqlClient::new(scenario);
                let sql =
                    "BEGIN; INSERT INTO beat VALUES (-1, 0) ON CONFLICT (id) DO UPDATE SET n = 0";
                let injected = idle.execute(sql).await.is_ok();
                self.idle = Some(idle);
                return injected;
            }
        }
        // Some silences exceed the service's own timeouts.
        let duration = if matches!(fault, NetworkSilent | StreamSilent) {
            duration * self.rng.u32(1..8)
        } else {
            duration
        };
        scenario.sleep(duration).await;
        proxy.heal();
        true
    }
}

async fn end_walsenders(session: &mut SqlClient) -> Result<(), SqlError> {
    session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication").await
}

async fn restart(pg: &mut TestPostgres, mode: ShutdownMode) -> bool {
    block_in_place(|| pg.server().restart(mode)).expect("the server starts again");
    pg.reconnect().await;
    true
}

/// Changes a slot while the connection of its instance is cut.
async fn tamper(instance: &Instance, session: &mut SqlClient, change: &str) -> bool {
    instance.proxy.cut();
    let began = Instant::now();
    let mut injected = false;
    while !injected && began.elapsed() < SETUP_TIME_MAX {
        injected = session.execute(change).await.is_ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    instance.proxy.heal();
    injected
}

/// Writes WAL until the server invalidates the slot of a reader that does not read.
async fn invalidate(instance: &Instance, session: &mut SqlClient) -> Result<bool, SqlError> {
    instance.proxy.silence(SessionKind::Replication);
    let injected = write_wal_until_invalid(instance, session).await;
    instance.proxy.heal();
    session.execute("ALTER SYSTEM RESET max_slot_wal_keep_size").await?;
    session.execute("SELECT pg_reload_conf()").await?;
    injected
}

async fn write_wal_until_invalid(
    instance: &Instance,
    session: &mut SqlClient,
) -> Result<bool, SqlError> {
    session.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'").await?;
    session.execute("SELECT pg_reload_conf()").await?;
    // The service may replace the slot before its status is read.
    let invalid = format!(
        "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{}' AND wal_status <> 'lost')",
        instance.slot
    );
    let began = Instant::now();
    while began.elapsed() < SETUP_TIME_MAX {
        for _ in 0..4 {
            session
                .execute("SELECT pg_logical_emit_message(true, 'test', ''), pg_switch_wal()")
                .await?;
        }
        session.execute("CHECKPOINT").await?;
        if session.value::<bool>(&invalid).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Promotes a standby in place of the primary, with or without its last commits.
async fn promote(scenario: &ChaosScenario, pg: &mut TestPostgres, duration: Duration) {
    let standby = pg.standby(Slots::None, TempPostgresOptions::default()).await;
    scenario.sleep(duration).await;
    block_in_place(|| pg.server().kill()).expect("killed");
    standby.promote().await;
    scenario.set_database(standby.socket_url());
    for instance in &scenario.instances {
        instance.proxy.switch(&standby);
    }
    *pg = standby;
}
