//! `/v1/stream`: Server-Sent Events, the format that browsers' `EventSource` reads
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! An event's id is its response's version, so `EventSource` resumes by itself: it sends the last id
//! as `Last-Event-ID`. Streams are not compressed: a compressor gains little on small events and
//! retains a window for every client.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::clients::{PushClient, PushProtocol};
use super::subscription::Subscription;
use crate::http::access::Principal;
use crate::http::api::schemas::TableProblems;
use crate::http::api::state::AppState;
use crate::http::middleware::request_id::{self, X_REQUEST_ID};
use crate::http::params::{ChangesRequest, StreamParams};
use crate::http::response::changes_body::ChangesBody;
use crate::http::response::problem::Problem;
use crate::http::server::detach::StreamingBody;
use crate::version::Version;

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Turns off nginx's buffering of the response.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Sent at once, so that the client knows that it is connected. `retry` is the delay before
/// `EventSource` reconnects, in milliseconds.
const GREETING: Bytes = Bytes::from_static(b"retry: 2000\n: connected\n\n");
const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// Changes as Server-Sent Events
///
/// The `data` of an event is a response of `/v1/changes`, its `id` that response's version. The first
/// event comes at once if there is something to report: without a version, the starting point. A
/// comment is sent at least every 15 s. After a minute without changes, a response without changes
/// carries the version that the instance has applied by then. A last event of type `problem` says why a
/// stream can't continue, for example because a table is no longer published.
#[utoipa::path(
    get,
    path = "/v1/stream",
    operation_id = "streamChanges",
    tag = "push",
    params(
        StreamParams,
        ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last event received; takes precedence over `after`. `EventSource` sends it by itself"),
    ),
    responses(
        (status = 200, description = "An endless stream of events; their `data` is described here", content_type = "text/event-stream", body = ChangesBody,
            headers(("Highwater-Version" = String, description = "The applied version of this instance"))),
        TableProblems,
    )
)]
pub(crate) async fn stream(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let request = stream_request(head.uri.query().unwrap_or_default(), &head.headers)?;
    let caller = Principal::of(&head.extensions);
    api.require_was_ready(&caller)?;
    let subscription = Subscription::new(api.clone(), caller, request)?;
    let client = api.push().admit(PushProtocol::Sse)?;
    let request_id = request_id::of_request(&head.headers);
    let events = EventStream::new(api, subscription, client, request_id.clone());
    let events = stream::unfold(Some(events), async |events| {
        let mut events = events?;
        let chunk = events.next().await?;
        let rest = (!events.ended).then_some(events);
        Some((chunk, rest))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.extensions_mut().insert(StreamingBody);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(X_REQUEST_ID, request_id);
    Ok(response)
}

fn stream_request(query: &str, headers: &HeaderMap) -> Result<ChangesRequest, Problem> {
    let mut request = StreamParams::read(query)?;
    request.after = last_event_id(headers)?.or(request.after);
    Ok(request)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let sent = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
    let version = sent.map(|id| id.to_str().ok().and_then(|id| id.parse().ok()));
    match version {
        Some(None) => Err(Problem::invalid(
            "`Last-Event-ID` is not a version: send the id of an earlier event, or leave it out",
        )),
        version => Ok(version.flatten()),
    }
}

/// The connection accepted no bytes for `PushOptions::write_max`; the error makes hyper close it.
#[derive(Debug, thiserror::Error)]
#[error("the client accepts no events")]
struct WriteStalled;

/// One client's stream.
struct EventStream {
    api: AppState,
    subscription: Subscription,
    request_id: HeaderValue,
    /// Notified when the connection has accepted the bytes sent last.
    accepted: Arc<Notify>,
    /// Whether the greeting was sent.
    greeted: bool,
    /// Whether the last event was sent.
    ended: bool,
    _client: PushClient,
}

impl EventStream {
    fn new(
        api: AppState,
        subscription: Subscription,
        client: PushClient,
        request_id: HeaderValue,
    ) -> Self {
        let accepted = Arc::default();
        Self {
            api,
            subscription,
            request_id,
            accepted,
            greeted: false,
            ended: false,
            _client: client,
        }
    }

    /// The next bytes, made when the previous ones have been accepted; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, WriteStalled>> {
        if !self.greeted {
            self.greeted = true;
            return Some(Ok(self.watched(GREETING)));
        }
        let write_max = self.api.push().options().write_max;
        let accepted = tokio::select! {
            accepted = timeout(write_max, self.accepted.notified()) => accepted,
            () = self.api.store().closed() => return None,
        };
        if accepted.is_err() {
            self.ended = true;
            return Some(Err(WriteStalled));
        }
        let bytes = self.event(self.api.push().options().heartbeat).await?;
        Some(Ok(self.watched(bytes)))
    }

    async fn event(&mut self, heartbeat: Duration) -> Option<Bytes> {
        match timeout(heartbeat, self.subscription.next()).await {
            Err(_) => Some(HEARTBEAT),
            Ok(Ok(response)) => response.map(|response| response.event()),
            Ok(Err(problem)) => {
                self.ended = true;
                let problem = problem.to_json(self.request_id.to_str().unwrap_or_default());
                Some(Bytes::from([b"event: problem\ndata: ", &*problem, b"\n\n"].concat()))
            }
        }
    }

    /// The same bytes; when the connection drops them, it has written them to the socket.
    fn watched(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(QueuedBytes { bytes, accepted: Arc::clone(&self.accepted) })
    }
}

/// Bytes in flight to the client.
struct QueuedBytes {
    bytes: Bytes,
    accepted: Arc<Notify>,
}

impl AsRef<[u8]> for QueuedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for QueuedBytes {
    fn drop(&mut self) {
        self.accepted.notify_one();
    }
}
