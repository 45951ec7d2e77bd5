//! The run: alternating fault and quiescent phases, and the report at its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::lsn::Lsn;
use highwater::temp_postgres::TempPostgresOptions;
use tokio::task::JoinSet;

use super::counters::Count;
use super::faults::FaultInjector;
use super::instance::{Instance, tail};
use super::oracle::{DatabaseState, database_state};
use super::replica_clients::{ReplicaClient, kinds};
use super::scenario::{ChaosPhase, ChaosScenario};
use super::sql_client::{SqlClient, SqlError};
use super::{migrations, readers, schema, writers};
use crate::support::{TestPostgres, position};

/// Longest fault phase.
const FAULT_PHASE_MAX: Duration = Duration::from_secs(12);
/// Time for the services to become ready after all faults are healed.
const READY_TIME_MAX: Duration = Duration::from_secs(90);
const WRITERS: u64 = 4;
const OWN_WRITERS: u64 = 4;
/// Little cache memory: rows are evicted and loaded again.
const ONE: &str = "[cache]\nmax_bytes = \"20kB\"\n[log]\nmax_transaction_changes = 1000";
/// Rows expire at once and the log is short: slow clients fall below its floor.
const TWO: &str = "[cache]\ntime_to_live = \"20ms\"\n\
    [log]\nmax_transaction_changes = 1000\nmax_changes = 150";
/// A change that every client receives.
const BEAT: &str = "UPDATE plus SET n = nextval('ticks') WHERE id = 1";
/// An UPDATE that is reported but changes no value: a client that has not received it equals the
/// database as well.
const FINAL_CHANGE: &str = "UPDATE plus SET n = n WHERE id = 1";

/// Runs the scenario of a seed; panics with everything that was found.
pub(crate) async fn run(seed: u64, duration: Duration) {
    eprintln!("HIGHWATER_CHAOS_SEED={seed} for {} s", duration.as_secs());
    let mut run = ChaosRun::start(seed, duration).await;
    let mut tasks = run.tasks();
    run.run_phases().await;
    run.scenario.phase.send_replace(ChaosPhase::Finished);
    while let Some(ended) = tasks.join_next().await {
        if let Err(panic) = ended {
            run.scenario.fail("a task", &panic.to_string());
        }
    }
    run.report();
}

struct ChaosRun {
    scenario: Arc<ChaosScenario>,
    pg: TestPostgres,
    faults: FaultInjector,
    session: SqlClient,
    rng: fastrand::Rng,
    duration: Duration,
    began: Instant,
}

impl ChaosRun {
    async fn start(seed: u64, duration: Duration) -> Self {
        let options = TempPostgresOptions::default()
            .setting("max_prepared_transactions", "20")
            .setting("logical_decoding_work_mem", "64kB")
            .setting("wal_sender_timeout", "10s");
        let pg = TestPostgres::private(options).await;
        pg.execute(schema::SQL).await;
        let mut rng = fastrand::Rng::with_seed(seed);
        let has_trigger = rng.bool();
        if has_trigger {
            pg.execute(schema::EVENT_TRIGGER).await;
        }
        eprintln!(
            "PostgreSQL {}, event trigger: {has_trigger}",
            pg.server().installation().version()
        );
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        let one = Instance::new(&pg, "one", ONE, &directory).await;
        let two = Instance::new(&pg, "two", TWO, &directory).await;
        let url = pg.socket_url();
        let scenario = ChaosScenario::new(seed, [one, two], has_trigger, directory, url);
        let session = SqlClient::new(&scenario);
        let faults = FaultInjector::new(scenario.rng(5000), duration);
        Self { scenario, pg, faults, session, rng, duration, began: Instant::now() }
    }

