//! Periodic catalog refreshes beside the stream, on a separate SQL connection.

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

/// Result of one refresh: the published tables, and the positions of server and slot.
#[derive(Clone, Debug)]
pub(super) struct CatalogSnapshot {
    pub(super) catalog: Catalog,
    pub(super) source: SourceState,
}

/// Interval between refreshes without requests.
const INTERVAL: Duration = Duration::from_secs(5);
/// Minimum pause after a refresh, as a multiple of its duration: bounds the share of one of the
/// server's processors that refreshes take.
const COST_RATIO_MAX: u32 = 50;
/// Bound of that pause.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// Minimum interval between refreshes, however many are requested.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Timeout of a refresh.
const POLL_TIME_MAX: Duration = Duration::from_secs(30);

/// The poller of one publication and slot.
pub(super) struct CatalogPoller {
    target: ConnectOptions,
    publication: String,
    slot: String,
    /// Tables whose columns are read as well.
    rows: Vec<RowsConfig>,
    scopes: Vec<ScopeConfig>,
    /// Requests a refresh now.
    pub(super) refresh_requested: Arc<Notify>,
    /// Changes to announce to other instances.
    announcements: AnnouncementQueue,
    snapshots: watch::Sender<Option<CatalogSnapshot>>,
}

impl CatalogPoller {
    /// A poller that refreshes also when `refresh_requested`, publishes to `snapshots`, and
    /// announces what the assembler puts into `announcements`.
    pub(super) fn new(
        options: &ReplicationOptions,
        refresh_requested: Arc<Notify>,
        announcements: AnnouncementQueue,
        snapshots: watch::Sender<Option<CatalogSnapshot>>,
    ) -> Self {
        Self {
            target: options.target.clone(),
            publication: options.publication.clone(),
            slot: options.slot.clone(),
            rows: options.rows.clone(),
            scopes: options.scopes.clone(),
            refresh_requested,
            announcements,
            snapshots,
        }
    }

    /// Opens the SQL connection.
    pub(super) async fn connect(&self) -> Result<WalsenderConnection, ConnectError> {
        WalsenderConnection::connect_sql(&self.target).await
    }

    /// Reads the catalog, then server and slot.
    pub(super) async fn poll(
        &self,
        connection: &mut WalsenderConnection,
    ) -> Result<CatalogSnapshot, PollError> {
        timeout(POLL_TIME_MAX, async {
            let snapshot_before = read_snapshot(connection).await?;
            let tables =
                read_catalog(connection, &self.publication, &self.rows, &self.scopes).await?;
            // In this order, so that the position is not older than the catalog.
            let source = read_source(connection, &self.publication, &self.slot).await?;
            let (as_of, snapshot) = (source.wal_end, source.snapshot.clone());
            Ok(CatalogSnapshot {
                catalog: Catalog { as_of, snapshot, snapshot_before, tables },
                source,
            })
        })
        .await
        .map_err(|_| PollError::Timeout(POLL_TIME_MAX))?
    }

    /// Reads server and slot only: cheap, however many tables there are.
    pub(super) async fn poll_slot(
        &self,
        connection: &mut WalsenderConnection,
    ) -> Result<SourceState, PollError> {
        let state = read_source(connection, &self.publication, &self.slot);
        Ok(timeout(POLL_TIME_MAX, state).await.map_err(|_| PollError::Timeout(POLL_TIME_MAX))??)
    }

    /// Refreshes and announces until the server accepts no new session because it shuts down (or
    /// crashed): then the stream beside it has no future either. Reconnects by itself.
    pub(super) async fn run(&self, connection: WalsenderConnection) -> ReplicationError {
        let mut connection = Some(connection);
        let (mut ended, mut pause) = (Instant::now(), INTERVAL);
        loop {
            let refreshes = tokio::select! {
                () = sleep_until(ended + pause) => true,
                () = self.refresh_requested.notified() => {
                    sleep_until(ended + INTERVAL_MIN).await;
                    true
                }
                () = self.announcements.wait_for_additions() => false,
            };
            let started = Instant::now();
            let was_connected = connection.is_some();
            match self.step(&mut connection, refreshes).await {
                Ok(()) => {}
                Err(error) if error.is_server_unavailable() => {
                    return ReplicationError::ServerShutdown;
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to refresh the catalog; retrying");
                    connection = None;
                    if was_connected {
                        // The server may have closed the connection: try another at once.
                        self.refresh_requested.notify_one();
                    }
                }
            }
            if refreshes {
                ended = Instant::now();
                pause = ((ended - started) * COST_RATIO_MAX).clamp(INTERVAL, INTERVAL_MAX);
            }
        }
    }

    /// Announces pending changes, then refreshes if due.
    async fn step(
        &self,
        connection: &mut Option<WalsenderConnection>,
        refreshes: bool,
    ) -> Result<(), PollError> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connect().await?),
        };
        self.announce(connection).await?;
        if refreshes {
            self.send_snapshot(connection).await?;
        }
        Ok(())
    }

    async fn announce(&self, connection: &mut WalsenderConnection) -> Result<(), PollError> {
        let delta = self.announcements.pending();
        if delta.is_empty() {
            return Ok(());
        }
        let content = announcement::format(&delta);
        let announced = timeout(POLL_TIME_MAX, announce(connection, &self.slot, &content)).await;
        match announced.map_err(|_| PollError::Timeout(POLL_TIME_MAX))? {
            Err(error) if error.is_permission_denied() => {
                tracing::warn!(%error, "failed to announce changed definitions: clients that switch between instances may miss a reset");
            }
            announced => announced?,
        }
        self.announcements.remove(&delta);
        Ok(())
    }

    /// Refreshes once and publishes the result to the stream, where it takes effect at the returned
    /// position.
    pub(super) async fn send_snapshot(
        &self,
        connection: &mut WalsenderConnection,
    ) -> Result<Lsn, PollError> {
        let snapshot = self.poll(connection).await?;
        let as_of = snapshot.catalog.as_of;
        self.snapshots.send_replace(Some(snapshot));
        Ok(as_of)
    }
}
