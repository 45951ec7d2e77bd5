//! Connections: accepted, limited, served, and ended in order.

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
use crate::http::server::timeouts::{ConnectionTimeouts, GOODBYE_MAX, TimedIo, TimeoutKind};
use crate::http::server::tls::{self, Certificates};
use crate::metrics::Metrics;

/// HTTP/2 streams that a client opened and reset before we looked at them; beyond it the connection
/// is closed, so that resetting costs the client more than us ("rapid reset").
const RESET_STREAMS_MAX: usize = 20;

/// HTTP/2 streams that we reset because of the client's mistakes; beyond it the connection is closed.
const FAULTY_STREAMS_MAX: usize = 100;

/// Bytes of request bodies that may be under way on an HTTP/2 connection: nobody reads any.
const WINDOW_BYTES: u32 = 65_535;

/// Bytes of an answer that wait for a client to take them, per HTTP/2 stream.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// HTTP/2 connections are probed this often; one that doesn't answer is closed.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// After shutdown was asked for, answers may take this long; then their connections are cut.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// Pause after the listener failed to accept, most often because no file descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is served on a listener, and how.
pub struct ListenerConfig {
    /// The answers.
    pub router: Router,
    /// What connections may do.
    pub options: HttpServerOptions,
    /// The certificate to show; `None`: clear text.
    pub tls: Option<Certificates>,
    /// Where connections are counted.
    pub metrics: Metrics,
}

/// Serves on `listener` until `shutdown` is cancelled, then lets the requests under way end, for at
/// most 4 s.
///
/// Held polls only end by then when the store was closed as well.
///
/// The connections' tasks are spawned here, but on a set of their own that is drained before this
/// returns: nothing outlives the call. A TLS handshake belongs to a connection's task: a slow one
/// keeps nobody from being accepted.
///
/// A listener that can't accept, for want of file descriptors say, is tried again.
pub async fn serve(listener: TcpListener, offer: ListenerConfig, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(offer.options.max_connections));
    let mut connections = JoinSet::new();
    let upgraded = TaskTracker::new();
    let served = Arc::new(ListenerContext::new(offer, shutdown.clone()));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error, &shutdown).await;
                continue;
            }
        };
        let place = ConnectionPermit::new(permit, served.counts.open.clone());
        let client = served.offer.options.rate_limit.map(|_| BucketOwner::at(address.ip()));
        let connection = AcceptedConnection::new(Arc::new(place), upgraded.clone(), client);
        connections.spawn(Arc::clone(&served).serve(stream, connection));
    }
    drop(listener);
    drain(connections, upgraded).await;
}

/// For connections of which HTTP/1 is known.
fn http1(options: &HttpServerOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // No time limit of hyper's: `ConnectionTimeouts` has those.
    builder.header_read_timeout(None);
    builder.max_buf_size(options.max_header_bytes).max_header_size(options.max_header_bytes);
    builder
}

/// For connections whose first bytes have to tell.
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
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    // Answers are small and whole: waiting to fill a segment would only delay them.
    stream.set_nodelay(true)?;
    Ok((stream, address, permit))
}

/// A connection that ended before it was accepted says nothing about the next one.
async fn pause_after(error: &io::Error, shutdown: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput};
    // Setting an option on a socket the client has already left can say EINVAL.
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | InvalidInput
    ) {
        return;
    }
    tracing::warn!(%error, "accept an HTTP connection; trying again");
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(ACCEPT_RETRY) => {}
    }
}

/// What all connections of a listener share.
struct ListenerContext {
    offer: ListenerConfig,
    http1: http1::Builder,
    either: Builder<TokioExecutor>,
    counts: ConnectionCounts,
    shutdown: CancellationToken,
}

impl ListenerContext {
    fn new(offer: ListenerConfig, shutdown: CancellationToken) -> Self {
        let (http1, either) = (http1(&offer.options), either(&offer.options));
        let counts = ConnectionCounts::new(&offer.metrics);
        Self { offer, http1, either, counts, shutdown }
    }

