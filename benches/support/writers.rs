//! Commits at a fixed rate: each inserts one row, whose id is the commit's number.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use super::clients::now_us;
use super::database::{BenchDatabase, BenchSession};

/// The table that receives the rows.
pub(crate) const TABLE: &str = "commits";
/// Commits per second of one session: beside the other work it cannot keep up with more.
const COMMITS_OF_ONE_SESSION: f64 = 800.0;

/// When each commit was sent: `sent[id - first]`.
#[derive(Clone, Default)]
pub(crate) struct SendTimes(Rc<RefCell<Vec<Moment>>>);

/// A time by two clocks; `None` before the commit was sent.
type Moment = Option<(Instant, u64)>;

impl SendTimes {
    pub(crate) fn new(count: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![None; count])))
    }

    pub(crate) fn set(&self, place: usize) {
        if let Some(sent) = self.0.borrow_mut().get_mut(place) {
            *sent = Some((Instant::now(), now_us()));
        }
    }

    /// By the monotonic clock of this process.
    pub(crate) fn at(&self, place: usize) -> Option<Instant> {
        self.0.borrow().get(place).copied().flatten().map(|(at, _)| at)
    }

    /// In microseconds since the Unix epoch, to compare with other processes.
    pub(crate) fn at_us(&self, place: usize) -> Option<u64> {
        self.0.borrow().get(place).copied().flatten().map(|(_, at)| at)
    }
}

/// Creates the empty table, published as `bench`.
pub(crate) async fn make_table(session: &BenchSession) -> anyhow::Result<()> {
    session
        .execute(&format!(
            "CREATE TABLE {TABLE} (id bigint PRIMARY KEY); CREATE PUBLICATION bench FOR TABLE {TABLE}"
        ))
        .await
}

/// A series of commits.
pub(crate) struct Commits<'a> {
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Commits per second.
    pub(crate) rate: f64,
    /// SQL to run after the INSERT of an id, in the same transaction.
    pub(crate) also: &'a dyn Fn(usize) -> String,
    /// Called with each id just before the commit is sent.
    pub(crate) on_sent: &'a dyn Fn(usize),
}

impl Commits<'_> {
    /// Runs the commits at their rate. Late commits are caught up, as those of independent users would be.
    pub(crate) async fn run(
        &self,
        database: &BenchDatabase,
        sent: &SendTimes,
    ) -> anyhow::Result<Duration> {
        let sessions = (self.rate / COMMITS_OF_ONE_SESSION).ceil().clamp(1.0, 8.0);
        let mut writers = Vec::new();
        while (writers.len() as f64) < sessions {
            let session = BenchSession::open(&database.url()).await?;
            session.execute("SET synchronous_commit = on").await?;
            writers.push(session);
        }
        let begun = Instant::now();
        let step = writers.len();
        let all = writers.iter().enumerate().map(|(place, session)| async move {
            for number in (place..self.count).step_by(step) {
                sleep_until(begun + Duration::from_secs_f64(number as f64 / self.rate)).await;
                let id = self.first + number;
                let sql = format!("INSERT INTO {TABLE} VALUES ({id}){}", (self.also)(id));
                sent.set(number);
                (self.on_sent)(id);
                session.execute(&sql).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(all).await?;
        Ok(begun.elapsed())
    }
}
