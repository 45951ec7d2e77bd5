//! Who leads through storms and calms, and says how it ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::lsn::Lsn;
use highwater::temp_postgres::TempPostgresOptions;
use tokio::task::JoinSet;

use super::faults::FaultInjector;
use super::instance::{Instance, tail};
use super::link::{ProxiedLink, Refusal};
use super::mirrors::{ReplicaClient, kinds};
use super::tally::Count;
use super::truth::truth;
use super::world::{ChaosPhase, ChaosScenario};
use super::{migrations, readers, schema, writers};
use crate::support::{TestPostgres, position};

/// The longest storm.
const STORM_MAX: Duration = Duration::from_secs(12);
/// How long the services may take to get ready after everything is healed.
const READY_TIME_MAX: Duration = Duration::from_secs(90);
const WRITERS: u64 = 4;
const OWN_WRITERS: u64 = 4;
/// Has room for few rows, so that they come and go.
const ONE: &str = "[cache]\nmax_bytes = \"20kB\"\n[log]\nmax_transaction_changes = 1000";
/// Forgets rows at once, and changes soon: whoever is slow falls below its floor.
const TWO: &str = "[cache]\ntime_to_live = \"20ms\"\n\
    [log]\nmax_transaction_changes = 1000\nmax_changes = 150";
/// A change that concerns every mirror.
const BEAT: &str = "UPDATE plus SET n = nextval('ticks') WHERE id = 1";
/// One that is told and changes nothing: who has not been told of it yet is right, too.
const LAST_WORD: &str = "UPDATE plus SET n = n WHERE id = 1";

/// The whole run.
pub(crate) async fn torture(seed: u64, duration: Duration) {
    eprintln!("HIGHWATER_TORTURE_SEED={seed} for {} s", duration.as_secs());
    let mut story = FaultPlan::start(seed, duration).await;
    let mut tasks = story.tasks();
    story.lead().await;
    story.world.phase.send_replace(ChaosPhase::End);
    while let Some(ended) = tasks.join_next().await {
        if let Err(panic) = ended {
            story.world.fail("a task", &panic.to_string());
        }
    }
    story.verdict();
}

struct FaultPlan {
    world: Arc<ChaosScenario>,
    pg: TestPostgres,
    faults: FaultInjector,
    link: ProxiedLink,
    dice: fastrand::Rng,
    duration: Duration,
    began: Instant,
}

impl FaultPlan {
    async fn start(seed: u64, duration: Duration) -> Self {
        let options = TempPostgresOptions::default()
            .setting("max_prepared_transactions", "20")
            .setting("logical_decoding_work_mem", "64kB")
            .setting("wal_sender_timeout", "10s");
        let pg = TestPostgres::private(options).await;
        pg.execute(schema::SQL).await;
        let mut dice = fastrand::Rng::with_seed(seed);
        let has_trigger = dice.bool();
        if has_trigger {
            pg.execute(schema::EVENT_TRIGGER).await;
        }
        eprintln!(
            "PostgreSQL {}, event trigger: {has_trigger}",
            pg.server().installation().version()
        );
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("torture-{seed}"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        let one = Instance::new(&pg, "one", ONE, &directory).await;
        let other = Instance::new(&pg, "two", TWO, &directory).await;
        let url = pg.socket_url();
        let world = ChaosScenario::new(seed, [one, other], has_trigger, directory, url);
        let link = ProxiedLink::new(&world);
        let faults = FaultInjector::new(world.dice(5000), duration);
        Self { world, pg, faults, link, dice, duration, began: Instant::now() }
    }

    fn tasks(&self) -> JoinSet<()> {
        let world = &self.world;
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            tasks.spawn(writers::write(world.clone(), number));
        }
        for number in 0..2 {
            tasks.spawn(writers::transfer(world.clone(), number));
            tasks.spawn(readers::watch(world.clone(), usize::try_from(number).unwrap()));
        }
        for number in 0..OWN_WRITERS {
            tasks.spawn(readers::own_writes(world.clone(), number));
        }
        tasks.spawn(migrations::migrate(world.clone()));
        for (kind, number) in kinds().into_iter().zip(0..) {
            tasks.spawn(ReplicaClient::new(world, kind, number).run());
        }
        tasks
    }

