//! What breaks. Each fault strikes, lasts for a while that the dice say, and heals; an open
//! transaction lasts until the calm.

use std::time::{Duration, Instant};

use highwater::temp_postgres::{ShutdownMode, TempPostgresOptions};
use tokio::task::block_in_place;

use super::instance::Instance;
use super::link::{ProxiedLink, Refusal};
use super::world::ChaosScenario;
use crate::support::{SessionKind, Slots, TestPostgres};

/// How long a fault waits for what it needs; without it, it did not strike.
const SETUP_TIME_MAX: Duration = Duration::from_secs(8);
/// Shorter runs have no time to copy a server.
const PROMOTION_RUN_MIN: Duration = Duration::from_mins(1);

/// Kinds of faults.
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
            ServerStoppedAtOnce => "server stopped at once",
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

/// Who makes them.
pub(crate) struct FaultInjector {
    dice: fastrand::Rng,
    duration: Duration,
    /// Shuffled; every kind comes before one comes again.
    bag: Vec<Fault>,
    idle: Option<ProxiedLink>,
}

impl FaultInjector {
    pub(crate) fn new(dice: fastrand::Rng, duration: Duration) -> Self {
        Self { dice, duration, bag: Vec::new(), idle: None }
    }

    /// Lets faults strike until then.
    pub(crate) async fn strike(
        &mut self,
        world: &std::sync::Arc<ChaosScenario>,
        pg: &mut TestPostgres,
        until: Instant,
    ) {
        let mut link = ProxiedLink::new(world);
        while Instant::now() < until && !world.has_ended() {
            let fault = self.draw();
            let instance = &world.instances[self.dice.usize(0..2)];
            let lasts = Duration::from_millis(self.dice.u64(20..1500));
            let began = Instant::now();
            let struck = self.one(fault, world, instance, &mut link, pg, lasts).await;
            if struck {
                world.tally.fault(fault.name());
            }
            let instance =
                if matches!(fault, ServiceKilled | ServiceStopped) { instance.name } else { "" };
            eprintln!(
                "  {} {instance} {:?}{}",
                fault.name(),
                began.elapsed(),
                if struck { "" } else { " (not this time)" }
            );
            for instance in &world.instances {
                if let Some(status) = instance.ended() {
                    world.fail(instance.name, &format!("ended by itself with {status}"));
                }
            }
            world.sleep(Duration::from_millis(self.dice.u64(50..900))).await;
        }
    }

    /// Ends what lasts.
    pub(crate) fn heal(&mut self, world: &ChaosScenario) {
        self.idle = None;
        for instance in &world.instances {
            instance.proxy.heal();
            instance.start();
        }
    }

    fn draw(&mut self) -> Fault {
        loop {
            if self.bag.is_empty() {
                self.bag = ALL.to_vec();
                self.dice.shuffle(&mut self.bag);
            }
            match self.bag.pop() {
                Some(StandbyPromoted) if self.duration < PROMOTION_RUN_MIN => {}
                Some(fault) => return fault,
                None => {}
            }
        }
    }

