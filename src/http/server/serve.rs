//! A listener and its connections: accepting, limits, serving, and draining at shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus::{IntCounter, IntGauge};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::http::middleware::rate::BucketOwner;
use crate::http::options::HttpServerOptions;
use crate::http::server::connection::{AcceptedConnection, ConnectionPermit};
use crate::http::server::detach::Http1;
use crate::http::server::poll_on_wake::PollOnWake;
use crate::http::server::timeouts::{ConnectionTimeouts, GOODBYE_MAX, TimedIo, TimeoutKind};
use crate::http::server::tls::{self, Certificates};
use crate::metrics::Metrics;

/// HTTP/2 streams that a client opened and reset before they were accepted; beyond it the connection
/// is closed, so that resetting costs the client more than the service ("rapid reset").
const RESET_STREAMS_MAX: usize = 20;

/// HTTP/2 streams that the service reset because of the client's protocol errors; beyond it the
/// connection is closed.
const FAULTY_STREAMS_MAX: usize = 100;

/// Flow-control window of an HTTP/2 connection and of each stream, in bytes: the smallest, because no
/// handler reads request bodies.
const WINDOW_BYTES: u32 = 65_535;

/// Bytes of a response buffered until the client takes them, per HTTP/2 stream.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Interval of pings on HTTP/2 connections; a connection whose client does not answer is closed.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// Time that responses may take after shutdown was requested; then their connections are aborted.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// Pause after accepting failed, most often because no file descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Configuration of a listener: what it serves, and how.
pub struct ListenerConfig {
    /// Produces the responses.
    pub router: Router,
    /// Limits and timeouts of connections.
    pub options: HttpServerOptions,
    /// Certificate and key; `None`: clear text.
    pub tls: Option<Certificates>,
    /// Receives the counts of connections.
    pub metrics: Metrics,
}

/// Serves on `listener` until `shutdown` is cancelled, then lets requests in flight finish, for at
/// most 4 s.
///
/// Held polls finish by then only if the store was closed as well.
///
/// The connections' tasks are spawned here, but on a set of their own that is drained before this
/// returns: nothing outlives the call. A TLS handshake is part of a connection's task: a slow one
/// does not delay accepting others.
///
/// When accepting fails, for example for lack of file descriptors, it is retried.
pub async fn serve(listener: TcpListener, config: ListenerConfig, shutdown: CancellationToken) {
    let free = Arc::new(Semaphore::new(config.options.max_connections));
    let mut connections = JoinSet::new();
    let upgraded = TaskTracker::new();
    let context = Arc::new(ListenerContext::new(config, shutdown.clone()));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &free) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error, &shutdown).await;
                continue;
            }
        };
        let permit = ConnectionPermit::new(permit, context.counts.open.clone());
        let client = context.config.options.rate_limit.map(|_| BucketOwner::at(address.ip()));
        let accepted = AcceptedConnection::new(Arc::new(permit), upgraded.clone(), client);
        connections.spawn(Arc::clone(&context).serve(stream, accepted));
    }
    drop(listener);
    drain(connections, upgraded).await;
}

/// Server of connections that are known to speak HTTP/1.
fn http1(options: &HttpServerOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // `ConnectionTimeouts` instead.
    builder.header_read_timeout(None);
    builder.max_buf_size(options.max_header_bytes).max_header_size(options.max_header_bytes);
    builder
}

/// Server of connections whose first bytes decide between HTTP/1 and HTTP/2.
fn either(options: &HttpServerOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_buf_size(options.max_header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .max_concurrent_streams(options.max_http2_streams)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(FAULTY_STREAMS_MAX)
        .max_header_list_size(options.max_header_bytes.try_into().unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX);
    builder
}

async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    // Responses are small and written at once: waiting to fill a segment would only delay them.
    stream.set_nodelay(true)?;
    Ok((stream, address, permit))
}

/// Pauses after accepting failed, unless only that connection failed: the next one may be fine.
async fn pause_after(error: &io::Error, shutdown: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    // Setting an option on a socket whose client has disconnected can fail with EINVAL.
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput
    ) {
        return;
    }
    tracing::warn!(%error, "accepting an HTTP connection failed; retrying");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(ACCEPT_RETRY) => {}
    }
}

/// What all connections of a listener share.
struct ListenerContext {
    config: ListenerConfig,
    http1: http1::Builder,
    either: Builder<TokioExecutor>,
    counts: ConnectionCounts,
    shutdown: CancellationToken,
}

impl ListenerContext {
    fn new(config: ListenerConfig, shutdown: CancellationToken) -> Self {
        let (http1, either) = (http1(&config.options), either(&config.options));
        let counts = ConnectionCounts::new(&config.metrics);
        Self { config, http1, either, counts, shutdown }
    }

    /// Serves one connection, from its first byte to its last.
    async fn serve(self: Arc<Self>, stream: TcpStream, accepted: AcceptedConnection) {
        let options = &self.config.options;
        let timeouts = ConnectionTimeouts::new(options.header_timeout, options.idle_timeout);
        match &self.config.tls {
            None => self.serve_clear(stream, &timeouts, accepted).await,
            // Boxed, here and below, so that connections that need less memory do not reserve it.
            Some(tls) => Box::pin(self.serve_tls(tls, stream, &timeouts, accepted)).await,
        }
    }

