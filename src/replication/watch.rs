//! Looks at the catalog again and again, beside the stream, on an SQL connection of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::catalog::{Catalog, CatalogError, SourceState, read_catalog, read_source};
use crate::wire::{ConnectError, Connection, Target};

/// One look: the published tables, and where server and slot stand.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) catalog: Catalog,
    pub(super) source: SourceState,
}

/// Why there was no look.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("read the catalog: no answer within {} s", LOOK_TIME_MAX.as_secs())]
    Timeout,
}

/// Looks this often when nobody asks.
const INTERVAL: Duration = Duration::from_secs(5);
/// …but a look may cost the server at most this share of one processor.
const COST_RATIO_MAX: u32 = 50;
/// At least this long between looks, however often somebody asks.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// A look that takes longer has failed.
const LOOK_TIME_MAX: Duration = Duration::from_secs(30);

/// The watcher of one slot's publication.
pub(super) struct Watch {
    target: Target,
    publication: String,
    slot: String,
    /// Somebody wants a look now.
    pub(super) wanted: Arc<Notify>,
    looks: watch::Sender<Option<Look>>,
}

impl Watch {
    /// A watcher that hands its looks to `looks`.
    pub(super) fn new(
        target: Target,
        publication: String,
        slot: String,
        looks: watch::Sender<Option<Look>>,
    ) -> Self {
        Self { target, publication, slot, wanted: Arc::new(Notify::new()), looks }
    }

    /// An SQL connection to look through.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        Connection::connect_sql(&self.target).await
    }

    /// Looks once.
    pub(super) async fn look(&self, connection: &mut Connection) -> Result<Look, LookError> {
        timeout(LOOK_TIME_MAX, async {
            let tables = read_catalog(connection, &self.publication).await?;
            // In this order: the position must not be older than the catalog.
            let source = read_source(connection, &self.publication, &self.slot).await?;
            Ok(Look { catalog: Catalog { seen_at: source.wal_end, tables }, source })
        })
        .await
        .map_err(|_| LookError::Timeout)?
    }

    /// Looks for ever, reconnecting by itself.
    pub(super) async fn run(&self, connection: Connection) -> Infallible {
        let mut connection = Some(connection);
        let mut pause = INTERVAL;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wanted.notified() => sleep(INTERVAL_MIN).await,
            }
            let started = Instant::now();
            match self.look_again(&mut connection).await {
                Ok(look) => {
                    self.looks.send_replace(Some(look));
                }
                Err(error) => {
                    tracing::warn!(%error, "can't look at the catalog; trying again");
                    connection = None;
                }
            }
            pause = INTERVAL.max(started.elapsed() * COST_RATIO_MAX);
        }
    }

    async fn look_again(&self, connection: &mut Option<Connection>) -> Result<Look, LookError> {
        match connection {
            Some(connection) => self.look(connection).await,
            None => self.look(connection.insert(self.connect().await?)).await,
        }
    }
}
