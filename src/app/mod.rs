//! Build, run, drain: the one place that puts the parts together and spawns.
//!
//! Three kinds of work, kept apart: the change stream and its application to the store share a
//! thread of their own (a current-thread runtime reads a socket faster than a shared one, and neither
//! ingest nor HTTP can starve the other); HTTP has the main runtime. A single token ends all of it:
//! no new requests, held polls answered, position confirmed, done.

mod listeners;
mod preloads;
mod rows;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::auth::TokenVerifier;
use crate::config::{Config, SetupMode};
use crate::database::loader::LoaderOptions;
use crate::database::{self, setup};
use crate::http::{self, Certificates, HttpOptions, PushOptions};
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::source::postgres::{
    PostgresSource, ReplicationOptions, ResumeWindow, SourceMetrics, TransactionLimits,
};
use crate::source::{ChangeSource, EventSink};
use crate::source_status::StreamRequests;
use crate::store::{self, Applier, CheckPace, Limits, LogLimits, RowLimits, Store, StoreMetrics};
use crate::wire::ConnectOptions;
use listeners::{Listeners, bind};
pub use preloads::{Preloading, Preloads};

/// Pause between attempts to find or create the publication.
const SETUP_RETRY: Duration = Duration::from_secs(1);
/// What is still running this long after the end was asked for is abandoned.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(4);

/// A service that is ready to run: its ports are bound, nothing is connected yet.
pub struct App {
    main: TcpListener,
    admin: Option<TcpListener>,
    /// What the listeners show, where they speak TLS.
    certificates: Option<Certificates>,
    /// Asked to read files again that may have changed.
    read_again: Arc<Notify>,
    http: HttpOptions,
    session: ReplicationOptions,
    creates_publication: bool,
    /// How rows are read, if any are held.
    loader: Option<LoaderOptions>,
    /// How they are compared with the database all the time, if they are.
    checks: Option<CheckPace>,
    /// What it asks of the change stream.
    requests: StreamRequests,
    writer: store::Writer,
    store: Store,
    metrics: Metrics,
    /// Answered beside the service's own routes.
    pages: Router,
}

impl App {
    /// Binds the ports.
    ///
    /// # Errors
    /// When a port is taken.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn build(config: &Config) -> anyhow::Result<Self> {
        let main = bind(config.http.listen, "--listen")?;
        let admin = config.http.admin_listen.map(|address| bind(address, "--admin-listen"));
        Self::on(config, main, admin.transpose()?)
    }

    /// A service on listeners that are bound already.
    ///
    /// # Errors
    /// When the configuration can't be put into effect.
    pub fn on(
        config: &Config,
        main: TcpListener,
        admin: Option<TcpListener>,
    ) -> anyhow::Result<Self> {
        let (requests, metrics) =
            (StreamRequests::default(), Metrics::new().context("register the metrics")?);
        let store_metrics =
            StoreMetrics::register(&metrics.registry).context("register the store's metrics")?;
        let (writer, store) = store::open(limits(config), requests.clone(), store_metrics);
        Ok(Self {
            main,
            http: http_options(config, admin.is_some())?,
            certificates: listeners::certificates(config)?,
            read_again: Arc::default(),
            admin,
            session: session_options(config),
            creates_publication: config.postgres.setup == SetupMode::Auto,
            loader: rows::loader_options(config),
            checks: config.consistency.pace,
            requests,
            writer,
            store,
            metrics,
            pages: Router::new(),
        })
    }

    /// Adds routes of somebody else's to the main listener, and HTML to the head of the console's
    /// page, for the demo: nothing that is configured leads here.
    #[must_use]
    pub fn with_pages(mut self, pages: Router, console_head: &'static str) -> Self {
        self.http.console_head = console_head;
        Self { pages, ..self }
    }

    /// Where clients are answered: the port that was bound when 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.main.local_addr()
    }

    /// How far the tables are that are loaded as a whole at the start.
    pub fn preloads(&self) -> Preloads {
        Preloads::of(self.store.clone())
    }

    /// Notified, it has the service look at once whether the certificate's files changed.
    pub fn read_again(&self) -> Arc<Notify> {
        Arc::clone(&self.read_again)
    }

    /// Serves until `shutdown`, or until something fails that waiting won't heal.
    ///
    /// # Errors
    /// The first failure of that kind, with its remedy.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (writer, store) = (self.writer, self.store);
        let publication = self.creates_publication.then(|| PublicationSetup {
            target: self.session.target.clone(),
            publication: self.session.publication.clone(),
        });
        let metrics = SourceMetrics::register(&self.metrics.registry)?;
        let source = Box::new(PostgresSource::new(self.session, metrics));
        let status = source.status();
        let mut tasks = JoinSet::new();
        let ingest = IngestHandle { source, publication, requests: self.requests, writer };
        let token = shutdown.clone();
        tasks.spawn_blocking(move || ingest.run(&token));

        let mut listeners = Listeners {
            tasks: &mut tasks,
            options: &self.http.server,
            certificates: self.certificates.as_ref(),
            metrics: &self.metrics,
            shutdown: &shutdown,
        };
        listeners.watch_certificates(self.read_again);
        let main = http::router(store.clone(), status.clone(), &self.metrics, &self.http);
        listeners.serve(self.main, main.merge(self.pages))?;
        if let Some(authority) = self.http.authority.clone() {
            listeners.tasks.spawn(follow_keys(authority, shutdown.clone()));
        }
        if let Some(listener) = self.admin {
            let admin = http::admin_router(store.clone(), status, &self.metrics, &self.http);
            listeners.serve_operators(listener, admin)?;
        }
        if let Some(options) = self.loader {
            rows::spawn(&mut tasks, &store, options, self.checks, &shutdown);
        }
        drain(tasks, &store, &shutdown).await
    }
}

