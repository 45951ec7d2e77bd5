//! The loader, which reads rows from PostgreSQL.
//!
//! A [`PgLoader`] reads in transactions with a known snapshot (`query`, `read_point`), over a few
//! sessions (`session`, `pool`): rows by key (`load`, `keys`) or whole tables (`copy`). The text values
//! that the server returns (`text_values`) become JSON documents by the same rendering as the change
//! stream's tuples (`select_list`).
//!
//! Invariants:
//! - The loader only reads, under the weakest lock, and no read waits or runs without a limit.
//! - The rows and their read point belong to one snapshot.
//! - A row that can't be rendered exactly is rendered by the database.

mod copy;
mod failure;
mod keys;
mod load;
mod pool;
mod query;
mod read_point;
mod select_list;
mod session;
mod text_values;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::key::Key;
use crate::load::{CopySink, LoadError, LoadedRows, Loader, ReadPoint};
use crate::source_status::PostmasterId;
use crate::table::{RowCachePlan, Table};
use crate::wire::ConnectOptions;

use failure::LoadFailure;
use keys::KeyBatch;
use pool::SessionPool;
use session::SqlSessionOptions;

/// The options of a [`PgLoader`].
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// The server to read from.
    pub target: ConnectOptions,
    /// Upper bound of sessions for loads by key; when all are busy, a load waits. Each copy uses one
    /// additional session.
    pub max_connections: usize,
    /// `statement_timeout` of a load by key; a longer one fails as [`LoadError::Unavailable`].
    pub statement_timeout: Duration,
    /// `lock_timeout`: the time to wait for a table that another session has locked to change its
    /// definition; then [`LoadError::Unavailable`].
    pub lock_timeout: Duration,
    /// The time without data from the server after which a session is abandoned:
    /// [`LoadError::Unavailable`]. Must be longer than `statement_timeout`.
    pub silence_timeout: Duration,
    /// The time in which a copy must get a snapshot that its sink accepts; then
    /// [`LoadError::Unavailable`].
    pub snapshot_timeout: Duration,
}

impl LoaderOptions {
    /// The default limits.
    pub fn new(target: ConnectOptions) -> Self {
        Self {
            target,
            max_connections: 4,
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(1),
            silence_timeout: Duration::from_secs(30),
            snapshot_timeout: Duration::from_secs(30),
        }
    }
}

/// A [`Loader`] that reads from PostgreSQL. Its role needs `SELECT` on the tables.
pub struct PgLoader {
    pool: SessionPool,
    copies: SqlSessionOptions,
    snapshot_timeout: Duration,
}

impl PgLoader {
    /// The `application_name` of its sessions, as in `pg_stat_activity`.
    const APPLICATION_NAME: &'static str = "highwater loader";

    /// Creates a loader without connecting.
    pub fn new(options: LoaderOptions) -> Self {
        let sessions = SqlSessionOptions {
            target: options.target.with_application_name(Self::APPLICATION_NAME),
            statement_timeout: options.statement_timeout,
            lock_timeout: options.lock_timeout,
            silence_timeout: options.silence_timeout,
        };
        Self {
            pool: SessionPool::new(sessions.clone(), options.max_connections),
            copies: sessions,
            snapshot_timeout: options.snapshot_timeout,
        }
    }

    /// Closes sessions that were idle for a minute, all but one. Never returns.
    pub async fn close_idle(&self) {
        self.pool.close_idle().await;
    }

    fn load_error(&self, failure: LoadFailure, table: &Table) -> LoadError {
        failure.into_load_error(table, self.copies.target.user())
    }

    async fn read_point(&self) -> Result<ReadPoint, LoadFailure> {
        let (answers, server) = self.pool.query(&format!("SELECT {}", query::READ_POINT)).await?;
        server.read_point(answers.iter().flatten().next().ok_or(LoadFailure::Unexpected)?)
    }
}

impl Loader for PgLoader {
    fn load<'a>(
        &'a self,
        table: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>> {
        async move {
            let plan = cache_plan(table)?;
            let loaded = load::load(&self.pool, table, plan, KeyBatch::new(plan, keys)).await;
            loaded.map_err(|failure| self.load_error(failure, table))
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        table: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        async move {
            let plan = cache_plan(table)?;
            let copied = copy::copy(&self.copies, self.snapshot_timeout, table, plan, sink).await;
            copied.map_err(|failure| self.load_error(failure, table))
        }
        .boxed()
    }

    fn leave(&self, server: PostmasterId) {
        self.pool.close_sessions_with(server);
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async move {
            self.read_point().await.map_err(|failure| match failure {
                LoadFailure::Load(error) => error,
                other => LoadError::Unavailable(other.to_string()),
            })
        }
        .boxed()
    }
}

fn cache_plan(table: &Table) -> Result<&RowCachePlan, LoadError> {
    let refused = || {
        LoadError::Refused(format!(
            "the rows of table {} are not cached, so they are not loaded",
            table.name
        ))
    };
    table.rows.held().map(|plan| &**plan).ok_or_else(refused)
}
