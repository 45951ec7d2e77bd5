//! `/v1/stream`: Server-Sent Events, the format that browsers' `EventSource` reads
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! An event's id is its answer's version, so `EventSource` resumes by itself: it sends the last id
//! as `Last-Event-ID`. Streams are not compressed: a compressor gains little on small events and
//! keeps one more window for every client.

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
use super::subscription::{Subscription, SubscriptionParams};
use crate::http::access::Principal;
use crate::http::api::documented::{ChangesParameters, TableProblems};
use crate::http::api::state::AppState;
use crate::http::middleware::request_id::{self, X_REQUEST_ID};
use crate::http::params::ChangesQuery;
use crate::http::response::changes_body::ChangesBody;
use crate::http::response::problem::Problem;
use crate::http::server::detach::DetachedBody;
use crate::version::Version;

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks nginx not to hold events back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Sent at once, so that the client knows that it is connected. `retry` is the pause, in
/// milliseconds, before `EventSource` connects again.
const GREETING: Bytes = Bytes::from_static(b"retry: 2000\n: connected\n\n");
const HEARTBEAT: Bytes = Bytes::from_static(b": still here\n\n");

/// Changes as they come (Server-Sent Events)
///
/// Each event's `data` is one answer of `/v1/changes`, its `id` the answer's version. The first
/// comes at once if there is something to tell: without a version, the starting point. A comment
/// is sent at least every 15 s. When nothing changes for a minute, an answer without changes tells
/// how far the version has moved on. A last event of type `problem` says why a stream can't go on,
/// for instance because a table is no longer published.
#[utoipa::path(
    get,
    path = "/v1/stream",
    tag = "push",
    params(
        ("tables" = Option<String>, Query, description = "As for `/v1/changes`", example = "items,users"),
        ChangesParameters,
        ("where" = Option<String>, Query, description = "Only rows with these values in scope columns, as for `/v1/changes`", example = "owner_id:5"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event received; wins over `after`. `EventSource` sends it by itself"),
    ),
    responses(
        (status = 200, description = "Events without end; `data` is described here", content_type = "text/event-stream", body = ChangesBody,
            headers(("Highwater-Version" = String, description = "How far this instance has applied"))),
        TableProblems,
    )
)]
pub(crate) async fn stream(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let wanted = wanted(&api, head.uri.query().unwrap_or_default(), &head.headers)?;
    let caller = Principal::of(&head.extensions);
    api.require_was_ready(&caller)?;
    let subscription = Subscription::new(api.clone(), caller, wanted)?;
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
    response.extensions_mut().insert(DetachedBody);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(X_REQUEST_ID, request_id);
    Ok(response)
}

fn wanted(api: &AppState, query: &str, headers: &HeaderMap) -> Result<SubscriptionParams, Problem> {
    let query = ChangesQuery::read(query, api.wait_max())?;
    if !query.wait.is_zero() {
        return Err(Problem::invalid("a stream waits by itself: leave `wait` out"));
    }
    let ChangesQuery { tables, after, limit, detail, rows, narrowing, .. } = query;
    let after = last_event_id(headers)?.or(after);
    Ok(SubscriptionParams { tables, after, limit, detail, rows, narrowing })
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

/// The connection took nothing for too long; hyper closes it for this.
#[derive(Debug, thiserror::Error)]
#[error("the client takes no events")]
struct WriteStalled;

/// One client's stream.
struct EventStream {
    api: AppState,
    subscription: Subscription,
    request_id: HeaderValue,
    /// Told when the connection has taken what was sent last.
    taken: Arc<Notify>,
    /// Whether the client was greeted.
    greeted: bool,
    /// Whether nothing more is to be sent.
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
        let taken = Arc::default();
        Self { api, subscription, request_id, taken, greeted: false, ended: false, _client: client }
    }

    /// The next bytes, made when those before have been taken; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, WriteStalled>> {
        if !self.greeted {
            self.greeted = true;
            return Some(Ok(self.watched(GREETING)));
        }
        let write_max = self.api.push().options().write_max;
        let taken = tokio::select! {
            taken = timeout(write_max, self.taken.notified()) => taken,
            () = self.api.store().closed() => return None,
        };
        if taken.is_err() {
            self.ended = true;
            return Some(Err(WriteStalled));
        }
        let bytes = self.event(self.api.push().options().heartbeat).await?;
        Some(Ok(self.watched(bytes)))
    }

    async fn event(&mut self, heartbeat: Duration) -> Option<Bytes> {
        match timeout(heartbeat, self.subscription.answer()).await {
            Err(_) => Some(HEARTBEAT),
            Ok(Ok(told)) => told.map(|told| told.event()),
            Ok(Err(problem)) => {
                self.ended = true;
                let problem = problem.to_json(self.request_id.to_str().unwrap_or_default());
                Some(Bytes::from([b"event: problem\ndata: ", &*problem, b"\n\n"].concat()))
            }
        }
    }

    /// The same bytes; when the connection lets go of them, it has taken them.
    fn watched(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(QueuedBytes { bytes, taken: Arc::clone(&self.taken) })
    }
}

/// Bytes on their way to the client.
struct QueuedBytes {
    bytes: Bytes,
    taken: Arc<Notify>,
}

impl AsRef<[u8]> for QueuedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for QueuedBytes {
    fn drop(&mut self) {
        self.taken.notify_one();
    }
}
