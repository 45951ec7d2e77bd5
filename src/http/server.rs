//! Connections: accepted, limited, served, and ended in order.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::connection::Connection;

/// Connections open at once; at it, further ones wait in the kernel's queue until one ends.
const CONNECTIONS_MAX: usize = 16_384;

/// Time for a request's head to arrive on an HTTP/1 connection, and so also how long a connection
/// may idle between requests; then it is closed. Longer than the usual 60 s of proxies, so that
/// they, not we, close the connections they keep.
const HEAD_READ_MAX: Duration = Duration::from_secs(75);

/// Bytes of a request's head: a longer one is refused (status 431).
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// HTTP/2 connections are probed this often; one that doesn't answer is closed.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);

/// After shutdown was asked for, answers may take this long; then their connections are cut.
const DRAIN_MAX: Duration = Duration::from_secs(4);

/// Pause after the listener failed to accept, most often because no file descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown` is cancelled, then lets the requests under way
/// end, for at most 4 s.
///
/// Held polls only end by then when the store was closed as well.
///
/// The connections' tasks are spawned here, but on a set of their own that is drained before this
/// returns: nothing outlives the call.
///
/// A listener that can't accept, for want of file descriptors say, is tried again.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let upgraded = TaskTracker::new();
    let builder = Arc::new(builder());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error, &shutdown).await;
                continue;
            }
        };
        let connection = Connection::new(Arc::new(permit), upgraded.clone());
        let service = router.clone().map_request(move |request| connection.add_to(request));
        let service = TowerToHyperService::new(service);
        connections.spawn(serve_connection(
            Arc::clone(&builder),
            stream,
            service,
            shutdown.clone(),
        ));
    }
    drop(listener);
    drain(connections, upgraded).await;
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HTTP2_PING_INTERVAL);
    builder
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Answers are small and whole: waiting to fill a segment would only delay them.
    stream.set_nodelay(true)?;
    Ok((stream, permit))
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

async fn serve_connection<S>(
    builder: Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    service: TowerToHyperService<S>,
    shutdown: CancellationToken,
) where
    S: tower::Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error = &*error, "an HTTP connection ended");
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
