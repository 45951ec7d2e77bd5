//! Timeouts of a connection: for the head of a request to arrive, and for idling.
//!
//! hyper's `header_read_timeout` is for HTTP/1 only, starts whenever hyper waits for a head, so that it
//! limits idling just as much, and arms a boxed timer for each request. These timeouts count from the
//! moment a connection is accepted, TLS handshake included, distinguish a slow head from an idle connection,
//! hold for both protocols, and share one timer per connection.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use axum::response::Response;
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Time that a connection closed for idling has for an orderly end (GOAWAY of HTTP/2).
pub(crate) const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Milliseconds since a connection was accepted.
type Millis = u64;

/// Activity of one connection, shared by its socket, its requests and its timer.
pub(crate) struct ConnectionTimeouts {
    accepted: Instant,
    head_max: Duration,
    idle_max: Duration,
    /// Requests in flight: on HTTP/1 until the head of the response is there, on HTTP/2 until its end.
    requests: AtomicUsize,
    /// The connection speaks HTTP/2, where bytes are no sign of a request: both sides send pings.
    is_http2: AtomicBool,
    /// Time of the last activity, from which the idle timeout counts.
    active_at: AtomicU64,
    /// Time at which the head that is arriving began, or [`NO_HEAD`]. The first head begins when the
    /// connection is accepted.
    head_began_at: AtomicU64,
}

/// Between requests: no part of a head has arrived.
const NO_HEAD: Millis = Millis::MAX;

/// The timeout that closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeoutKind {
    /// The head of a request did not arrive in time.
    Head,
    /// No request arrived and nothing was sent for too long.
    Idle,
}

impl ConnectionTimeouts {
    pub(crate) fn new(head_max: Duration, idle_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            accepted: Instant::now(),
            head_max,
            idle_max,
            requests: AtomicUsize::new(0),
            is_http2: AtomicBool::new(false),
            active_at: AtomicU64::new(0),
            head_began_at: AtomicU64::new(0),
        })
    }

    /// Registers a request that has arrived; it is in flight until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> InFlightGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_began_at.store(NO_HEAD, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        InFlightGuard(Arc::clone(self))
    }

    /// Waits until a timeout has expired. Cancel safe.
    pub(crate) async fn expired(&self) -> TimeoutKind {
        loop {
            let now = Instant::now();
            let (due, kind) = self.due();
            if due <= now && !self.has_requests() {
                return kind;
            }
            // Not longer, because a head may begin meanwhile, whose timeout expires sooner.
            let recheck = now + self.head_max.min(self.idle_max);
            sleep_until(if due <= now { recheck } else { due.min(recheck) }).await;
        }
    }

    /// The next timeout, and the time at which it expires without further activity.
    fn due(&self) -> (Instant, TimeoutKind) {
        let at = |millis| self.accepted + Duration::from_millis(millis);
        match self.head_began_at.load(Ordering::Relaxed) {
            NO_HEAD => {
                (at(self.active_at.load(Ordering::Relaxed)) + self.idle_max, TimeoutKind::Idle)
            }
            began_at => (at(began_at) + self.head_max, TimeoutKind::Head),
        }
    }

    fn has_requests(&self) -> bool {
        self.requests.load(Ordering::Acquire) > 0
    }

    fn now(&self) -> Millis {
        self.accepted.elapsed().as_millis().try_into().unwrap_or(NO_HEAD - 1)
    }

    /// Records that bytes were received.
    fn received(&self) {
        if self.is_http2.load(Ordering::Relaxed) {
            return;
        }
        let now = self.now();
        self.active_at.store(now, Ordering::Relaxed);
        if !self.has_requests() && self.head_began_at.load(Ordering::Relaxed) == NO_HEAD {
            self.head_began_at.store(now, Ordering::Relaxed);
        }
    }

    /// Records that bytes were sent.
    fn sent(&self) {
        if !self.is_http2.load(Ordering::Relaxed) {
            self.active_at.store(self.now(), Ordering::Relaxed);
        }
    }
}

