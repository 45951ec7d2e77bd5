//! HTTP/1 connections: hyper's while requests and responses move, ours while a client only waits.
//!
//! As long as hyper has a connection it keeps a buffer for reading and one for the heads that it
//! writes, 16 KiB and more. A client that waits for changes needs neither. So its connection is taken
//! back, hyper's part of it is dropped, and
//!
//! - a held request continues by itself. When its response is there, another hyper connection starts,
//!   reads a head that stands for the request's ([`SyntheticHead`]), and writes the response;
//! - the body of a response without end ([`StreamingBody`]) is written by [`ChunkedWriter`], after
//!   hyper has written the head and the body's first frame.
//!
//! A connection is taken back only when hyper has written everything: hyper then flushes the socket
//! below it, which [`ReclaimableIo`] reports.

pub(in crate::http) mod chunked_writer;
pub(in crate::http) mod reclaimable_io;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request, Version, header};
use axum::response::Response;
use futures_util::future::{BoxFuture, Either, FutureExt, ready};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::http::server::connection::{AcceptedConnection, has_token};
use crate::http::server::detach::chunked_writer::ChunkedWriter;
use crate::http::server::detach::reclaimable_io::{FlushSignal, ReclaimableIo};
use crate::http::server::poll_on_wake::PollOnWake;
use crate::http::server::timeouts::{ConnectionTimeouts, GOODBYE_MAX, TimeoutKind};

/// Extension of a response whose body ends only with its connection: marks that the body may be
/// written without hyper.
#[derive(Clone, Copy)]
pub(crate) struct StreamingBody;

/// What the HTTP/1 connections of a listener share.
pub(crate) struct Http1<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) router: &'a Router,
    pub(crate) shutdown: &'a CancellationToken,
}

impl Http1<'_> {
    /// Serves a connection until it ends.
    ///
    /// # Errors
    /// The timeout that ended it.
    pub(crate) async fn serve<IO>(
        &self,
        io: IO,
        timeouts: &Arc<ConnectionTimeouts>,
        accepted: &AcceptedConnection,
    ) -> Result<(), TimeoutKind>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handoff = Arc::new(Handoff::default());
        let mut io = ReclaimableIo::new(io, Arc::clone(&handoff.signal));
        let mut expired = pin!(timeouts.expired());
        loop {
            let ended = self.serve_with_hyper(io, timeouts, accepted, &handoff, expired.as_mut());
            let Some((reclaimed, wait)) = ended.await? else { return Ok(()) };
            io = reclaimed;
            match wait {
                DetachedWait::Response(response, head) => {
                    let Some(response) = wait_for_response(&mut io, response).await else {
                        return Ok(());
                    };
                    io.prepend(head.to_text(self.shutdown.is_cancelled()).as_bytes());
                    handoff.put_response(response);
                }
                DetachedWait::Body(body) => {
                    tokio::select! {
                        _ = ChunkedWriter::new(io, body) => return Ok(()),
                        kind = &mut expired => return Err(kind),
                    }
                }
            }
        }
    }

    /// Gives the connection to hyper until it ends (`None`), or until there is only something to
    /// wait for.
    async fn serve_with_hyper<IO>(
        &self,
        io: ReclaimableIo<IO>,
        timeouts: &Arc<ConnectionTimeouts>,
        accepted: &AcceptedConnection,
        handoff: &Arc<Handoff>,
        expired: Pin<&mut impl Future<Output = TimeoutKind>>,
    ) -> Result<Option<(ReclaimableIo<IO>, DetachedWait)>, TimeoutKind>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| self.respond(request, timeouts, accepted, handoff));
        let connection = self.builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        // Boxed, so that it takes no memory once it is dropped.
        let mut connection = Box::new(connection);
        let mut stopped = pin!(PollOnWake::new(self.shutdown.cancelled()).fuse());
        let mut until_detachable = std::future::poll_fn(|cx| {
            let mut ended = Pin::new(&mut *connection).poll(cx);
            // Not before hyper has read what is there: otherwise it ends at once.
            if ended.is_pending() && stopped.as_mut().poll(cx).is_ready() {
                Pin::new(&mut *connection).graceful_shutdown();
                ended = Pin::new(&mut *connection).poll(cx);
            }
            if handoff.is_detachable() { Poll::Ready(false) } else { ended.map(|_| true) }
        });
        let has_ended = tokio::select! {
            // In this order: what hyper does may move the timeout.
            biased;
            has_ended = &mut until_detachable => has_ended,
            kind = expired => {
                if kind == TimeoutKind::Idle {
                    Pin::new(&mut *connection).graceful_shutdown();
                    let _ = timeout(GOODBYE_MAX, connection).await;
                }
                return Err(kind);
            }
        };
        let (false, Some(parts), Some(wait)) =
            (has_ended, connection.into_parts(), handoff.take_wait())
        else {
            return Ok(None);
        };
        let mut io = parts.io.into_inner();
        // What hyper has read and not used. Copied, because a slice keeps the whole of hyper's buffer.
        io.prepend(&parts.read_buf);
        Ok(Some((io, wait)))
    }

    /// The response to a request that hyper has read.
    fn respond(
        &self,
        request: Request<Incoming>,
        timeouts: &Arc<ConnectionTimeouts>,
        accepted: &AcceptedConnection,
        handoff: &Arc<Handoff>,
    ) -> impl Future<Output = ServiceResult> + use<> {
        if let Some(response) = handoff.take_response() {
            return Either::Left(ready(Ok(response)));
        }
        let head = SyntheticHead::of(&request);
        let can_stream = request.method() == Method::GET && request.version() == Version::HTTP_11;
        let in_flight = timeouts.begin(request.version());
        let response = self.router.clone().call(accepted.add_to(request));
        let for_body = Arc::clone(handoff);
        let response = async move {
            let mut response = in_flight.until_sent(response.await?);
            let is_streaming = response.extensions_mut().remove::<StreamingBody>().is_some();
            Ok(if is_streaming && can_stream {
                response.map(|body| for_body.detach_body(body))
            } else {
                response
            })
        };
        Either::Right(match head {
            Some(head) => Either::Left(DetachableRequest {
                waiting: Some((response.boxed(), head)),
                handoff: Arc::clone(handoff),
            }),
            None => Either::Right(response),
        })
    }
}

