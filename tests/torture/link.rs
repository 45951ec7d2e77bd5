//! An SQL session that expects the server to go away, and to come back elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, NoTls, Row};

use super::tally::Count;
use super::world::ChaosScenario;

/// Longer than a lock is waited for, shorter than anybody's patience.
const SETTINGS: &str = "SET lock_timeout = '2s'; SET statement_timeout = '20s'";
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A session, connected when it is needed.
pub(crate) struct ProxiedLink {
    world: Arc<ChaosScenario>,
    open: Option<Open>,
}

struct Open {
    url: String,
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why a statement did nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The server is away.
    Away,
    /// The server said no; the session goes on, outside any transaction.
    Refused(String),
}

impl ProxiedLink {
    pub(crate) fn new(world: &Arc<ChaosScenario>) -> Self {
        Self { world: world.clone(), open: None }
    }

    /// Runs one or more statements. After an error no transaction is open.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<(), Refusal> {
        let done = self.client().await?.batch_execute(sql).await;
        self.outcome(done).await
    }

    /// The rows of a query.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>, Refusal> {
        let rows = self.client().await?.query(sql, &[]).await;
        self.outcome(rows).await
    }

    /// The only column of the only row of a query.
    pub(crate) async fn value<T: FromSqlOwned>(&mut self, sql: &str) -> Result<T, Refusal> {
        let row = self.client().await?.query_one(sql, &[]).await;
        Ok(self.outcome(row).await?.get(0))
    }

    async fn outcome<T>(
        &mut self,
        outcome: Result<T, tokio_postgres::Error>,
    ) -> Result<T, Refusal> {
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        self.world.tally.add(Count::Refused, 1);
        let said = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
        if let Some(open) = &self.open
            && error.as_db_error().is_some()
            && open.client.batch_execute("ROLLBACK").await.is_ok()
        {
            return Err(Refusal::Refused(said));
        }
        self.open = None;
        Err(Refusal::Away)
    }

    #[allow(clippy::disallowed_methods, reason = "aborted when the session is dropped")]
    async fn client(&mut self) -> Result<&Client, Refusal> {
        let url = self.world.url();
        let is_usable = self.open.as_ref().is_some_and(|o| o.url == url && !o.client.is_closed());
        if !is_usable {
            self.open = None;
            let away = |_: tokio_postgres::Error| Refusal::Away;
            let connecting =
                tokio::time::timeout(CONNECT_TIME_MAX, tokio_postgres::connect(&url, NoTls));
            let connected = connecting.await.map_err(|_| Refusal::Away)?;
            let (client, connection) = connected.map_err(away)?;
            let driver = tokio::spawn(async { drop(connection.await) });
            let open = self.open.insert(Open { url, client, driver });
            open.client.batch_execute(SETTINGS).await.map_err(away)?;
        }
        Ok(&self.open.as_ref().expect("just opened").client)
    }
}
