//! A bounded number of sessions, opened when they are needed and kept for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::source_status::PostmasterId;

use super::failure::LoadFailure;
use super::read_point::ServerFacts;
use super::session::{ResponseRows, SqlSession, SqlSessionOptions};

/// The sessions.
pub(super) struct SessionPool {
    options: SqlSessionOptions,
    connections_max: usize,
    /// One for each session that may be in use.
    permits: Semaphore,
    /// Sessions nobody uses; the one used last at the end. Held for a push or a pop only.
    idle: Mutex<Vec<IdleSession>>,
}

struct IdleSession {
    session: SqlSession,
    since: Instant,
}

impl SessionPool {
    /// After so long without use a session is closed, unless it is the only one.
    pub(super) const IDLE_MAX: Duration = Duration::from_mins(1);

    pub(super) fn new(options: SqlSessionOptions, connections_max: usize) -> Self {
        let connections_max = connections_max.clamp(1, Semaphore::MAX_PERMITS);
        let permits = Semaphore::new(connections_max);
        Self { options, connections_max, permits, idle: Mutex::default() }
    }

    /// Runs statements in a session, and tells of its server.
    ///
    /// A session that was idle may have ended without our knowing: then the statements, which only
    /// read, are run once more in a new one.
    pub(super) async fn ask(&self, sql: &str) -> Result<(ResponseRows, ServerFacts), LoadFailure> {
        let busy = LoadFailure::Busy(self.connections_max);
        let wait_max = self.options.silence_max;
        let Ok(Ok(_permit)) = timeout(wait_max, self.permits.acquire()).await else {
            return Err(busy);
        };
        let used_last = self.idle.lock().pop();
        if let Some(IdleSession { session, .. }) = used_last {
            match self.ask_in(session, sql).await {
                // Whatever ended this one has probably ended the others.
                Err(failure) if failure.ends_session() => self.idle.lock().clear(),
                answered => return answered,
            }
        }
        let session = Box::pin(SqlSession::open(&self.options)).await?;
        self.ask_in(session, sql).await
    }

    async fn ask_in(
        &self,
        mut session: SqlSession,
        sql: &str,
    ) -> Result<(ResponseRows, ServerFacts), LoadFailure> {
        let answered = session.ask(sql).await;
        if answered.as_ref().is_err_and(LoadFailure::ends_session) {
            return answered.map(|answers| (answers, session.server));
        }
        session.leave_transaction().await?;
        let server = session.server;
        self.idle.lock().push(IdleSession { session, since: Instant::now() });
        Ok((answered?, server))
    }

    /// Closes the sessions with this server that are idle.
    pub(super) fn leave(&self, server: PostmasterId) {
        self.idle.lock().retain(|idle| idle.session.server.run != server);
    }

    /// Closes sessions that have been idle for too long, for ever.
    pub(super) async fn close_idle(&self) {
        loop {
            sleep(Self::IDLE_MAX / 4).await;
            let old = self.take_old(Instant::now());
            for idle in old {
                idle.session.close().await;
            }
        }
    }

    /// Sessions idle for too long at `now`, except the one used last.
    fn take_old(&self, now: Instant) -> Vec<IdleSession> {
        let mut idle = self.idle.lock();
        let others = idle.len().saturating_sub(1);
        // Used last, stands last: the old ones are in front.
        let is_old =
            |idle: &&IdleSession| now.saturating_duration_since(idle.since) >= Self::IDLE_MAX;
        let old = idle.iter().take(others).take_while(is_old).count();
        idle.drain(..old).collect()
    }
}
