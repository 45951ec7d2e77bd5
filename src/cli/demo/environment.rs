//! The demo's environment: a temporary server with the shop's database, and sessions in it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use super::actors::Actors;
use super::error::DemoError;
use super::shop;
use crate::temp_postgres::{
    FindOptions, TempPostgres, TempPostgresError, TempPostgresOptions, find_or_fetch,
};

/// Limit for sessions to close before they are aborted.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The server, the shop's database, and the sessions in it.
pub(crate) struct DemoEnvironment {
    actors: Arc<Actors>,
    /// The sessions' drivers; each ends with its client.
    drivers: JoinSet<()>,
    server: TempPostgres,
}

impl DemoEnvironment {
    /// Starts a server, whose programs are downloaded if necessary, and creates the shop in it.
    pub(crate) async fn set_up(find: FindOptions) -> Result<Self, DemoError> {
        let server = spawn_blocking(move || start_server(&find)).await??;
        let mut drivers = JoinSet::new();
        let superuser = connect(&server.socket_url("postgres"), &mut drivers).await?;
        superuser
            .batch_execute(&format!("CREATE DATABASE {}", shop::DATABASE))
            .await
            .map_err(DemoError::sql("create the shop's database"))?;
        let url = server.socket_url(shop::DATABASE);
        let application = connect(&url, &mut drivers).await?;
        let second = connect(&url, &mut drivers).await?;
        let visitor = connect(&url, &mut drivers).await?;
        shop::create(&application).await.map_err(DemoError::sql("create the shop's tables"))?;
        let actors = Arc::new(Actors { application, second, visitor });
        Ok(Self { actors, drivers, server })
    }

    pub(crate) fn actors(&self) -> &Arc<Actors> {
        &self.actors
    }

    pub(crate) fn server(&self) -> &TempPostgres {
        &self.server
    }

    /// A shell command that runs psql in the shop's database.
    pub(crate) fn psql(&self) -> String {
        let (directory, port) = (self.server.socket_dir().display(), self.server.port());
        format!("psql -h {directory} -p {port} -U postgres {}", shop::DATABASE)
    }

    /// Closes the sessions, stops the server and deletes its files.
    pub(crate) async fn tear_down(self) -> Result<(), DemoError> {
        let Self { actors, mut drivers, server } = self;
        drop(actors);
        let closed = async { while drivers.join_next().await.is_some() {} };
        // A browser's request in progress keeps its session open: don't wait for it.
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
        drop(drivers);
        Ok(spawn_blocking(move || drop(server)).await?)
    }
}

/// Blocks. The server listens on the Unix socket only: on a port, every user of this machine could
/// connect as the superuser.
fn start_server(find: &FindOptions) -> Result<TempPostgres, TempPostgresError> {
    let installation = find_or_fetch(find, &mut |line| anstream::eprintln!("{line}"))?;
    let options = TempPostgresOptions { listen_tcp: false, ..TempPostgresOptions::default() };
    TempPostgres::start(&installation, &options)
}

async fn connect(url: &str, drivers: &mut JoinSet<()>) -> Result<Client, DemoError> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.map_err(DemoError::sql("connect to the shop"))?;
    // The client reports how its connection ended.
    drivers.spawn(async { drop(connection.await) });
    Ok(client)
}
