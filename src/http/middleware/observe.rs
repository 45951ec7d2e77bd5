//! What every answer has in common, in one layer: the request's id, `Highwater-Version`, the
//! bodies of problems, and the request metrics.
//!
//! One layer of our own instead of several ready-made ones, because an empty poll costs little more
//! than what stands around it.

use std::convert::Infallible;
use std::fmt;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use prometheus::{Histogram, IntCounter, IntCounterVec};
use tower::{BoxError, Layer, Service};

use crate::http::api::routes::is_versioned;
use crate::http::middleware::request_id::{self, X_REQUEST_ID};
use crate::http::response::problem::Problem;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::version::{VERSION_TEXT_MAX, Version};

/// Carries the version of the answer, or else how far this instance has applied.
pub(crate) const HIGHWATER_VERSION: HeaderName = HeaderName::from_static("highwater-version");

/// The layer around one route.
#[derive(Clone)]
pub(crate) struct Observe(Arc<ObservedFuture>);

struct ObservedFuture {
    /// `None`: the applied position is not told here.
    store: Option<Store>,
    seconds: Histogram,
    requests: RequestCounts,
}

impl Observe {
    pub(crate) fn new(pattern: &str, store: Option<Store>, metrics: &Metrics) -> Self {
        let seconds = metrics.http_request_seconds.with_label_values(&[pattern]);
        let requests = RequestCounts::new(pattern, metrics.http_requests.clone());
        Self(Arc::new(ObservedFuture { store, seconds, requests }))
    }
}

impl<S> Layer<S> for Observe {
    type Service = ObserveService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveService { inner, observed: Arc::clone(&self.0) }
    }
}

/// The service that [`Observe`] makes.
#[derive(Clone)]
pub(crate) struct ObserveService<S> {
    inner: S,
    observed: Arc<ObservedFuture>,
}

impl<S, B> Service<Request> for ObserveService<S>
where
    S: Service<Request, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let observed = Arc::clone(&self.observed);
        let seen = RequestSpan {
            since: Instant::now(),
            id: request_id::of_request(request.headers()),
            method: MethodLabel::of(request.method()),
            versioned: is_versioned(request.uri().path()),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let Ok(response) = answer.await;
            Ok(observed.finish(response.map(Body::new), seen))
        })
    }
}

/// What is remembered of a request until its answer is there.
struct RequestSpan {
    since: Instant,
    id: HeaderValue,
    method: MethodLabel,
    versioned: bool,
}

impl ObservedFuture {
    fn finish(&self, mut response: Response, seen: RequestSpan) -> Response {
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let id = seen.id.to_str().unwrap_or_default();
            *response.body_mut() = Body::from(problem.to_json(id));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            if let Some(cause) = problem.cause() {
                tracing::error!(request_id = id, cause, "a request failed");
            }
        }
        let status = response.status();
        let headers = response.headers_mut();
        // A handler that goes on after its answer has chosen one already.
        headers.entry(X_REQUEST_ID).or_insert(seen.id);
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        if seen.versioned
            && !refused
            && !headers.contains_key(HIGHWATER_VERSION)
            && let Some(applied) = self.store.as_ref().and_then(Store::applied)
        {
            headers.insert(HIGHWATER_VERSION, version_header(applied));
        }
        self.requests.count(seen.method, status);
        self.seconds.observe(seen.since.elapsed().as_secs_f64());
        response
    }
}

/// Headers of an answer: so many find room without growing.
pub(crate) const HEADERS_USUAL: usize = 12;

/// A version as a header.
pub(crate) fn version_header(version: Version) -> HeaderValue {
    short_header(format_args!("{version}")).unwrap_or(HeaderValue::from_static(""))
}

/// A short text as a header, for one allocation.
pub(crate) fn short_header(text: fmt::Arguments<'_>) -> Option<HeaderValue> {
    let mut bytes = [0; VERSION_TEXT_MAX + 2];
    let length = bytes.len();
    let mut rest = &mut bytes[..];
    rest.write_fmt(text).ok()?;
    let length = length - rest.len();
    HeaderValue::from_bytes(bytes.get(..length)?).ok()
}

/// The `method` label: a client can invent methods, but no labels.
#[derive(Clone, Copy)]
enum MethodLabel {
    Get,
    Head,
    Options,
    Post,
    Other,
}

impl MethodLabel {
    const COUNT: usize = 5;

    fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::OPTIONS => Self::Options,
            Method::POST => Self::Post,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Post => "POST",
            Self::Other => "other",
        }
    }
}

/// The statuses whose counters are kept at hand.
const STATUSES: [u16; 9] = [200, 204, 304, 400, 401, 404, 405, 500, 503];

/// `http_requests_total` of one route, looked up by label only once per method and status.
struct RequestCounts {
    pattern: String,
    all: IntCounterVec,
    known: [[OnceLock<IntCounter>; STATUSES.len()]; MethodLabel::COUNT],
}

impl RequestCounts {
    fn new(pattern: &str, all: IntCounterVec) -> Self {
        Self { pattern: pattern.to_owned(), all, known: Default::default() }
    }

    fn count(&self, method: MethodLabel, status: StatusCode) {
        let place = STATUSES.iter().position(|&known| known == status.as_u16());
        let known = self.known.get(method as usize);
        match known.zip(place).and_then(|(known, place)| known.get(place)) {
            Some(counter) => counter.get_or_init(|| self.look_up(method, status)).inc(),
            None => self.look_up(method, status).inc(),
        }
    }

    fn look_up(&self, method: MethodLabel, status: StatusCode) -> IntCounter {
        self.all.with_label_values(&[&self.pattern, method.as_str(), status.as_str()])
    }
}
