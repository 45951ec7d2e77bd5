//! Rows, read from the database.
//!
//! A [`PgLoader`] reads in transactions that see one moment and know which (`query`, `horizon`),
//! over a few sessions (`session`, `pool`): rows by key (`load`, `keys`) or a whole table (`copy`).
//! What the server prints (`record`) becomes documents as the change stream's tuples do (`shape`).
//!
//! Invariants: nothing but reads, under the weakest lock, and never a read that may wait or last
//! without a limit; what a row says and what the snapshot says of the row are one moment's truth; a
//! row that can't be rendered with certainty is rendered by the database.

mod copy;
mod failure;
mod keys;
mod load;
mod pool;
mod query;
mod read_point;
mod record;
mod session;
mod shape;

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

/// How rows are read.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Where from.
    pub target: ConnectOptions,
    /// Sessions for reading rows by key. When all are busy a load waits. A copy has one of its own
    /// beside these.
    pub connections_max: usize,
    /// How long a query by key may take. A longer one is cancelled: [`LoadError::Unavailable`].
    pub statement_time_max: Duration,
    /// How long to wait for a table that another session holds locked to change its definition;
    /// then [`LoadError::Unavailable`].
    pub lock_time_max: Duration,
    /// When the server is silent for so long the session is given up: [`LoadError::Unavailable`].
    /// Longer than a query may take.
    pub silence_max: Duration,
    /// How long a copy looks for a snapshot that is wanted; then [`LoadError::Unavailable`].
    pub snapshot_time_max: Duration,
}

impl LoaderOptions {
    /// The usual limits.
    pub fn new(target: ConnectOptions) -> Self {
        Self {
            target,
            connections_max: 4,
            statement_time_max: Duration::from_secs(10),
            lock_time_max: Duration::from_secs(1),
            silence_max: Duration::from_secs(30),
            snapshot_time_max: Duration::from_secs(30),
        }
    }
}

/// Reads rows from PostgreSQL, with the rights of a role that may `SELECT` them.
pub struct PgLoader {
    pool: SessionPool,
    copies: SqlSessionOptions,
    snapshot_time_max: Duration,
}

impl PgLoader {
    /// What our sessions are called in `pg_stat_activity`.
    const APPLICATION_NAME: &'static str = "highwater loader";

    /// A loader that has not connected yet.
    pub fn new(options: LoaderOptions) -> Self {
        let sessions = SqlSessionOptions {
            target: options.target.with_application_name(Self::APPLICATION_NAME),
            statement_time_max: options.statement_time_max,
            lock_time_max: options.lock_time_max,
            silence_max: options.silence_max,
        };
        Self {
            pool: SessionPool::new(sessions.clone(), options.connections_max),
            copies: sessions,
            snapshot_time_max: options.snapshot_time_max,
        }
    }

    /// Closes sessions that nobody has used for a minute, all but one, for as long as it runs.
    pub async fn close_idle(&self) {
        self.pool.close_idle().await;
    }

    fn told(&self, failure: LoadFailure, table: &Table) -> LoadError {
        failure.told(table, self.copies.target.user())
    }

    async fn seen(&self) -> Result<ReadPoint, LoadFailure> {
        let (answers, server) = self.pool.ask(&format!("SELECT {}", query::SEEN)).await?;
        server.loaded_at(answers.iter().flatten().next().ok_or(LoadFailure::Unexpected)?)
    }
}

impl Loader for PgLoader {
    fn load<'a>(
        &'a self,
        table: &'a Arc<Table>,
        keys: &'a [Key],
    ) -> BoxFuture<'a, Result<LoadedRows, LoadError>> {
        async move {
            let held = held(table)?;
            let loaded = load::load(&self.pool, table, held, KeyBatch::new(held, keys)).await;
            loaded.map_err(|failure| self.told(failure, table))
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        table: &'a Arc<Table>,
        sink: &'a mut dyn CopySink,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        async move {
            let held = held(table)?;
            let copied = copy::copy(&self.copies, self.snapshot_time_max, table, held, sink).await;
            copied.map_err(|failure| self.told(failure, table))
        }
        .boxed()
    }

    fn leave(&self, server: PostmasterId) {
        self.pool.leave(server);
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<ReadPoint, LoadError>> {
        async move {
            self.seen().await.map_err(|failure| match failure {
                LoadFailure::Load(error) => error,
                other => LoadError::Unavailable(other.to_string()),
            })
        }
        .boxed()
    }
}

fn held(table: &Table) -> Result<&RowCachePlan, LoadError> {
    let refused =
        || LoadError::Refused(format!("the rows of table {} are not to be read", table.name));
    table.rows.held().map(|held| &**held).ok_or_else(refused)
}
