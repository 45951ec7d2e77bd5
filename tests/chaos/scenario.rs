//! State shared by all tasks of a run: the database, the services, the current phase.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::lsn::Lsn;
use tokio::sync::watch;

use super::counters::ChaosCounters;
use super::instance::Instance;
use super::oracle::DatabaseState;

/// The phase of a run.
#[derive(Clone)]
pub(crate) enum ChaosPhase {
    /// Writers write, faults are injected.
    Faults,
    /// Writers pause; clients continue.
    Paused,
    /// Nothing changes: a client that has reached the goal must equal the database.
    Quiescent { number: usize, goal: Lsn, state: Arc<DatabaseState> },
    /// Every task ends.
    Finished,
}

/// The database, the services and the progress of a run.
pub(crate) struct ChaosScenario {
    pub(crate) seed: u64,
    pub(crate) instances: [Instance; 2],
    /// Whether the event trigger is installed: changed definitions are then reported in commit order.
    pub(crate) has_trigger: bool,
    pub(crate) counters: ChaosCounters,
    /// For logs and configurations.
    pub(crate) directory: PathBuf,
    pub(crate) phase: watch::Sender<ChaosPhase>,
    url: Mutex<String>,
    /// Number of failovers.
    generation: AtomicUsize,
    writers_active: AtomicUsize,
    /// Clients already compared in the current quiescent phase.
    compared: Mutex<BTreeSet<String>>,
    failures: Mutex<Vec<String>>,
}

impl ChaosScenario {
    pub(crate) fn new(
        seed: u64,
        instances: [Instance; 2],
        has_trigger: bool,
        directory: PathBuf,
        url: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            seed,
            instances,
            has_trigger,
            counters: ChaosCounters::default(),
            directory,
            phase: watch::Sender::new(ChaosPhase::Paused),
            url: Mutex::new(url),
            generation: AtomicUsize::new(0),
            writers_active: AtomicUsize::new(0),
            compared: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// A random number generator for one task, derived from the seed.
    pub(crate) fn rng(&self, number: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The connection URL of the current primary.
    pub(crate) fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    /// Switches to another primary, which may lack the last commits.
    pub(crate) fn set_database(&self, url: String) {
        *self.url.lock().unwrap() = url;
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn generation(&self) -> usize {
        self.generation.load(Ordering::SeqCst)
    }

    /// Records a violation and ends the run.
    pub(crate) fn fail(&self, source: &str, problem: &str) {
        let text = format!("{source}: {problem}");
        eprintln!("FAILED {text}");
        self.failures.lock().unwrap().push(text);
        self.phase.send_replace(ChaosPhase::Finished);
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(*self.phase.borrow(), ChaosPhase::Finished)
    }

    /// Waits until writes are allowed and counts the writer as active; false at the end.
    pub(crate) async fn begin_write(&self) -> bool {
        let mut phase = self.phase.subscribe();
        let writing = phase
            .wait_for(|phase| matches!(phase, ChaosPhase::Faults | ChaosPhase::Finished))
            .await;
        let writing = writing.is_ok_and(|phase| matches!(*phase, ChaosPhase::Faults));
        if writing {
            self.writers_active.fetch_add(1, Ordering::SeqCst);
        }
        writing
    }

    /// Ends what [`ChaosScenario::begin_write`] began.
    pub(crate) fn end_write(&self) {
        self.writers_active.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits until no writer is active. Call it after leaving [`ChaosPhase::Faults`]: a writer that saw
    /// that phase is counted.
    pub(crate) async fn until_writers_pause(&self) {
        while self.writers_active.load(Ordering::SeqCst) > 0 && !self.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn clear_compared(&self) {
        self.compared.lock().unwrap().clear();
    }

    pub(crate) fn mark_compared(&self, client: &str) {
        self.compared.lock().unwrap().insert(client.to_owned());
    }

    pub(crate) fn compared(&self) -> BTreeSet<String> {
        self.compared.lock().unwrap().clone()
    }

    /// Sleeps, at most until the end of the run.
    pub(crate) async fn sleep(&self, duration: Duration) {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            _ = phase.wait_for(|phase| matches!(phase, ChaosPhase::Finished)) => {}
        }
    }
}
