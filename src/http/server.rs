//! Connections: accepted, limited, served, and ended in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
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

use super::connection::{Connection, Place};
use super::options::ServerOptions;
use super::pace::{Late, Pace, Paced};
use super::rate::Client;
use super::tls::Certificates;
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

/// An HTTP/2 connection that idled too long is told so, and given this long to agree.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Pause after the listener failed to accept, most often because no file descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is served on a listener, and how.
pub struct Offer {
    /// The answers.
    pub router: Router,
    /// What connections may do.
    pub options: ServerOptions,
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
pub async fn serve(listener: TcpListener, offer: Offer, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(offer.options.connections_max));
    let mut connections = JoinSet::new();
    let upgraded = TaskTracker::new();
    let served = Arc::new(Served::new(offer, shutdown.clone()));
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
        let place = Place::new(permit, served.counts.open.clone());
        let client = served.offer.options.rate_limit.map(|_| Client::at(address.ip()));
        let connection = Connection::new(Arc::new(place), upgraded.clone(), client);
        connections.spawn(Arc::clone(&served).serve(stream, connection));
    }
    drop(listener);
    drain(connections, upgraded).await;
}

fn builder(options: &ServerOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // No time limit of hyper's: `Pace` has those.
    builder.http1().header_read_timeout(None).max_buf_size(options.head_max_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .max_concurrent_streams(options.http2_streams_max)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_local_error_reset_streams(FAULTY_STREAMS_MAX)
        .max_header_list_size(options.head_max_bytes.try_into().unwrap_or(u32::MAX))
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
struct Served {
    offer: Offer,
    builder: Builder<TokioExecutor>,
    counts: ConnectionCounts,
    shutdown: CancellationToken,
}

impl Served {
    fn new(offer: Offer, shutdown: CancellationToken) -> Self {
        let builder = builder(&offer.options);
        let counts = ConnectionCounts::new(&offer.metrics);
        Self { offer, builder, counts, shutdown }
    }

    /// One connection, from its first byte to its last.
    async fn serve(self: Arc<Self>, stream: TcpStream, connection: Connection) {
        let options = &self.offer.options;
        let pace = Pace::new(options.head_timeout, options.idle_timeout);
        let stream = Paced::new(stream, Arc::clone(&pace));
        let Some(tls) = &self.offer.tls else {
            return self.talk(stream, &pace, connection).await;
        };
        let shaken = tokio::select! {
            shaken = tls.accept(stream) => shaken,
            late = pace.late() => return self.counts.closed(late),
            () = self.shutdown.cancelled() => return,
        };
        match shaken {
            // Boxed, so that connections without TLS needn't be as large.
            Ok(stream) => Box::pin(self.talk(stream, &pace, connection)).await,
            Err(error) => {
                self.counts.handshake.inc();
                tracing::debug!(%error, "a TLS handshake failed");
            }
        }
    }

    /// Requests and answers.
    async fn talk<IO>(&self, stream: IO, pace: &Arc<Pace>, connection: Connection)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let under_way = pace.begin(request.version());
            let answer = self.offer.router.clone().call(connection.add_to(request));
            async move { answer.await.map(|response| under_way.until_sent(response)) }
        });
        let talk = self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut talk = std::pin::pin!(talk);
        let ended = tokio::select! {
            ended = talk.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                talk.as_mut().graceful_shutdown();
                talk.await
            }
            late = pace.late() => {
                self.counts.closed(late);
                if late == Late::Head {
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

/// The metrics of connections, looked up once.
struct ConnectionCounts {
    open: IntGauge,
    head: IntCounter,
    idle: IntCounter,
    handshake: IntCounter,
}

impl ConnectionCounts {
    fn new(metrics: &Metrics) -> Self {
        let closed = |reason| metrics.http_connections_closed.with_label_values(&[reason]);
        Self {
            open: metrics.http_connections.clone(),
            head: closed("head"),
            idle: closed("idle"),
            handshake: closed("tls"),
        }
    }

    fn closed(&self, late: Late) {
        match late {
            Late::Head => self.head.inc(),
            Late::Idle => self.idle.inc(),
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
