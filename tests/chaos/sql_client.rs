//! An SQL session that survives restarts of the server and failovers.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, NoTls, Row};

use super::counters::Count;
use super::scenario::ChaosScenario;

/// The statement timeout exceeds the lock timeout and stays below every limit of the scenario.
const SETTINGS: &str = "SET lock_timeout = '2s'; SET statement_timeout = '20s'";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A session to the current primary, connected on first use and after every failure.
pub(crate) struct SqlClient {
    scenario: Arc<ChaosScenario>,
    connection: Option<OpenConnection>,
}

struct OpenConnection {
    url: String,
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why a statement had no effect.
#[derive(Debug)]
pub(crate) enum SqlError {
    /// No connection, or it broke.
    Unavailable,
    /// The server rejected it with this message; the session continues, outside any transaction.
    Rejected(String),
}

impl SqlClient {
    pub(crate) fn new(scenario: &Arc<ChaosScenario>) -> Self {
        Self { scenario: scenario.clone(), connection: None }
    }

    /// Runs one or more statements. After an error no transaction is open.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<(), SqlError> {
        let done = self.client().await?.batch_execute(sql).await;
        self.outcome(done).await
    }

    /// The rows of a query.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>, SqlError> {
        let rows = self.client().await?.query(sql, &[]).await;
        self.outcome(rows).await
    }

    /// The only column of the only row of a query.
    pub(crate) async fn value<T: FromSqlOwned>(&mut self, sql: &str) -> Result<T, SqlError> {
        let row = self.client().await?.query_one(sql, &[]).await;
        Ok(self.outcome(row).await?.get(0))
    }

    async fn outcome<T>(
        &mut self,
        outcome: Result<T, tokio_postgres::Error>,
    ) -> Result<T, SqlError> {
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        self.scenario.counters.add(Count::Rejected, 1);
        let message = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
        if let Some(connection) = &self.connection
            && error.as_db_error().is_some()
            && connection.client.batch_execute("ROLLBACK").await.is_ok()
        {
            return Err(SqlError::Rejected(message));
        }
        self.connection = None;
        Err(SqlError::Unavailable)
    }

    #[allow(clippy::disallowed_methods, reason = "aborted when the session is dropped")]
    async fn client(&mut self) -> Result<&Client, SqlError> {
        let url = self.scenario.url();
        let is_usable = self
            .connection
            .as_ref()
            .is_some_and(|open| open.url == url && !open.client.is_closed());
        if !is_usable {
            self.connection = None;
            let unavailable = |_: tokio_postgres::Error| SqlError::Unavailable;
            let connecting =
                tokio::time::timeout(CONNECT_TIME_MAX, tokio_postgres::connect(&url, NoTls));
            let connected = connecting.await.map_err(|_| SqlError::Unavailable)?;
            let (client, connection) = connected.map_err(unavailable)?;
            let driver = tokio::spawn(async { drop(connection.await) });
            let open = self.connection.insert(OpenConnection { url, client, driver });
            open.client.batch_execute(SETTINGS).await.map_err(unavailable)?;
        }
        Ok(&self.connection.as_ref().expect("just opened").client)
    }
}