/// Waits for the end: asked for, or a task's failure. Then ends everything else, in bounded time.
async fn drain(
    mut tasks: JoinSet<anyhow::Result<()>>,
    store: &Store,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let first = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        Some(ended) = tasks.join_next() => ended.context("a task panicked").flatten(),
    };
    shutdown.cancel();
    // Held polls are answered now, with what there is.
    store.close();
    let rest = async {
        let mut result = first;
        while let Some(ended) = tasks.join_next().await {
            result = result.and(ended.context("a task panicked").flatten());
        }
        result
    };
    tokio::time::timeout(DRAIN_TIME_MAX, rest).await.unwrap_or_else(|_| {
        tracing::warn!("some connections did not end in time and are abandoned");
        Ok(())
    })
}

/// The change source and the application of its events to the store.
struct IngestHandle {
    source: Box<dyn ChangeSource>,
    /// The publication to create before the source starts, if it is missing.
    publication: Option<PublicationSetup>,
    requests: StreamRequests,
    writer: store::Writer,
}

impl IngestHandle {
    /// Runs on the calling thread until the source ends.
    fn run(self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the ingest runtime")?;
        let (batches, incoming) = mpsc::channel(Applier::BATCHES_MAX);
        let (applied_in, applied) = watch::channel(Lsn::ZERO);
        let ended = runtime.block_on(async {
            if let Some(publication) = self.publication {
                publication.ensure(&*self.source, shutdown).await?;
            }
            let events = EventSink { batches, applied };
            let applier = Applier::new(self.writer);
            // The source owns the sending end: when it returns, the applier ends too.
            let run = self.source.run(events, self.requests, shutdown.clone());
            let (streamed, ()) = tokio::join!(run, applier.run(incoming, applied_in));
            streamed.map_err(anyhow::Error::from)
        });
        // A host name lookup that is still in progress is not awaited.
        runtime.shutdown_background();
        ended
    }
}

/// Creation of the publication when it is missing (`postgres.setup = "auto"`).
struct PublicationSetup {
    target: ConnectOptions,
    publication: String,
}

impl PublicationSetup {
    /// Creates the publication unless it exists; retries while the server is unreachable.
    async fn ensure(
        &self,
        source: &dyn ChangeSource,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let connected = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                connected = Box::pin(database::connect(&self.target)) => connected,
            };
            match connected {
                Err(error) if error.is_permanent() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "failed to check for the publication; retrying");
                    source.report_disconnected(error.to_string());
                    sleep(SETUP_RETRY).await;
                }
                Ok((client, driver)) => {
                    let server = self.target.display_name();
                    let ensured = async {
                        let ensured =
                            setup::ensure_publication(&client, &server, &self.publication).await;
                        drop(client);
                        ensured
                    };
                    let (done, ()) = tokio::join!(Box::pin(ensured), Box::pin(driver));
                    done?.iter().for_each(|what| tracing::info!("{what}"));
                    return Ok(());
                }
            }
        }
    }
}

/// Keys of JWTs are read again when their files change.
async fn follow_keys(authority: TokenVerifier, shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.run_until_cancelled(authority.follow_files()).await;
    Ok(())
}

fn session_options(config: &Config) -> ReplicationOptions {
    let postgres = &config.postgres;
    ReplicationOptions {
        target: postgres.target.clone(),
        publication: postgres.publication.clone(),
        slot: postgres.slot.clone(),
        temporary_slot: postgres.temporary_slot,
        failover_slot: postgres.failover_slot,
        resume_window: ResumeWindow {
            max_age: postgres.resume_window,
            max_wal: postgres.resume_max_wal,
        },
        streaming: postgres.streaming,
        limits: TransactionLimits {
            max_changes: config.log.max_transaction_changes,
            max_bytes: config.log.max_transaction_bytes,
            max_streamed_bytes: config.log.max_streamed_bytes,
        },
        rows: config.rows.clone(),
        scopes: config.scopes.clone(),
    }
}

fn http_options(config: &Config, admin_apart: bool) -> anyhow::Result<HttpOptions> {
    let origins = config.http.cors_origins.iter().map(|origin| origin.parse());
    Ok(HttpOptions {
        cors_origins: origins.collect::<Result<_, _>>().context("http.cors_origins")?,
        coalesce_interval: config.http.coalesce_interval,
        max_buffered_response_bytes: config.http.max_buffered_response_bytes,
        push: PushOptions { max_clients: config.http.max_push_clients, ..PushOptions::default() },
        server: config.http.server.clone(),
        admin_apart,
        authority: config.auth.clone().map(TokenVerifier::new).transpose()?,
        admin_open: config.http.admin_open,
        ..HttpOptions::default()
    })
}

fn limits(config: &Config) -> Limits {
    let log = LogLimits {
        max_changes: config.log.max_changes,
        max_age: config.log.max_age,
        max_bytes: config.log.max_bytes,
    };
    let cache = &config.cache;
    let rows = RowLimits {
        max_bytes: cache.max_bytes,
        time_to_idle: cache.time_to_idle,
        time_to_live: cache.time_to_live,
        max_preload_bytes: cache.max_preload_bytes,
        max_pending_loads: cache.max_pending_loads,
    };
    Limits { log, rows }
}
