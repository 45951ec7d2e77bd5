//! HTTP/1 connections: hyper's while requests and answers move, ours while a client only waits.
//!
//! For as long as hyper has a connection it keeps a buffer to read into and one for the heads it
//! writes, 16 KiB and more. A client that waits for news needs neither. So there the connection is
//! taken back, what hyper had of it is thrown away, and
//!
//! - a request that is held goes on by itself. When its answer is there, another hyper connection
//!   begins, reads a head that stands for the request's ([`SyntheticHead`]), and writes the answer;
//! - the body of an answer without end ([`DetachedBody`]) is written by [`ChunkedWriter`], after hyper has written
//!   the head and the body's first piece.
//!
//! It is taken back only when hyper has written everything: then hyper flushes what is below it,
//! which [`ReclaimableIo`] sees.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request, Version, header};
use axum::response::Response;
use futures_util::future::{BoxFuture, Either, FutureExt, ready as at_once};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::http::server::chunked_writer::ChunkedWriter;
use crate::http::server::connection::{AcceptedConnection, has_token};
use crate::http::server::reclaimable_io::{FlushSignal, ReclaimableIo};
use crate::http::server::timeouts::{ConnectionTimeouts, GOODBYE_MAX, TimeoutKind};

/// An answer that ends only with its connection: whoever makes one puts this among its extensions.
#[derive(Clone, Copy)]
pub(crate) struct DetachedBody;

/// What HTTP/1 connections of a listener have in common.
pub(crate) struct Http1<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) router: &'a Router,
    pub(crate) shutdown: &'a CancellationToken,
}

impl Http1<'_> {
    /// Serves until the connection ends; tells where it had to end because something came too late.
    pub(crate) async fn serve<IO>(
        &self,
        io: IO,
        pace: &Arc<ConnectionTimeouts>,
        connection: &AcceptedConnection,
    ) -> Result<(), TimeoutKind>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let desk = Arc::new(Handoff::default());
        let mut lent = ReclaimableIo::new(io, Arc::clone(&desk.flushed));
        let mut late = pin!(pace.late());
        loop {
            let talk = self.talk(lent, pace, connection, &desk, late.as_mut()).await?;
            let Some((back, wait)) = talk else { return Ok(()) };
            lent = back;
            match wait {
                DetachedWait::Answer(answer, stand) => {
                    let Some(response) = answered(&mut lent, answer).await else { return Ok(()) };
                    lent.put_before(stand.head(self.shutdown.is_cancelled()).as_bytes());
                    desk.put(response);
                }
                DetachedWait::Body(body) => {
                    tokio::select! {
                        _ = ChunkedWriter::new(lent, body) => return Ok(()),
                        why = &mut late => return Err(why),
                    }
                }
            }
        }
    }

    /// Lends the connection to hyper until it ends (`None`), or until there is only something to wait
    /// for.
    async fn talk<IO>(
        &self,
        lent: ReclaimableIo<IO>,
        pace: &Arc<ConnectionTimeouts>,
        connection: &AcceptedConnection,
        desk: &Arc<Handoff>,
        late: Pin<&mut impl Future<Output = TimeoutKind>>,
    ) -> Result<Option<(ReclaimableIo<IO>, DetachedWait)>, TimeoutKind>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| self.answer(request, pace, connection, desk));
        let talk = self.builder.serve_connection(TokioIo::new(lent), service).with_upgrades();
        // In a box, so that it takes no room once it is thrown away.
        let mut talk = Box::new(talk);
        let mut stopped = pin!(self.shutdown.cancelled().fuse());
        let mut until_quiet = std::future::poll_fn(|cx| {
            let mut ended = Pin::new(&mut *talk).poll(cx);
            // Not before hyper has read what is there: it would end at once.
            if ended.is_pending() && stopped.as_mut().poll(cx).is_ready() {
                Pin::new(&mut *talk).graceful_shutdown();
                ended = Pin::new(&mut *talk).poll(cx);
            }
            if desk.is_quiet() { Poll::Ready(false) } else { ended.map(|_| true) }
        });
        let has_ended = tokio::select! {
            has_ended = &mut until_quiet => has_ended,
            why = late => {
                if why == TimeoutKind::Idle {
                    Pin::new(&mut *talk).graceful_shutdown();
                    let _ = timeout(GOODBYE_MAX, talk).await;
                }
                return Err(why);
            }
        };
        let (false, Some(parts), Some(wait)) = (has_ended, talk.into_parts(), desk.take()) else {
            return Ok(None);
        };
        let mut lent = parts.io.into_inner();
        // What hyper has read and not used. A copy, because it lies in hyper's buffer.
        lent.put_before(&parts.read_buf);
        Ok(Some((lent, wait)))
    }

    /// Answers what hyper has read.
    fn answer(
        &self,
        request: Request<Incoming>,
        pace: &Arc<ConnectionTimeouts>,
        connection: &AcceptedConnection,
        desk: &Arc<Handoff>,
    ) -> impl Future<Output = Answered> + use<> {
        if let Some(answer) = desk.answer() {
            return Either::Left(at_once(Ok(answer)));
        }
        let stand = SyntheticHead::of(&request);
        let pours = request.method() == Method::GET && request.version() == Version::HTTP_11;
        let under_way = pace.begin(request.version());
        let answer = self.router.clone().call(connection.add_to(request));
        let desk = Arc::clone(desk);
        let end = Arc::clone(&desk);
        let answer = async move {
            let mut response = under_way.until_sent(answer.await?);
            let is_endless = response.extensions_mut().remove::<DetachedBody>().is_some();
            Ok(if is_endless && pours {
                response.map(|body| end.hand_over(body))
            } else {
                response
            })
        };
        Either::Right(match stand {
            Some(stand) => {
                Either::Left(DetachableRequest { answer: Some((answer.boxed(), stand)), desk })
            }
            None => Either::Right(answer),
        })
    }
}

