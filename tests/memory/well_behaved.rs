//! A well-behaved client: it writes, waits for its change and reads the row.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Highwater, TestPostgres, TestSession};

/// Limit for a response beyond its wait: generous, because the machine may be slow; a client that
/// the others starve gets no response at all.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(30);
/// The `wait` of a poll.
const WAIT: Duration = Duration::from_secs(2);
/// Limit for a change to be reported: everything that was written before it is read first.
const CHANGE_TIME_MAX: Duration = Duration::from_mins(3);
/// Changes to wait for at least, on a slow machine, too.
const CHANGES_MIN: usize = 3;
/// Pause between changes.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct WellBehavedClient<'a> {
    hw: &'a Highwater,
    /// Set while a change is outstanding, so that the writers pause.
    is_behind: &'a AtomicBool,
    writer: TestSession,
    version: String,
}

/// How long the client waited.
#[derive(Default)]
pub(super) struct ServedTimes {
    /// From the commit of each change until it was received.
    received: Vec<Duration>,
    /// Latency of the requests without a wait.
    answers: Vec<Duration>,
}

impl<'a> WellBehavedClient<'a> {
    pub(super) async fn new(
        hw: &'a Highwater,
        pg: &TestPostgres,
        is_behind: &'a AtomicBool,
    ) -> Self {
        Self { hw, is_behind, writer: pg.connect().await, version: hw.version().await }
    }

    /// Writes, waits until the change is received, and reads the row, repeatedly.
    pub(super) async fn run(mut self, until: Instant) -> ServedTimes {
        let mut served = ServedTimes::default();
        let mut count: i64 = 0;
        while served.received.len() < CHANGES_MIN || Instant::now() < until {
            count += 1;
            self.writer.execute(&format!("UPDATE quiet SET n = {count}")).await;
            let began = Instant::now();
            self.wait_for_change().await;
            served.received.push(began.elapsed());
            let began = Instant::now();
            let row = self.hw.fetch("/v1/tables/quiet/rows/1").await;
            assert_eq!((row.status, row.body["n"].as_i64()), (200, Some(count)), "{row:?}");
            served.answers.push(began.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
        served.received.sort_unstable();
        served.answers.sort_unstable();
        served
    }

    /// Long polls, which changes of other tables do not wake.
    async fn wait_for_change(&mut self) {
        let began = Instant::now();
        loop {
            let (wait, sent) = (WAIT.as_secs(), Instant::now());
            let query = format!("tables=quiet&wait={wait}s&after={}", self.version);
            let received = self.hw.poll(&query).await;
            let took = sent.elapsed();
            assert!(took < WAIT + RESPONSE_TIME_MAX, "a poll took {took:?}");
            self.version = received.version;
            assert_eq!(
                received.reset.len(),
                0,
                "no change of this table was too large for the log"
            );
            let is_received = received.changes == ["update quiet 1"];
            self.is_behind.store(!is_received, Ordering::Relaxed);
            if is_received {
                return;
            }
            assert!(began.elapsed() < CHANGE_TIME_MAX, "{:?}", received.changes);
        }
    }
}

impl ServedTimes {
    /// Fails unless every request was served in time.
    pub(super) fn assert_served(&self) {
        assert!(self.answers.iter().all(|time| *time < RESPONSE_TIME_MAX), "{self}");
    }
}

impl fmt::Display for ServedTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middle = |times: &[Duration]| times.get(times.len() / 2).copied();
        write!(
            f,
            "{} changes received after {:?}, the last after {:?}; rows read in {:?}, the slowest in {:?}",
            self.received.len(),
            middle(&self.received),
            self.received.last(),
            middle(&self.answers),
            self.answers.last(),
        )
    }
}