    async fn serve_clear(
        &self,
        stream: TcpStream,
        timeouts: &Arc<ConnectionTimeouts>,
        accepted: AcceptedConnection,
    ) {
        let is_http1 = self.in_time(begins_as_http1(&stream), timeouts).await;
        let stream = TimedIo::new(stream, Arc::clone(timeouts));
        match is_http1 {
            Some(Ok(true)) => self.serve_http1(stream, timeouts, accepted).await,
            Some(Ok(false)) => Box::pin(self.serve_either(stream, timeouts, accepted)).await,
            // Timed out, or disconnected.
            None | Some(Err(_)) => {}
        }
    }

    async fn serve_tls(
        &self,
        tls: &Certificates,
        stream: TcpStream,
        timeouts: &Arc<ConnectionTimeouts>,
        accepted: AcceptedConnection,
    ) {
        let stream = TimedIo::new(stream, Arc::clone(timeouts));
        match self.in_time(Box::pin(tls.accept(stream)), timeouts).await {
            Some(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP1) => {
                self.serve_http1(stream, timeouts, accepted).await;
            }
            Some(Ok(stream)) => Box::pin(self.serve_either(stream, timeouts, accepted)).await,
            Some(Err(error)) => {
                self.counts.tls_handshake.inc();
                tracing::debug!(%error, "TLS handshake failed");
            }
            None => {}
        }
    }

    /// The output of a future that precedes the first request; `None` after a timeout or at shutdown.
    async fn in_time<T>(
        &self,
        opening: impl Future<Output = T>,
        timeouts: &ConnectionTimeouts,
    ) -> Option<T> {
        tokio::select! {
            opened = opening => Some(opened),
            kind = timeouts.expired() => {
                self.counts.closed(kind);
                None
            }
            () = self.shutdown.cancelled() => None,
        }
    }

    /// Serves a connection that speaks HTTP/1.
    async fn serve_http1<IO>(
        &self,
        stream: IO,
        timeouts: &Arc<ConnectionTimeouts>,
        accepted: AcceptedConnection,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { config, http1, shutdown, .. } = self;
        let http1 = Http1 { builder: http1, router: &config.router, shutdown };
        if let Err(kind) = http1.serve(stream, timeouts, &accepted).await {
            self.counts.closed(kind);
        }
    }

    /// Serves a connection that speaks HTTP/2, or whose protocol is not known yet.
    async fn serve_either<IO>(
        &self,
        stream: IO,
        timeouts: &Arc<ConnectionTimeouts>,
        accepted: AcceptedConnection,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let in_flight = timeouts.begin(request.version());
            let response = self.config.router.clone().call(accepted.add_to(request));
            async move { response.await.map(|response| in_flight.until_sent(response)) }
        });
        let connection = self.either.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = PollOnWake::new(self.shutdown.cancelled()) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            kind = timeouts.expired() => {
                self.counts.closed(kind);
                if kind == TimeoutKind::Head {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(GOODBYE_MAX, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::trace!(error = &*error, "HTTP connection ended with an error");
        }
    }
}

/// The first bytes of an HTTP/2 connection whose protocol was not negotiated (RFC 9113, 3.4).
const HTTP2_BEGINS: &[u8] = b"PRI ";

/// Whether the first bytes are not those of HTTP/2; `false` also if too few arrived to decide.
async fn begins_as_http1(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP2_BEGINS.len()];
    let length = stream.peek(&mut first).await?;
    Ok(!HTTP2_BEGINS.starts_with(first.get(..length).unwrap_or_default()))
}

/// The metrics of connections: each counter is looked up by its label once.
struct ConnectionCounts {
    open: IntGauge,
    header_timeout: IntCounter,
    idle_timeout: IntCounter,
    tls_handshake: IntCounter,
}

impl ConnectionCounts {
    fn new(metrics: &Metrics) -> Self {
        let closed = |reason| metrics.http_connections_closed.with_label_values(&[reason]);
        Self {
            open: metrics.http_connections.clone(),
            header_timeout: closed("header_timeout"),
            idle_timeout: closed("idle_timeout"),
            tls_handshake: closed("tls_handshake"),
        }
    }

    fn closed(&self, kind: TimeoutKind) {
        match kind {
            TimeoutKind::Head => self.header_timeout.inc(),
            TimeoutKind::Idle => self.idle_timeout.inc(),
        }
    }
}

async fn drain(mut connections: JoinSet<()>, upgraded: TaskTracker) {
    upgraded.close();
    let ended = async {
        while connections.join_next().await.is_some() {}
        upgraded.wait().await;
    };
    if tokio::time::timeout(DRAIN_MAX, ended).await.is_err() {
        tracing::warn!(aborted = connections.len(), "drain timed out; aborting HTTP connections");
        connections.shutdown().await;
    }
}