    /// One connection, from its first byte to its last.
    async fn serve(self: Arc<Self>, stream: TcpStream, connection: AcceptedConnection) {
        let options = &self.offer.options;
        let pace = ConnectionTimeouts::new(options.header_timeout, options.idle_timeout);
        match &self.offer.tls {
            None => self.serve_clear(stream, &pace, connection).await,
            // In boxes, here and below, so that connections that need less are not as large.
            Some(tls) => Box::pin(self.serve_tls(tls, stream, &pace, connection)).await,
        }
    }

    async fn serve_clear(
        &self,
        stream: TcpStream,
        pace: &Arc<ConnectionTimeouts>,
        connection: AcceptedConnection,
    ) {
        let is_http1 = self.in_time(begins_as_http1(&stream), pace).await;
        let stream = TimedIo::new(stream, Arc::clone(pace));
        match is_http1 {
            Some(Ok(true)) => self.talk_http1(stream, pace, connection).await,
            Some(Ok(false)) => Box::pin(self.talk(stream, pace, connection)).await,
            // Too late, or gone.
            None | Some(Err(_)) => {}
        }
    }

    async fn serve_tls(
        &self,
        tls: &Certificates,
        stream: TcpStream,
        pace: &Arc<ConnectionTimeouts>,
        connection: AcceptedConnection,
    ) {
        let stream = TimedIo::new(stream, Arc::clone(pace));
        match self.in_time(Box::pin(tls.accept(stream)), pace).await {
            Some(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP1) => {
                self.talk_http1(stream, pace, connection).await;
            }
            Some(Ok(stream)) => Box::pin(self.talk(stream, pace, connection)).await,
            Some(Err(error)) => {
                self.counts.tls_handshake.inc();
                tracing::debug!(%error, "a TLS handshake failed");
            }
            None => {}
        }
    }

    /// What comes before the first request; `None` when it comes too late.
    async fn in_time<T>(
        &self,
        beginning: impl Future<Output = T>,
        pace: &ConnectionTimeouts,
    ) -> Option<T> {
        tokio::select! {
            begun = beginning => Some(begun),
            late = pace.late() => {
                self.counts.closed(late);
                None
            }
            () = self.shutdown.cancelled() => None,
        }
    }

    /// Requests and answers of HTTP/1.
    async fn talk_http1<IO>(
        &self,
        stream: IO,
        pace: &Arc<ConnectionTimeouts>,
        connection: AcceptedConnection,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { offer, http1, shutdown, .. } = self;
        let http1 = Http1 { builder: http1, router: &offer.router, shutdown };
        if let Err(late) = http1.serve(stream, pace, &connection).await {
            self.counts.closed(late);
        }
    }

    /// Requests and answers.
    async fn talk<IO>(
        &self,
        stream: IO,
        pace: &Arc<ConnectionTimeouts>,
        connection: AcceptedConnection,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let under_way = pace.begin(request.version());
            let answer = self.offer.router.clone().call(connection.add_to(request));
            async move { answer.await.map(|response| under_way.until_sent(response)) }
        });
        let talk = self.either.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut talk = std::pin::pin!(talk);
        let ended = tokio::select! {
            ended = talk.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                talk.as_mut().graceful_shutdown();
                talk.await
            }
            late = pace.late() => {
                self.counts.closed(late);
                if late == TimeoutKind::Head {
                    return;
                }
                talk.as_mut().graceful_shutdown();
                tokio::time::timeout(GOODBYE_MAX, talk).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::trace!(error = &*error, "an HTTP connection ended");
        }
    }
}

/// The first bytes of HTTP/2 where nothing was agreed on before (RFC 9113, 3.4).
const HTTP2_BEGINS: &[u8] = b"PRI ";

/// Whether the first bytes are none of HTTP/2's; `false` also where too few came to tell.
async fn begins_as_http1(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP2_BEGINS.len()];
    let length = stream.peek(&mut first).await?;
    Ok(!HTTP2_BEGINS.starts_with(first.get(..length).unwrap_or_default()))
}

/// The metrics of connections, looked up once.
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

    fn closed(&self, late: TimeoutKind) {
        match late {
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
        tracing::warn!(cut = connections.len(), "HTTP answers took too long to end; cut");
        connections.shutdown().await;
    }
}
