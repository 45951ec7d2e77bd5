//! A client that behaves: it waits for changes of its own, is told, and reads.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Highwater, TestPostgres, TestSession};

/// Limit for a response beyond its wait: generous, because the machine may be slow; a client that is
/// starved by the others would not be answered at all.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a poll is held.
const WAIT: Duration = Duration::from_secs(2);
/// Limit for a change to be reported: everything that was written before it is read first.
const TOLD_TIME_MAX: Duration = Duration::from_mins(3);
/// Changes that are waited for at least, however slow the machine is.
const CHANGES_MIN: usize = 3;
/// From one change to the next.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Honest<'a> {
    hw: &'a Highwater,
    /// Others may see that it has waited for long.
    is_behind: &'a AtomicBool,
    writer: TestSession,
    version: String,
}

/// How they were served.
#[derive(Default)]
pub(super) struct HonestClients {
    /// How long each change took from its commit until it was told.
    told: Vec<Duration>,
    /// How long answers took that were not to wait.
    answers: Vec<Duration>,
}

impl<'a> Honest<'a> {
    pub(super) async fn new(
        hw: &'a Highwater,
        pg: &TestPostgres,
        is_behind: &'a AtomicBool,
    ) -> Self {
        Self { hw, is_behind, writer: pg.connect().await, version: hw.version().await }
    }

    /// Writes, waits until that is told, and reads it.
    pub(super) async fn ask(mut self, until: Instant) -> HonestClients {
        let mut served = HonestClients::default();
        let mut count: i64 = 0;
        while served.told.len() < CHANGES_MIN || Instant::now() < until {
            count += 1;
            self.writer.execute(&format!("UPDATE quiet SET n = {count}")).await;
            let began = Instant::now();
            self.until_told().await;
            served.told.push(began.elapsed());
            let began = Instant::now();
            let row = self.hw.fetch("/v1/tables/quiet/rows/1").await;
            assert_eq!((row.status, row.body["n"].as_i64()), (200, Some(count)), "{row:?}");
            served.answers.push(began.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        served.told.sort_unstable();
        served.answers.sort_unstable();
        served
    }

    /// Polls that are held; of other tables' news they are not woken.
    async fn until_told(&mut self) {
        let began = Instant::now();
        loop {
            let (wait, asked) = (WAIT.as_secs(), Instant::now());
            let query = format!("tables=quiet&wait={wait}s&after={}", self.version);
            let told = self.hw.poll(&query).await;
            let took = asked.elapsed();
            assert!(took < WAIT + ANSWER_TIME_MAX, "a poll took {took:?}");
            self.version = told.version;
            assert_eq!(told.reset.len(), 0, "nothing happened that could not be told");
            let is_told = told.changes == ["update quiet 1"];
            self.is_behind.store(!is_told, Ordering::Relaxed);
            if is_told {
                return;
            }
            assert!(began.elapsed() < TOLD_TIME_MAX, "{:?}", told.changes);
        }
    }
}

impl HonestClients {
    /// Fails unless all were served in time.
    pub(super) fn assert_served(&self) {
        assert!(self.answers.iter().all(|time| *time < ANSWER_TIME_MAX), "{self}");
    }
}

impl fmt::Display for HonestClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middle = |times: &[Duration]| times.get(times.len() / 2).copied();
        write!(
            f,
            "{} changes told after {:?}, the last after {:?}; rows read in {:?}, the slowest in {:?}",
            self.told.len(),
            middle(&self.told),
            self.told.last(),
            middle(&self.answers),
            self.answers.last(),
        )
    }
}
