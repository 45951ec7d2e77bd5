//! A bounded pool of sessions, opened on demand and closed after a time without use.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::source_status::PostmasterId;

use super::failure::LoadFailure;
use super::read_point::ServerFacts;
use super::session::{ResponseRows, SqlSession, SqlSessionOptions};

/// The pool of a loader's sessions for loads by key.
pub(super) struct SessionPool {
    options: SqlSessionOptions,
    max_connections: usize,
    /// One for each session that may be in use.
    permits: Semaphore,
    /// Idle sessions, the most recently used one last. Locked for a push or a pop only.
    idle: Mutex<Vec<IdleSession>>,
}

struct IdleSession {
    session: SqlSession,
    since: Instant,
}

impl SessionPool {
    /// The idle time after which a session is closed, unless it is the only one.
    pub(super) const IDLE_MAX: Duration = Duration::from_mins(1);

    pub(super) fn new(options: SqlSessionOptions, max_connections: usize) -> Self {
        let max_connections = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let permits = Semaphore::new(max_connections);
        Self { options, max_connections, permits, idle: Mutex::default() }
    }

    /// Runs statements in a session; returns their rows and the server that returned them.
    ///
    /// The connection of an idle session may have been lost unnoticed: then the statements, which only
    /// read, run once more in a new session.
    pub(super) async fn query(
        &self,
        sql: &str,
    ) -> Result<(ResponseRows, ServerFacts), LoadFailure> {
        let busy = LoadFailure::Busy(self.max_connections);
        let wait_max = self.options.silence_timeout;
        let Ok(Ok(_permit)) = timeout(wait_max, self.permits.acquire()).await else {
            return Err(busy);
        };
        let used_last = self.idle.lock().pop();
        if let Some(IdleSession { session, .. }) = used_last {
            match self.query_in(session, sql).await {
                // What ended this session has probably ended the others, too.
                Err(failure) if failure.ends_session() => self.idle.lock().clear(),
                answered => return answered,
            }
        }
        let session = Box::pin(SqlSession::open(&self.options)).await?;
        self.query_in(session, sql).await
    }

    async fn query_in(
        &self,
        mut session: SqlSession,
        sql: &str,
    ) -> Result<(ResponseRows, ServerFacts), LoadFailure> {
        let answered = session.query(sql).await;
        if answered.as_ref().is_err_and(LoadFailure::ends_session) {
            return answered.map(|answers| (answers, session.server));
        }
        session.rollback_if_open().await?;
        let server = session.server;
        self.idle.lock().push(IdleSession { session, since: Instant::now() });
        Ok((answered?, server))
    }

    /// Closes the idle sessions with this server.
    pub(super) fn close_sessions_with(&self, server: PostmasterId) {
        self.idle.lock().retain(|idle| idle.session.server.postmaster != server);
    }

    /// Closes sessions that exceed [`Self::IDLE_MAX`]. Never returns.
    pub(super) async fn close_idle(&self) {
        loop {
            sleep(Self::IDLE_MAX / 4).await;
            let expired = self.take_expired(Instant::now());
            for idle in expired {
                idle.session.close().await;
            }
        }
    }

    /// Removes the sessions that exceed [`Self::IDLE_MAX`] at `now`, except the most recently used one.
    fn take_expired(&self, now: Instant) -> Vec<IdleSession> {
        let mut idle = self.idle.lock();
        let others = idle.len().saturating_sub(1);
        // Sessions are in the order of their last use, so the expired ones come first.
        let is_expired =
            |idle: &&IdleSession| now.saturating_duration_since(idle.since) >= Self::IDLE_MAX;
        let expired = idle.iter().take(others).take_while(is_expired).count();
        idle.drain(..expired).collect()
    }
}