/// Waits for an answer; `None` when the client is gone before.
async fn answered<IO>(
    lent: &mut ReclaimableIo<IO>,
    mut answer: BoxFuture<'static, Answered>,
) -> Option<Response>
where
    IO: AsyncRead + Unpin,
{
    let answered = std::future::poll_fn(|cx| match lent.poll_gone(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => answer.poll_unpin(cx).map(Result::ok),
    });
    answered.await
}

/// An answer, or why there is none: never.
type Answered = Result<Response, Infallible>;

/// What is waited for without hyper.
enum DetachedWait {
    Answer(BoxFuture<'static, Answered>, SyntheticHead),
    Body(Body),
}

/// Where hyper's side of a connection leaves what is to go on without it, and ours the answer that
/// came of it. One task does both.
#[derive(Default)]
struct Handoff {
    wait: Mutex<Option<DetachedWait>>,
    answer: Mutex<Option<Response>>,
    /// Asked for when something is left here.
    flushed: Arc<FlushSignal>,
}

impl Handoff {
    fn leave(&self, wait: DetachedWait) {
        *self.wait.lock() = Some(wait);
        self.flushed.ask();
    }

    /// Whether hyper has nothing to do but wait for what was left here.
    fn is_quiet(&self) -> bool {
        self.flushed.is_there()
    }

    fn take(&self) -> Option<DetachedWait> {
        self.flushed.forget();
        self.wait.lock().take()
    }

    fn put(&self, answer: Response) {
        *self.answer.lock() = Some(answer);
    }

    /// The answer that was waited for.
    fn answer(&self) -> Option<Response> {
        self.answer.lock().take()
    }

    fn hand_over(self: Arc<Self>, body: Body) -> Body {
        Body::new(HandedOverBody { body: Some(body), has_begun: false, desk: self })
    }
}

/// A request that says itself that it may be held. It is left on the desk unless it is answered at
/// once.
struct DetachableRequest {
    answer: Option<(BoxFuture<'static, Answered>, SyntheticHead)>,
    desk: Arc<Handoff>,
}

impl Future for DetachableRequest {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        // When it was left, whoever polls this is soon gone.
        let Some((answer, _)) = &mut self.answer else { return Poll::Pending };
        let answered = answer.poll_unpin(cx);
        if answered.is_pending()
            && let Some((answer, stand)) = self.answer.take()
        {
            self.desk.leave(DetachedWait::Answer(answer, stand));
        }
        answered
    }
}

/// A body without end. It is left on the desk when its first piece was taken.
struct HandedOverBody {
    body: Option<Body>,
    has_begun: bool,
    desk: Arc<Handoff>,
}

impl HttpBody for HandedOverBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(mut body) = self.body.take() else { return Poll::Pending };
        if self.has_begun {
            self.desk.leave(DetachedWait::Body(body));
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

/// What hyper must know of a request to write its answer.
#[derive(Clone, Copy)]
struct SyntheticHead {
    method: &'static str,
    version: &'static str,
    /// Whether the client wants the connection to end with the answer.
    closes: bool,
}

impl SyntheticHead {
    /// Of a request that may be held: it says so (`wait`), and has no body.
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

    /// A head that is answered as the request's is.
    fn head(self, closes: bool) -> String {
        let Self { method, version, .. } = self;
        let connection = if closes || self.closes { "close" } else { "keep-alive" };
        format!("{method} / HTTP/{version}\r\nconnection: {connection}\r\n\r\n")
    }
}
