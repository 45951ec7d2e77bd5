//! Commits at a rate: each inserts one row, whose id is the commit's number.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use super::clients::now_us;
use super::database::{BenchDatabase, BenchSession};

/// The table of such rows.
pub(crate) const TABLE: &str = "told";
/// One session can't keep up with more commits a second than this beside everything else.
const COMMITS_OF_ONE_SESSION: f64 = 800.0;

/// When each commit was sent: `sent[id - first]`.
#[derive(Clone, Default)]
pub(crate) struct SendTimes(Rc<RefCell<Vec<Moment>>>);

/// By two clocks; `None` before it was sent.
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

    /// By this process's clock.
    pub(crate) fn at(&self, place: usize) -> Option<Instant> {
        self.0.borrow().get(place).copied().flatten().map(|(at, _)| at)
    }

    /// In microseconds of the Unix epoch, for other processes.
    pub(crate) fn at_us(&self, place: usize) -> Option<u64> {
        self.0.borrow().get(place).copied().flatten().map(|(_, at)| at)
    }
}

/// The table, empty, published as `bench`.
pub(crate) async fn make_table(session: &BenchSession) -> anyhow::Result<()> {
    session
        .execute(&format!(
            "CREATE TABLE {TABLE} (id bigint PRIMARY KEY); CREATE PUBLICATION bench FOR TABLE {TABLE}"
        ))
        .await
}

/// What is committed, and how often.
pub(crate) struct Commits<'a> {
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Commits a second.
    pub(crate) rate: f64,
    /// What stands after the INSERT, given its id: in the same transaction.
    pub(crate) also: &'a dyn Fn(usize) -> String,
    /// Called just before each is sent.
    pub(crate) on_sent: &'a dyn Fn(usize),
}

impl Commits<'_> {
    /// Commits at the rate. Late commits are made up for, as other users' would be.
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