/// Keeps a connection open while a request is in flight.
pub(crate) struct InFlightGuard(Arc<ConnectionTimeouts>);

impl InFlightGuard {
    /// Extends the guard until the response is sent, where the socket does not show that.
    pub(crate) fn until_sent(self, response: Response) -> Response {
        if self.0.is_http2.load(Ordering::Relaxed) {
            response.map(|body| Body::new(GuardedBody { body, _in_flight: self }))
        } else {
            response
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.active_at.store(self.0.now(), Ordering::Relaxed);
        // Release: a timer that sees the request ended sees the time above, too.
        self.0.requests.fetch_sub(1, Ordering::Release);
    }
}

/// The body of a response while it is sent.
struct GuardedBody {
    body: Body,
    _in_flight: InFlightGuard,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// A socket that records in [`ConnectionTimeouts`] when bytes are received and sent.
pub(crate) struct TimedIo<IO> {
    io: IO,
    timeouts: Arc<ConnectionTimeouts>,
}

impl<IO> TimedIo<IO> {
    pub(crate) fn new(io: IO, timeouts: Arc<ConnectionTimeouts>) -> Self {
        Self { io, timeouts }
    }

    fn written(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if written.as_ref().is_ok_and(|&bytes| bytes > 0) {
            self.timeouts.sent();
        }
        Poll::Ready(written)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for TimedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.timeouts.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for TimedIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices));
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    /// The time until the connection is closed, and the timeout that closes it.
    async fn closed(timeouts: &ConnectionTimeouts) -> (Duration, TimeoutKind) {
        let kind = timeouts.expired().await;
        (timeouts.accepted.elapsed(), kind)
    }

    fn about(expected: Duration, found: Duration) -> bool {
        found >= expected && found < expected + Duration::from_millis(10)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_times_out() {
        let timeouts = ConnectionTimeouts::new(HEAD, IDLE);
        timeouts.received();
        let (after, kind) = closed(&timeouts).await;
        assert!(about(HEAD, after) && kind == TimeoutKind::Head, "{after:?} {kind:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_may_idle_but_a_head_that_begins_must_end() {
        let timeouts = ConnectionTimeouts::new(HEAD, IDLE);
        drop(timeouts.begin(Version::HTTP_11));
        let (after, kind) = closed(&timeouts).await;
        assert!(about(IDLE, after) && kind == TimeoutKind::Idle, "{after:?} {kind:?}");

        let timeouts = ConnectionTimeouts::new(HEAD, IDLE);
        drop(timeouts.begin(Version::HTTP_11));
        let head = async {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                timeouts.received();
            }
        };
        let ((), (after, kind)) = tokio::join!(head, closed(&timeouts));
        assert!(
            about(HEAD + Duration::from_secs(1), after) && kind == TimeoutKind::Head,
            "{after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_flight_and_sent_bytes_keep_a_connection_open() {
        let timeouts = ConnectionTimeouts::new(HEAD, IDLE);
        let requests = async {
            let in_flight = timeouts.begin(Version::HTTP_11);
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(in_flight);
            tokio::time::sleep(Duration::from_mins(1)).await;
            timeouts.sent();
        };
        let ((), (after, kind)) = tokio::join!(requests, closed(&timeouts));
        assert!(
            about(Duration::from_secs(160) + IDLE, after) && kind == TimeoutKind::Idle,
            "{after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_pings_do_not_keep_a_connection_open_and_responses_in_flight_do() {
        let timeouts = ConnectionTimeouts::new(HEAD, IDLE);
        let requests = async {
            let in_flight = timeouts.begin(Version::HTTP_2);
            let response = in_flight.until_sent(Response::new(Body::empty()));
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(response);
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                timeouts.received();
                timeouts.sent();
            }
        };
        let ((), (after, kind)) = tokio::join!(requests, closed(&timeouts));
        assert!(
            about(Duration::from_secs(100) + IDLE, after) && kind == TimeoutKind::Idle,
            "{after:?}"
        );
    }
}
