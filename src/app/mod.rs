//! The service: build, run, drain. The only module that connects the parts and spawns tasks.
//!
//! The change stream and the applier share a dedicated thread: a current-thread runtime reads a socket
//! faster than a shared one, and neither ingest nor HTTP can starve the other. HTTP uses the main
//! runtime. One cancellation token ends everything: no new requests are accepted, waiting polls get
//! their response, the applied position is confirmed.

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
use crate::http::{self, Certificates, HttpOptions};
use crate::lsn::Lsn;
use crate::metrics::Metrics;
use crate::source::postgres::{PostgresSource, ReplicationOptions, SourceMetrics};
use crate::source::{ChangeSource, EventSink};
use crate::source_status::StreamRequests;
use crate::store::{self, Applier, CheckPace, Store, StoreMetrics};
use crate::wire::ConnectOptions;
use listeners::{Listeners, bind};
pub use preloads::{Preloading, Preloads};

/// Interval between attempts to find or create the publication.
const SETUP_RETRY: Duration = Duration::from_secs(1);
/// Time limit of the drain. Tasks that still run after it are aborted.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(4);

/// A service that is ready to run: ports are bound, nothing is connected yet.
pub struct App {
    main: TcpListener,
    admin: Option<TcpListener>,
    /// `None` without TLS.
    certificates: Option<Certificates>,
    /// Requests an immediate check of the certificate's files.
    reload: Arc<Notify>,
    http: HttpOptions,
    session: ReplicationOptions,
    creates_publication: bool,
    /// `None` if no table has cached rows.
    loader: Option<LoaderOptions>,
    /// `None` disables the periodic comparison.
    checks: Option<CheckPace>,
    requests: StreamRequests,
    writer: store::Writer,
    store: Store,
    metrics: Metrics,
    /// Additional routes of the main listener.
    pages: Router,
}

impl App {
    /// Binds the ports.
    ///
    /// # Errors
    /// When a port is in use, or as [`App::on`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn build(config: &Config) -> anyhow::Result<Self> {
        let main = bind(config.http.listen, "--listen")?;
        let admin = config.http.admin_listen.map(|address| bind(address, "--admin-listen"));
        Self::on(config, main, admin.transpose()?)
    }

    /// A service on listeners that are already bound.
    ///
    /// # Errors
    /// When a file of the certificate or of JWT keys is not usable.
    pub fn on(
        config: &Config,
        main: TcpListener,
        admin: Option<TcpListener>,
    ) -> anyhow::Result<Self> {
        let (requests, metrics) =
            (StreamRequests::default(), Metrics::new().context("register the metrics")?);
        let store_metrics =
            StoreMetrics::register(&metrics.registry).context("register the store's metrics")?;
        let (writer, store) = store::open(config.store, requests.clone(), store_metrics);
        Ok(Self {
            main,
            http: HttpOptions {
                admin_apart: admin.is_some(),
                authority: config.auth.clone().map(TokenVerifier::new).transpose()?,
                ..config.http.options.clone()
            },
            certificates: listeners::certificates(config)?,
            reload: Arc::default(),
            admin,
            session: config.postgres.clone(),
            creates_publication: config.setup == SetupMode::Auto,
            loader: (!config.postgres.rows.is_empty()).then(|| config.loader.clone()),
            checks: config.consistency,
            requests,
            writer,
            store,
            metrics,
            pages: Router::new(),
        })
    }

    /// Adds routes to the main listener, and HTML to the head of the console's page. Used by the demo
    /// only; no configuration key leads here.
    #[must_use]
    pub fn with_pages(mut self, pages: Router, console_head: &'static str) -> Self {
        self.http.console_head = console_head;
        Self { pages, ..self }
    }

    /// Address of the main listener, with the port that was bound if port 0 was configured.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.main.local_addr()
    }

    /// The progress of preloads.
    pub fn preloads(&self) -> Preloads {
        Preloads::of(self.store.clone())
    }

    /// A notification through it makes the service check the certificate's files immediately.
    pub fn reload(&self) -> Arc<Notify> {
        Arc::clone(&self.reload)
    }

    /// Serves until `shutdown`, or until a failure that retrying cannot resolve.
    ///
    /// # Errors
    /// The first such failure, with its remedy.
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
        listeners.watch_certificates(self.reload);
        let main = http::router(store.clone(), status.clone(), &self.metrics, &self.http);
        listeners.serve(self.main, main.merge(self.pages))?;
        if let Some(verifier) = self.http.authority.clone() {
            listeners.tasks.spawn(follow_keys(verifier, shutdown.clone()));
        }
        if let Some(listener) = self.admin {
            let admin = http::admin_router(store.clone(), status, &self.metrics, &self.http);
            listeners.serve_admin(listener, admin)?;
        }
        if let Some(options) = self.loader {
            rows::spawn(&mut tasks, &store, options, self.checks, &shutdown);
        }
        drain(tasks, &store, &shutdown).await
    }
}

/// Waits for `shutdown` or for the first task to end, then ends all others in bounded time.
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
    // Waiting polls get their response now.
    store.close();
    let rest = async {
        let mut result = first;
        while let Some(ended) = tasks.join_next().await {
            result = result.and(ended.context("a task panicked").flatten());
        }
        result
    };
    tokio::time::timeout(MAX_DRAIN_TIME, rest).await.unwrap_or_else(|_| {
        tracing::warn!("shutdown timed out; aborting the remaining connections");
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
    /// Blocks the calling thread until `shutdown` or a failure.
    fn run(self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the ingest runtime")?;
        let (batches, incoming) = mpsc::channel(Applier::BATCHES_MAX);
        let (applied_sender, applied) = watch::channel(Lsn::ZERO);
        let ended = runtime.block_on(async {
            if let Some(publication) = self.publication {
                publication.ensure(&*self.source, shutdown).await?;
            }
            let events = EventSink { batches, applied };
            // The source owns the sending end: when it returns, the applier ends too.
            let run = self.source.run(events, self.requests, shutdown.clone());
            let (streamed, ()) =
                tokio::join!(run, Applier::new(self.writer).run(incoming, applied_sender));
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

/// Reloads the keys of JWTs when their files change.
async fn follow_keys(verifier: TokenVerifier, shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.run_until_cancelled(verifier.follow_files()).await;
    Ok(())
}
