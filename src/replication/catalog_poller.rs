//! Looks at the catalog again and again, beside the stream, on an SQL connection of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::announcement::{self, AnnouncementQueue};
use super::catalog::{Catalog, SourceState, announce, read_catalog, read_snapshot, read_source};
use super::error::{PollError, ReplicationError};
use super::options::ReplicationOptions;
use crate::lsn::Lsn;
use crate::table::{RowsConfig, ScopeConfig};
use crate::wire::{ConnectError, ConnectOptions, WalsenderConnection};

/// One look: the published tables, and where server and slot stand.
#[derive(Clone, Debug)]
pub(super) struct CatalogSnapshot {
    pub(super) catalog: Catalog,
    pub(super) source: SourceState,
}

/// Looks this often when nobody asks.
const INTERVAL: Duration = Duration::from_secs(5);
/// After a look, wait this many times as long as it took, so that it costs the server at most that
/// share of one processor,
const COST_RATIO_MAX: u32 = 50;
/// …but not longer than this.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// At least this long between looks, however often somebody asks.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// A look that takes longer has failed.
const POLL_TIME_MAX: Duration = Duration::from_secs(30);

/// The watcher of one slot's publication.
pub(super) struct CatalogPoller {
    target: ConnectOptions,
    publication: String,
    slot: String,
    /// Tables to look at more closely.
    rows: Vec<RowsConfig>,
    scopes: Vec<ScopeConfig>,
    /// Somebody wants a look now.
    pub(super) wanted: Arc<Notify>,
    /// What looks have shown and other instances are to be told.
    outbox: AnnouncementQueue,
    looks: watch::Sender<Option<CatalogSnapshot>>,
}

impl CatalogPoller {
    /// A watcher that looks when `wanted`, too, hands its looks to `looks`, and announces what comes back in
    /// `outbox`.
    pub(super) fn new(
        options: &ReplicationOptions,
        wanted: Arc<Notify>,
        outbox: AnnouncementQueue,
        looks: watch::Sender<Option<CatalogSnapshot>>,
    ) -> Self {
        Self {
            target: options.target.clone(),
            publication: options.publication.clone(),
            slot: options.slot.clone(),
            rows: options.rows.clone(),
            scopes: options.scopes.clone(),
            wanted,
            outbox,
            looks,
        }
    }

    /// An SQL connection to look through.
    pub(super) async fn connect(&self) -> Result<WalsenderConnection, ConnectError> {
        WalsenderConnection::connect_sql(&self.target).await
    }

    /// Looks once.
    pub(super) async fn poll(
        &self,
        connection: &mut WalsenderConnection,
    ) -> Result<CatalogSnapshot, PollError> {
        timeout(POLL_TIME_MAX, async {
            let began = read_snapshot(connection).await?;
            let tables =
                read_catalog(connection, &self.publication, &self.rows, &self.scopes).await?;
            // In this order: the position must not be older than the catalog.
            let source = read_source(connection, &self.publication, &self.slot).await?;
            let (seen_at, snapshot) = (source.wal_end, source.snapshot.clone());
            Ok(CatalogSnapshot { catalog: Catalog { seen_at, snapshot, began, tables }, source })
        })
        .await
        .map_err(|_| PollError::Timeout(POLL_TIME_MAX))?
    }

    /// Looks at server and slot only: cheap however many tables there are.
    pub(super) async fn poll_slot(
        &self,
        connection: &mut WalsenderConnection,
    ) -> Result<SourceState, PollError> {
        let looked = read_source(connection, &self.publication, &self.slot);
        Ok(timeout(POLL_TIME_MAX, looked)
            .await
            .map_err(|_| PollError::Timeout(POLL_TIME_MAX))??)
    }

    /// Looks again and again and announces what was found, reconnecting by itself, until the server lets no
    /// new session in because it shuts down (or crashed): then the stream beside it has no future either.
    pub(super) async fn run(&self, connection: WalsenderConnection) -> ReplicationError {
        let mut connection = Some(connection);
        let (mut ended, mut pause) = (Instant::now(), INTERVAL);
        loop {
            let looks = tokio::select! {
                () = sleep_until(ended + pause) => true,
                () = self.wanted.notified() => {
                    sleep_until(ended + INTERVAL_MIN).await;
                    true
                }
                () = self.outbox.filled() => false,
            };
            let started = Instant::now();
            let was_connected = connection.is_some();
            match self.work(&mut connection, looks).await {
                Ok(()) => {}
                Err(error) if error.says_server_is_down() => {
                    return ReplicationError::ServerShutdown;
                }
                Err(error) => {
                    tracing::warn!(%error, "can't look at the catalog; trying again");
                    connection = None;
                    if was_connected {
                        // It may have been ended by the server: try another at once.
                        self.wanted.notify_one();
                    }
                }
            }
            if looks {
                ended = Instant::now();
                pause = ((ended - started) * COST_RATIO_MAX).clamp(INTERVAL, INTERVAL_MAX);
            }
        }
    }

    /// Announces what is to be announced, and looks.
    async fn work(
        &self,
        connection: &mut Option<WalsenderConnection>,
        looks: bool,
    ) -> Result<(), PollError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connect().await?),
        };
        self.announce(connection).await?;
        if looks {
            self.send_snapshot(connection).await?;
        }
        Ok(())
    }

    async fn announce(&self, connection: &mut WalsenderConnection) -> Result<(), PollError> {
        let found = self.outbox.content();
        if found.is_empty() {
            return Ok(());
        }
        let content = announcement::format(&found);
        let announced = timeout(POLL_TIME_MAX, announce(connection, &self.slot, &content)).await;
        match announced.map_err(|_| PollError::Timeout(POLL_TIME_MAX))? {
            Err(error) if error.says_forbidden() => {
                tracing::warn!(%error, "can't announce changed definitions: clients that switch between instances may miss a reset");
            }
            announced => announced?,
        }
        self.outbox.done(&found);
        Ok(())
    }

    /// Looks once and hands the look to the stream, where it takes effect at the position answered.
    pub(super) async fn send_snapshot(
        &self,
        connection: &mut WalsenderConnection,
    ) -> Result<Lsn, PollError> {
        let look = self.poll(connection).await?;
        let seen_at = look.catalog.seen_at;
        self.looks.send_replace(Some(look));
        Ok(seen_at)
    }
}