    /// Storms and calms until the time is over.
    async fn lead(&mut self) {
        self.faults.heal(&self.world);
        let storm = STORM_MAX.min(self.duration * 2 / 5);
        let mut number = 0;
        while self.began.elapsed() < self.duration && !self.world.has_ended() {
            number += 1;
            self.world.phase.send_replace(ChaosPhase::Storm);
            let until = Instant::now() + storm;
            self.faults.strike(&self.world, &mut self.pg, until).await;
            if !self.world.has_ended() {
                self.calm(number).await;
            }
        }
    }

    async fn calm(&mut self, number: usize) {
        let began = Instant::now();
        // Not over the end, which a failure may have brought.
        self.world.phase.send_if_modified(|phase| {
            let goes_on = !matches!(phase, ChaosPhase::End);
            if goes_on {
                *phase = ChaosPhase::Pause;
            }
            goes_on
        });
        self.faults.heal(&self.world);
        self.world.until_nobody_writes().await;
        self.world.forget_comparisons();
        let goal = match self.goal().await {
            Ok(goal) => goal,
            Err(refusal) => return self.world.fail("the calm", &format!("{refusal:?}")),
        };
        self.until_applied(goal).await;
        let truth = match self.last_word().await {
            Ok(truth) => truth,
            Err(refusal) => return self.world.fail("the calm", &format!("{refusal:?}")),
        };
        if self.world.has_ended() {
            return;
        }
        let ready = began.elapsed();
        self.world.phase.send_replace(ChaosPhase::Calm { number, goal, truth: Arc::new(truth) });
        let all = kinds().len();
        while self.world.compared().len() < all && !self.world.has_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.world.tally.add(Count::QuietPoints, 1);
        eprintln!(
            "calm {number}: applied after {ready:?}, all mirrors equal after {:?}",
            began.elapsed()
        );
    }

    /// A position behind everything.
    async fn goal(&mut self) -> Result<Lsn, Refusal> {
        // The server may have been restarted since the session was last used.
        let _ = self.link.execute("SELECT").await;
        writers::end_prepared(&mut self.link, &mut self.dice).await?;
        self.link.execute(BEAT).await?;
        let lsn: String = self.link.value("SELECT pg_current_wal_insert_lsn()::text").await?;
        Ok(lsn.parse().expect("an LSN"))
    }

    /// Who is pushed to is told of a version with the next change only, so there is one more.
    async fn last_word(&mut self) -> Result<super::truth::Truth, Refusal> {
        self.link.execute(LAST_WORD).await?;
        truth(&mut self.link).await
    }

    async fn until_applied(&self, goal: Lsn) {
        for instance in &self.world.instances {
            let began = Instant::now();
            while !is_ready(instance, goal).await && !self.world.has_ended() {
                if began.elapsed() > READY_TIME_MAX {
                    let why = text(instance, "/readyz").await;
                    return self
                        .world
                        .fail(instance.name, &format!("is not ready at {goal}: {why}"));
                }
                if let Some(status) = instance.ended() {
                    return self
                        .world
                        .fail(instance.name, &format!("ended by itself with {status}"));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Says what was found, or how much was tried.
    fn verdict(self) {
        let Self { world, pg, duration, .. } = self;
        eprintln!("{}", world.tally);
        let mut failures = world.failures();
        if failures.is_empty() {
            failures = world.tally.too_little(duration);
        }
        if failures.is_empty() {
            let _ = std::fs::remove_dir_all(&world.directory);
            return;
        }
        for instance in &world.instances {
            eprintln!("--- log of {}\n{}", instance.name, instance.log_tail(30));
        }
        let log = pg.server().log();
        let _ = std::fs::write(world.directory.join("postgresql.log"), &log);
        eprintln!("--- log of PostgreSQL\n{}", tail(&log, 15));
        panic!(
            "with HIGHWATER_TORTURE_SEED={} (logs: {}):\n{}",
            world.seed,
            world.directory.display(),
            failures.join("\n")
        );
    }
}

async fn text(instance: &Instance, path: &str) -> String {
    match instance.client.get(instance.url() + path).send().await {
        Ok(reply) => reply.text().await.unwrap_or_default(),
        Err(error) => error.to_string(),
    }
}

/// Whether it says so, and has applied everything up to the goal.
async fn is_ready(instance: &Instance, goal: Lsn) -> bool {
    let Ok(reply) = instance.client.get(instance.url() + "/readyz").send().await else {
        return false;
    };
    if !reply.status().is_success() {
        return false;
    }
    let Ok((_, version)) = super::answer::fetch(instance, "/v1/changes?limit=1").await else {
        return false;
    };
    Lsn(position(&version)) >= goal
}