    /// One fault; whether it struck.
    async fn one(
        &mut self,
        fault: Fault,
        world: &std::sync::Arc<ChaosScenario>,
        at: &Instance,
        link: &mut ProxiedLink,
        pg: &mut TestPostgres,
        lasts: Duration,
    ) -> bool {
        let proxy = &at.proxy;
        match fault {
            WalsenderEnded => return end_walsenders(link).await.is_ok(),
            ServerRestarted => return restart(pg, ShutdownMode::Fast).await,
            ServerStoppedAtOnce => return restart(pg, ShutdownMode::Immediate).await,
            ServerKilled => {
                block_in_place(|| pg.server().kill()).expect("killed");
                return restart(pg, ShutdownMode::Immediate).await;
            }
            ServiceKilled => {
                at.kill();
                world.sleep(lasts).await;
                at.start();
            }
            ServiceStopped => {
                if let Err(what) = at.stop().await {
                    world.fail(at.name, &what);
                }
                world.sleep(lasts).await;
                at.start();
            }
            NetworkReset => proxy.reset(),
            NetworkHalfClosed => proxy.half_close(),
            NetworkCut => proxy.cut(),
            NetworkSilent => proxy.black_hole(),
            StreamSilent => proxy.silence(SessionKind::Replication),
            SqlSilent => proxy.silence(SessionKind::Sql),
            NetworkSlow => proxy.delay(Duration::from_millis(self.dice.u64(1..30))),
            SlotDropped => {
                let change = format!("SELECT pg_drop_replication_slot('{}')", at.slot);
                return tamper(at, link, &change).await;
            }
            SlotMoved => {
                let change = format!(
                    "SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())",
                    at.slot
                );
                return tamper(at, link, &change).await;
            }
            SlotInvalidated => return invalidate(at, link).await.unwrap_or(false),
            StandbyPromoted => {
                self.idle = None;
                promote(world, pg, lasts).await;
            }
            Reload => {
                let reloading = at.client.post(at.url() + "/admin/reload?table=all").send().await;
                return reloading.is_ok_and(|reply| reply.status().as_u16() == 202);
            }
            IdleInTransaction => {
                let mut idle = ProxiedLink::new(world);
                let sql =
                    "BEGIN; INSERT INTO beat VALUES (-1, 0) ON CONFLICT (id) DO UPDATE SET n = 0";
                let struck = idle.execute(sql).await.is_ok();
                self.idle = Some(idle);
                return struck;
            }
        }
        // Some silences last longer than the service's patience.
        let lasts = if matches!(fault, NetworkSilent | StreamSilent) {
            lasts * self.dice.u32(1..8)
        } else {
            lasts
        };
        world.sleep(lasts).await;
        proxy.heal();
        true
    }
}

async fn end_walsenders(link: &mut ProxiedLink) -> Result<(), Refusal> {
    link.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication").await
}

async fn restart(pg: &mut TestPostgres, mode: ShutdownMode) -> bool {
    block_in_place(|| pg.server().restart(mode)).expect("the server starts again");
    pg.reconnect().await;
    true
}

/// Does something to a slot while its holder is cut off.
async fn tamper(at: &Instance, link: &mut ProxiedLink, change: &str) -> bool {
    at.proxy.cut();
    let began = Instant::now();
    let mut struck = false;
    while !struck && began.elapsed() < SETUP_TIME_MAX {
        struck = link.execute(change).await.is_ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    at.proxy.heal();
    struck
}

/// Writes WAL until the server takes it away from a slot whose reader hangs.
async fn invalidate(at: &Instance, link: &mut ProxiedLink) -> Result<bool, Refusal> {
    at.proxy.silence(SessionKind::Replication);
    let struck = until_invalid(at, link).await;
    at.proxy.heal();
    link.execute("ALTER SYSTEM RESET max_slot_wal_keep_size").await?;
    link.execute("SELECT pg_reload_conf()").await?;
    struck
}

async fn until_invalid(at: &Instance, link: &mut ProxiedLink) -> Result<bool, Refusal> {
    link.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'").await?;
    link.execute("SELECT pg_reload_conf()").await?;
    // The service may replace the slot before we see it lost.
    let invalid = format!(
        "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{}' AND wal_status <> 'lost')",
        at.slot
    );
    let began = Instant::now();
    while began.elapsed() < SETUP_TIME_MAX {
        for _ in 0..4 {
            link.execute("SELECT pg_logical_emit_message(true, 'test', ''), pg_switch_wal()")
                .await?;
        }
        link.execute("CHECKPOINT").await?;
        if link.value::<bool>(&invalid).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A standby takes the place of the server, with or without its last commits.
async fn promote(world: &ChaosScenario, pg: &mut TestPostgres, lasts: Duration) {
    let standby = pg.standby(Slots::None, TempPostgresOptions::default()).await;
    world.sleep(lasts).await;
    block_in_place(|| pg.server().kill()).expect("killed");
    standby.promote().await;
    world.moved(standby.socket_url());
    for instance in &world.instances {
        instance.proxy.switch(&standby);
    }
    *pg = standby;
}