    fn tasks(&self) -> JoinSet<()> {
        let scenario = &self.scenario;
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            tasks.spawn(writers::write(scenario.clone(), number));
        }
        for number in 0..2 {
            tasks.spawn(writers::transfer(scenario.clone(), number));
            tasks
                .spawn(readers::repeated_reads(scenario.clone(), usize::try_from(number).unwrap()));
        }
        for number in 0..OWN_WRITERS {
            tasks.spawn(readers::own_writes(scenario.clone(), number));
        }
        tasks.spawn(migrations::migrate(scenario.clone()));
        for (kind, number) in kinds().into_iter().zip(0..) {
            tasks.spawn(ReplicaClient::new(scenario, kind, number).run());
        }
        tasks
    }

    /// Fault and quiescent phases until the time is over.
    async fn run_phases(&mut self) {
        self.faults.heal(&self.scenario);
        let fault_phase = FAULT_PHASE_MAX.min(self.duration * 2 / 5);
        let mut number = 0;
        while self.began.elapsed() < self.duration && !self.scenario.is_finished() {
            number += 1;
            self.scenario.phase.send_replace(ChaosPhase::Faults);
            let until = Instant::now() + fault_phase;
            self.faults.inject_until(&self.scenario, &mut self.pg, until).await;
            if !self.scenario.is_finished() {
                self.quiescent_phase(number).await;
            }
        }
    }

    async fn quiescent_phase(&mut self, number: usize) {
        let began = Instant::now();
        // A failure may have ended the run: that phase stays.
        self.scenario.phase.send_if_modified(|phase| {
            let continues = !matches!(phase, ChaosPhase::Finished);
            if continues {
                *phase = ChaosPhase::Paused;
            }
            continues
        });
        self.faults.heal(&self.scenario);
        self.scenario.until_writers_pause().await;
        self.scenario.clear_compared();
        let goal = match self.goal().await {
            Ok(goal) => goal,
            Err(error) => return self.scenario.fail("quiescent phase", &format!("{error:?}")),
        };
        self.until_applied(goal).await;
        let state = match self.state_after_final_change().await {
            Ok(state) => state,
            Err(error) => return self.scenario.fail("quiescent phase", &format!("{error:?}")),
        };
        if self.scenario.is_finished() {
            return;
        }
        let ready = began.elapsed();
        self.scenario.phase.send_replace(ChaosPhase::Quiescent {
            number,
            goal,
            state: Arc::new(state),
        });
        let all = kinds().len();
        while self.scenario.compared().len() < all && !self.scenario.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.scenario.counters.add(Count::QuiescentPhases, 1);
        eprintln!(
            "quiescent phase {number}: applied after {ready:?}, all clients equal after {:?}",
            began.elapsed()
        );
    }

    /// A position after every write of the fault phase.
    async fn goal(&mut self) -> Result<Lsn, SqlError> {
        // The server may have restarted since the session's last use; this statement reconnects.
        let _ = self.session.execute("SELECT").await;
        writers::end_prepared(&mut self.session, &mut self.rng).await?;
        self.session.execute(BEAT).await?;
        let lsn: String = self.session.value("SELECT pg_current_wal_insert_lsn()::text").await?;
        Ok(lsn.parse().expect("an LSN"))
    }

    /// Push clients learn a version only with the next change, so one more change is written.
    async fn state_after_final_change(&mut self) -> Result<DatabaseState, SqlError> {
        self.session.execute(FINAL_CHANGE).await?;
        database_state(&mut self.session).await
    }

    async fn until_applied(&self, goal: Lsn) {
        for instance in &self.scenario.instances {
            let began = Instant::now();
            while !is_ready(instance, goal).await && !self.scenario.is_finished() {
                if began.elapsed() > READY_TIME_MAX {
                    let why = text(instance, "/readyz").await;
                    return self
                        .scenario
                        .fail(instance.name, &format!("is not ready at {goal}: {why}"));
                }
                if let Some(status) = instance.unexpected_exit() {
                    return self
                        .scenario
                        .fail(instance.name, &format!("exited unexpectedly with {status}"));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Panics with the failures, or with the operations and checks that never happened.
    fn report(self) {
        let Self { scenario, pg, .. } = self;
        eprintln!("{}", scenario.counters);
        let mut failures = scenario.failures();
        if failures.is_empty() {
            failures = scenario.counters.missing();
        }
        if failures.is_empty() {
            let _ = std::fs::remove_dir_all(&scenario.directory);
            return;
        }
        for instance in &scenario.instances {
            eprintln!("--- log of {}\n{}", instance.name, instance.log_tail(30));
        }
        let log = pg.server().log();
        let _ = std::fs::write(scenario.directory.join("postgresql.log"), &log);
        eprintln!("--- log of PostgreSQL\n{}", tail(&log, 15));
        panic!(
            "with HIGHWATER_CHAOS_SEED={} (logs: {}):\n{}",
            scenario.seed,
            scenario.directory.display(),
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

/// Whether the service reports readiness and has applied everything up to the goal.
async fn is_ready(instance: &Instance, goal: Lsn) -> bool {
    let Ok(reply) = instance.client.get(instance.url() + "/readyz").send().await else {
        return false;
    };
    if !reply.status().is_success() {
        return false;
    }
    let Ok((_, version)) = super::poll::fetch(instance, "/v1/changes?limit=1").await else {
        return false;
    };
    Lsn(position(&version)) >= goal
}
