//! How long a connection may take to ask, and how long it may idle.
//!
//! hyper's own limit of this kind knows HTTP/1 only, and nothing of the time before the first byte of
//! it. This one counts from the moment a connection is accepted, TLS handshake included, and for
//! both protocols.

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

/// A connection that idled too long is told so where its protocol can, and given this long to agree.
pub(crate) const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Milliseconds since a connection was accepted.
type Millis = u64;

/// What one connection is doing. Shared by its socket, its requests and its clock.
pub(crate) struct ConnectionTimeouts {
    accepted: Instant,
    head_max: Duration,
    idle_max: Duration,
    /// Requests under way: on HTTP/1 until their answer's head is there, on HTTP/2 until its end.
    requests: AtomicUsize,
    /// The connection speaks HTTP/2. There bytes are no sign of a request: pings go to and fro.
    http2: AtomicBool,
    /// When something last happened that keeps the connection open.
    active: AtomicU64,
    /// When the head that is arriving began, and [`NO_HEAD`] when none is. The first one begins when
    /// the connection is accepted.
    head_since: AtomicU64,
}

/// No part of a head has arrived.
const NO_HEAD: Millis = Millis::MAX;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeoutKind {
    /// A request's head did not arrive in time.
    Head,
    /// Nothing was asked, and nothing sent, for too long.
    Idle,
}

impl ConnectionTimeouts {
    pub(crate) fn new(head_max: Duration, idle_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            accepted: Instant::now(),
            head_max,
            idle_max,
            requests: AtomicUsize::new(0),
            http2: AtomicBool::new(false),
            active: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
        })
    }

    /// A request has arrived; it is under way until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>, version: Version) -> InFlightGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(NO_HEAD, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        InFlightGuard(Arc::clone(self))
    }

    /// Waits until the connection is to be closed.
    pub(crate) async fn late(&self) -> TimeoutKind {
        loop {
            let now = Instant::now();
            let (due, why) = self.due();
            if due <= now && !self.is_busy() {
                return why;
            }
            // Not longer, because a head may begin meanwhile.
            let soon = now + self.head_max.min(self.idle_max);
            sleep_until(if due <= now { soon } else { due.min(soon) }).await;
        }
    }

    /// When the connection is to be closed unless something happens.
    fn due(&self) -> (Instant, TimeoutKind) {
        let at = |millis| self.accepted + Duration::from_millis(millis);
        match self.head_since.load(Ordering::Relaxed) {
            NO_HEAD => (at(self.active.load(Ordering::Relaxed)) + self.idle_max, TimeoutKind::Idle),
            since => (at(since) + self.head_max, TimeoutKind::Head),
        }
    }

    fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Acquire) > 0
    }

    fn now(&self) -> Millis {
        self.accepted.elapsed().as_millis().try_into().unwrap_or(NO_HEAD - 1)
    }

    fn received(&self) {
        if self.http2.load(Ordering::Relaxed) {
            return;
        }
        let now = self.now();
        self.active.store(now, Ordering::Relaxed);
        if !self.is_busy() && self.head_since.load(Ordering::Relaxed) == NO_HEAD {
            self.head_since.store(now, Ordering::Relaxed);
        }
    }

    fn sent(&self) {
        if !self.http2.load(Ordering::Relaxed) {
            self.active.store(self.now(), Ordering::Relaxed);
        }
    }
}

/// Keeps a connection open: a request is being answered.
pub(crate) struct InFlightGuard(Arc<ConnectionTimeouts>);

impl InFlightGuard {
    /// Goes on until the answer has been sent, where that can't be seen from the socket.
    pub(crate) fn until_sent(self, response: Response) -> Response {
        if self.0.http2.load(Ordering::Relaxed) {
            response.map(|body| Body::new(Sending { body, _under_way: self }))
        } else {
            response
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.active.store(self.0.now(), Ordering::Relaxed);
        // Whoever sees it ended sees when, too.
        self.0.requests.fetch_sub(1, Ordering::Release);
    }
}

/// An answer's body while it is being sent.
struct Sending {
    body: Body,
    _under_way: InFlightGuard,
}

impl HttpBody for Sending {
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

/// A socket that tells its [`ConnectionTimeouts`] when bytes move.
pub(crate) struct TimedIo<IO> {
    io: IO,
    pace: Arc<ConnectionTimeouts>,
}

impl<IO> TimedIo<IO> {
    pub(crate) fn new(io: IO, pace: Arc<ConnectionTimeouts>) -> Self {
        Self { io, pace }
    }

    fn written(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if written.as_ref().is_ok_and(|&bytes| bytes > 0) {
            self.pace.sent();
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
            self.pace.received();
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

    /// How long it takes until the connection is closed, and why.
    async fn closed(pace: &ConnectionTimeouts) -> (Duration, TimeoutKind) {
        let why = pace.late().await;
        (pace.accepted.elapsed(), why)
    }

    fn about(expected: Duration, found: Duration) -> bool {
        found >= expected && found < expected + Duration::from_millis(10)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_asks_is_late() {
        let pace = ConnectionTimeouts::new(HEAD, IDLE);
        pace.received();
        let (after, why) = closed(&pace).await;
        assert!(about(HEAD, after) && why == TimeoutKind::Head, "{after:?} {why:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_it_may_idle_but_a_head_that_begins_must_end() {
        let pace = ConnectionTimeouts::new(HEAD, IDLE);
        drop(pace.begin(Version::HTTP_11));
        let (after, why) = closed(&pace).await;
        assert!(about(IDLE, after) && why == TimeoutKind::Idle, "{after:?} {why:?}");

        let pace = ConnectionTimeouts::new(HEAD, IDLE);
        drop(pace.begin(Version::HTTP_11));
        let begins = async {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                pace.received();
            }
        };
        let ((), (after, why)) = tokio::join!(begins, closed(&pace));
        assert!(
            about(HEAD + Duration::from_secs(1), after) && why == TimeoutKind::Head,
            "{after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_its_time_and_sending_counts() {
        let pace = ConnectionTimeouts::new(HEAD, IDLE);
        let asked = async {
            let under_way = pace.begin(Version::HTTP_11);
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(under_way);
            tokio::time::sleep(Duration::from_mins(1)).await;
            pace.sent();
        };
        let ((), (after, why)) = tokio::join!(asked, closed(&pace));
        assert!(
            about(Duration::from_secs(160) + IDLE, after) && why == TimeoutKind::Idle,
            "{after:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_pings_keep_nothing_open_and_answers_under_way_do() {
        let pace = ConnectionTimeouts::new(HEAD, IDLE);
        let asked = async {
            let under_way = pace.begin(Version::HTTP_2);
            let response = under_way.until_sent(Response::new(Body::empty()));
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(response);
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                pace.received();
                pace.sent();
            }
        };
        let ((), (after, why)) = tokio::join!(asked, closed(&pace));
        assert!(
            about(Duration::from_secs(100) + IDLE, after) && why == TimeoutKind::Idle,
            "{after:?}"
        );
    }
}
