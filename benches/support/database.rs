//! A temporary PostgreSQL for one benchmark, and an SQL session on it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use highwater::lsn::Lsn;
use highwater::temp_postgres::{FindOptions, Installation, TempPostgres, TempPostgresOptions};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::Common;

/// The database of the benchmarks.
const DATABASE: &str = "postgres";
/// Time for the postmaster to notice that a child process has ended.
const REAP_TIME: Duration = Duration::from_millis(100);

/// The benchmark's own server, and a session on it.
pub(crate) struct BenchDatabase {
    pub(crate) server: TempPostgres,
    pub(crate) session: BenchSession,
}

impl BenchDatabase {
    /// Starts a server with settings that keep background work out of the figures.
    pub(crate) async fn start(common: &Common, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let quiet = [
            ("autovacuum", "off"),
            ("checkpoint_timeout", "1h"),
            ("max_wal_size", "16GB"),
            ("shared_buffers", "256MB"),
        ];
        let mut options = TempPostgresOptions::default();
        for (name, value) in quiet.iter().chain(settings) {
            options = options.setting(name, value);
        }
        let server = TempPostgres::start(&installation(common)?, &options)?;
        println!("PostgreSQL {}, a private server", server.installation().version());
        let session = BenchSession::open(&server.url(DATABASE)).await?;
        Ok(Self { server, session })
    }

    /// Connection URL over TCP.
    pub(crate) fn url(&self) -> String {
        self.server.url(DATABASE)
    }

    /// Connection URL over the Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        self.server.socket_url(DATABASE)
    }

    /// A client program of the server's installation, otherwise the one on the search path.
    pub(crate) fn client_program(&self, name: &str) -> PathBuf {
        let beside = self.server.installation().program(name);
        if beside.is_file() { beside } else { PathBuf::from(name) }
    }

    /// Waits until every other session has ended and the postmaster has noticed.
    pub(crate) async fn wait_until_alone(&self) -> anyhow::Result<()> {
        let others = "SELECT count(*) FROM pg_stat_activity \
                      WHERE backend_type IN ('client backend', 'walsender') \
                      AND pid <> pg_backend_pid()";
        while self.session.value::<i64>(others).await? > 0 {
            sleep(REAP_TIME / 10).await;
        }
        sleep(REAP_TIME).await;
        Ok(())
    }

    /// The postmaster's process id.
    pub(crate) fn postmaster(&self) -> anyhow::Result<u32> {
        self.server.pid().context("the server has stopped")
    }
}

/// Creates the tables `items_1`, `items_2`, … with the same number of rows, published as `bench`.
pub(crate) async fn make_tables(
    database: &BenchDatabase,
    tables: u32,
    rows: u32,
) -> anyhow::Result<()> {
    for table in 1..=tables {
        let make = format!(
            "CREATE TABLE items_{table} \
             (id bigint PRIMARY KEY, owner int, name text, changed timestamptz); \
             INSERT INTO items_{table} SELECT n, n % 1000, 'item ' || n, \
             '2024-01-31Z'::timestamptz + n * interval '1 s' FROM generate_series(1, {rows}) n"
        );
        database.session.execute(&make).await?;
    }
    database.session.execute("CREATE PUBLICATION bench FOR ALL TABLES").await
}

#[allow(clippy::disallowed_methods, reason = "the search path of programs")]
fn installation(common: &Common) -> anyhow::Result<Installation> {
    let options = FindOptions {
        bin_dir: common.pg_bin.clone(),
        path: std::env::var_os("PATH"),
        cache_dir: None,
        major: common.pg_major,
    };
    let newest = Installation::all(&options)?.into_iter().max_by_key(Installation::major);
    newest.context("no PostgreSQL server programs on this machine; name them with --pg-bin")
}

/// One SQL session.
pub(crate) struct BenchSession {
    pub(crate) client: Client,
    /// Drives the connection; ends when the session is dropped.
    _driver: JoinSet<()>,
}

impl BenchSession {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        Self::open_listening(url, |_| ()).await
    }

    /// A session that hands every notification of the server to `on_message`.
    pub(crate) async fn open_listening(
        url: &str,
        mut on_message: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let connected = tokio_postgres::connect(url, NoTls).await;
        let (client, mut connection) = connected.with_context(|| format!("connect to {url}"))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The user of the client gets the error that ends the connection.
            while let Some(Ok(message)) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                on_message(message);
            }
        });
        Ok(Self { client, _driver: driver })
    }

    /// Runs one or more statements.
    pub(crate) async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        self.client.batch_execute(sql).await.with_context(|| sql.to_owned())
    }

    /// The only column of the only row of a query.
    pub(crate) async fn value<T>(&self, sql: &str) -> anyhow::Result<T>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let row = self.client.query_one(sql, &[]).await.with_context(|| sql.to_owned())?;
        Ok(row.try_get(0)?)
    }

    /// The only column of the only row of a query, a position in the WAL.
    pub(crate) async fn lsn(&self, expression: &str) -> anyhow::Result<Lsn> {
        let text: String = self.value(&format!("SELECT ({expression})::text")).await?;
        Ok(text.parse()?)
    }
}
