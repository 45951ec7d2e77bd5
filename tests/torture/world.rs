//! What everybody shares: the database, the services, the phase of the story.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::lsn::Lsn;
use tokio::sync::watch;

use super::instance::Instance;
use super::tally::ChaosCounters;
use super::truth::Truth;

/// Where the story is.
#[derive(Clone)]
pub(crate) enum ChaosPhase {
    /// Everybody does what they do.
    Storm,
    /// Writers pause; mirrors go on.
    Pause,
    /// Nothing changes any more: who has reached the goal must equal the truth.
    Calm { number: usize, goal: Lsn, truth: Arc<Truth> },
    /// Everybody goes home.
    End,
}

/// Shared by all tasks.
pub(crate) struct ChaosScenario {
    pub(crate) seed: u64,
    pub(crate) instances: [Instance; 2],
    /// Whether the event trigger is there: then changed definitions are told in commit order.
    pub(crate) has_trigger: bool,
    pub(crate) tally: ChaosCounters,
    /// Where logs are kept.
    pub(crate) directory: PathBuf,
    pub(crate) phase: watch::Sender<ChaosPhase>,
    url: Mutex<String>,
    /// How often the database has become another one.
    generation: AtomicUsize,
    writers_active: AtomicUsize,
    /// Mirrors that were compared in the present calm.
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
            tally: ChaosCounters::default(),
            directory,
            phase: watch::Sender::new(ChaosPhase::Pause),
            url: Mutex::new(url),
            generation: AtomicUsize::new(0),
            writers_active: AtomicUsize::new(0),
            compared: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// Dice of their own for a task.
    pub(crate) fn dice(&self, number: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// Where the database is.
    pub(crate) fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    /// The database is elsewhere from now on, and may have lost commits.
    pub(crate) fn moved(&self, url: String) {
        *self.url.lock().unwrap() = url;
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn generation(&self) -> usize {
        self.generation.load(Ordering::SeqCst)
    }

    /// Somebody found what must not be.
    pub(crate) fn fail(&self, who: &str, what: &str) {
        let text = format!("{who}: {what}");
        eprintln!("FAILED {text}");
        self.failures.lock().unwrap().push(text);
        self.phase.send_replace(ChaosPhase::End);
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.phase.borrow(), ChaosPhase::End)
    }

    /// Waits until writers may write, counting them in; false at the end.
    pub(crate) async fn may_write(&self) -> bool {
        let mut phase = self.phase.subscribe();
        let writing =
            phase.wait_for(|phase| matches!(phase, ChaosPhase::Storm | ChaosPhase::End)).await;
        let writing = writing.is_ok_and(|phase| matches!(*phase, ChaosPhase::Storm));
        if writing {
            self.writers_active.fetch_add(1, Ordering::SeqCst);
        }
        writing
    }

    /// The other end of [`ChaosScenario::may_write`].
    pub(crate) fn has_written(&self) {
        self.writers_active.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether nobody writes: after a look at the phase, for a writer may have just begun.
    pub(crate) async fn until_nobody_writes(&self) {
        while self.writers_active.load(Ordering::SeqCst) > 0 && !self.has_ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn forget_comparisons(&self) {
        self.compared.lock().unwrap().clear();
    }

    pub(crate) fn was_compared(&self, mirror: &str) {
        self.compared.lock().unwrap().insert(mirror.to_owned());
    }

    pub(crate) fn compared(&self) -> BTreeSet<String> {
        self.compared.lock().unwrap().clone()
    }

    /// Sleeps, but not beyond the end.
    pub(crate) async fn sleep(&self, duration: Duration) {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            _ = phase.wait_for(|phase| matches!(phase, ChaosPhase::End)) => {}
        }
    }
}