/// Waits for a response; `None` when the client disconnects before.
async fn wait_for_response<IO>(
    io: &mut ReclaimableIo<IO>,
    mut response: BoxFuture<'static, ServiceResult>,
) -> Option<Response>
where
    IO: AsyncRead + Unpin,
{
    let first = std::future::poll_fn(|cx| match io.poll_disconnected(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => response.poll_unpin(cx).map(Result::ok),
    });
    first.await
}

type ServiceResult = Result<Response, Infallible>;

/// What a connection waits for without hyper.
enum DetachedWait {
    Response(BoxFuture<'static, ServiceResult>, SyntheticHead),
    Body(Body),
}

/// Handoff point between hyper's part of a connection and ours: hyper's leaves what is to be waited
/// for, ours the response that it became. One task runs both parts, in turn.
#[derive(Default)]
struct Handoff {
    wait: Mutex<Option<DetachedWait>>,
    response: Mutex<Option<Response>>,
    /// Armed when there is something to wait for.
    signal: Arc<FlushSignal>,
}

impl Handoff {
    fn put_wait(&self, wait: DetachedWait) {
        *self.wait.lock() = Some(wait);
        self.signal.arm();
    }

    /// Whether hyper has written everything, and there is something to wait for.
    fn is_detachable(&self) -> bool {
        self.signal.is_flushed()
    }

    fn take_wait(&self) -> Option<DetachedWait> {
        self.signal.disarm();
        self.wait.lock().take()
    }

    fn put_response(&self, response: Response) {
        *self.response.lock() = Some(response);
    }

    fn take_response(&self) -> Option<Response> {
        self.response.lock().take()
    }

    fn detach_body(self: Arc<Self>, body: Body) -> Body {
        Body::new(DetachedBody { body: Some(body), has_begun: false, handoff: self })
    }
}

/// A request whose parameters say that it may be held. Unless its response is there at the first
/// poll, it is left at the handoff.
struct DetachableRequest {
    waiting: Option<(BoxFuture<'static, ServiceResult>, SyntheticHead)>,
    handoff: Arc<Handoff>,
}

impl Future for DetachableRequest {
    type Output = ServiceResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ServiceResult> {
        // Once it is left at the handoff, the hyper connection that polls this is dropped soon.
        let Some((response, _)) = &mut self.waiting else { return Poll::Pending };
        let response = response.poll_unpin(cx);
        if response.is_pending()
            && let Some((response, head)) = self.waiting.take()
        {
            self.handoff.put_wait(DetachedWait::Response(response, head));
        }
        response
    }
}

/// A body without end, which is left at the handoff after its first frame.
struct DetachedBody {
    body: Option<Body>,
    has_begun: bool,
    handoff: Arc<Handoff>,
}

impl HttpBody for DetachedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(mut body) = self.body.take() else { return Poll::Pending };
        if self.has_begun {
            self.handoff.put_wait(DetachedWait::Body(body));
            return Poll::Pending;
        }
        let frame = Pin::new(&mut body).poll_frame(cx);
        self.has_begun = frame.is_ready();
        self.body = Some(body);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

/// The part of a request's head that decides how hyper writes the response.
#[derive(Clone, Copy)]
struct SyntheticHead {
    method: &'static str,
    version: &'static str,
    /// The client asked to close the connection after the response.
    closes: bool,
}

impl SyntheticHead {
    /// Of a request that may be held: one with the parameter `wait` and without a body.
    fn of(request: &Request<Incoming>) -> Option<Self> {
        let may_be_held = request.uri().query().is_some_and(|query| query.contains("wait="));
        if !may_be_held || !request.body().is_end_stream() {
            return None;
        }
        let headers = request.headers();
        let method = match *request.method() {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            _ => return None,
        };
        let (version, closes) = match request.version() {
            Version::HTTP_11 => ("1.1", has_token(headers, header::CONNECTION, "close")),
            Version::HTTP_10 => ("1.0", !has_token(headers, header::CONNECTION, "keep-alive")),
            _ => return None,
        };
        let upgrades = headers.contains_key(header::UPGRADE);
        (!upgrades).then_some(Self { method, version, closes })
    }

    /// A head to which hyper writes a response as to the request's own.
    fn to_text(self, closes: bool) -> String {
        let Self { method, version, .. } = self;
        let connection = if closes || self.closes { "close" } else { "keep-alive" };
        format!("{method} / HTTP/{version}\r\nconnection: {connection}\r\n\r\n")
    }
}
