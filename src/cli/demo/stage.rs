//! Where the story happens: a throw-away server with the shop in it, and connections to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

use super::error::DemoError;
use super::shop;
use super::story::Players;
use crate::throwaway::{FindOptions, Server, ServerOptions, ThrowawayError, find_or_fetch};

/// How long connections may take to close; then they are cut.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// The server, the shop's database, and who plays in it.
pub(crate) struct Stage {
    players: Arc<Players>,
    /// The connections' drivers; each ends with its client.
    drivers: JoinSet<()>,
    server: Server,
}

impl Stage {
    /// Starts a server, fetching its programs where there are none, and opens the shop in it.
    pub(crate) async fn set_up(find: FindOptions) -> Result<Self, DemoError> {
        let server = spawn_blocking(move || start_server(&find)).await??;
        let mut drivers = JoinSet::new();
        let superuser = connect(&server.socket_url("postgres"), &mut drivers).await?;
        superuser
            .batch_execute(&format!("CREATE DATABASE {}", shop::DATABASE))
            .await
            .map_err(DemoError::sql("make the shop's database"))?;
        let url = server.socket_url(shop::DATABASE);
        let application = connect(&url, &mut drivers).await?;
        let second = connect(&url, &mut drivers).await?;
        let visitor = connect(&url, &mut drivers).await?;
        shop::open(&application).await.map_err(DemoError::sql("open the shop"))?;
        let players = Arc::new(Players { application, second, visitor });
        Ok(Self { players, drivers, server })
    }

    /// The application and the others.
    pub(crate) fn players(&self) -> &Arc<Players> {
        &self.players
    }

    /// The server.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The command that opens psql in the shop.
    pub(crate) fn psql(&self) -> String {
        let (directory, port) = (self.server.socket_dir().display(), self.server.port());
        format!("psql -h {directory} -p {port} -U postgres {}", shop::DATABASE)
    }

    /// Closes the connections, stops the server and removes everything.
    pub(crate) async fn tear_down(self) -> Result<(), DemoError> {
        let Self { players, mut drivers, server } = self;
        drop(players);
        let closed = async { while drivers.join_next().await.is_some() {} };
        // A browser's request that is still under way would keep one.
        let _ = timeout(CLOSED_WITHIN, closed).await;
        drop(drivers);
        Ok(spawn_blocking(move || drop(server)).await?)
    }
}

/// Runs on a thread that may block. Only the Unix socket: on a port, every user of this machine
/// could connect as the superuser.
fn start_server(find: &FindOptions) -> Result<Server, ThrowawayError> {
    let installation = find_or_fetch(find, &mut |line| anstream::eprintln!("{line}"))?;
    let options = ServerOptions { listen_tcp: false, ..ServerOptions::default() };
    Server::start(&installation, &options)
}

async fn connect(url: &str, drivers: &mut JoinSet<()>) -> Result<Client, DemoError> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.map_err(DemoError::sql("connect to the shop"))?;
    // How a connection ends is seen by whoever uses its client.
    drivers.spawn(async { drop(connection.await) });
    Ok(client)
}
