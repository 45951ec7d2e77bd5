//! The outermost layer of every route: the request's id, `Highwater-Version`, bodies of problems, and
//! request metrics.
//!
//! One layer instead of several ready-made ones, because an empty poll costs little more than the
//! layers around it; and its future is a plain struct, so that none of them is boxed once more.

use std::convert::Infallible;
use std::fmt;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use pin_project_lite::pin_project;
use prometheus::{Histogram, IntCounter, IntCounterVec};
use tower::{Layer, Service};

use crate::http::api::routes::is_versioned;
use crate::http::middleware::request_id::{self, X_REQUEST_ID};
use crate::http::response::problem::Problem;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::version::{VERSION_TEXT_MAX, Version};

/// The version of the response, or else the position up to which this instance has applied changes.
pub(crate) const HIGHWATER_VERSION: HeaderName = HeaderName::from_static("highwater-version");

/// The layer around one route.
#[derive(Clone)]
pub(crate) struct Observe(Arc<RouteObserver>);

/// What the layer needs to know of its route.
struct RouteObserver {
    /// Source of `Highwater-Version`; `None`: responses of this route do not carry it.
    store: Option<Store>,
    seconds: Histogram,
    requests: RequestCounts,
}

impl Observe {
    pub(crate) fn new(pattern: &str, store: Option<Store>, metrics: &Metrics) -> Self {
        let seconds = metrics.http_request_seconds.with_label_values(&[pattern]);
        let requests = RequestCounts::new(pattern, metrics.http_requests.clone());
        Self(Arc::new(RouteObserver { store, seconds, requests }))
    }
}

impl<S> Layer<S> for Observe {
    type Service = ObserveService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveService { inner, observer: Arc::clone(&self.0) }
    }
}

/// The service that [`Observe`] makes.
#[derive(Clone)]
pub(crate) struct ObserveService<S> {
    inner: S,
    observer: Arc<RouteObserver>,
}

impl<S> Service<Request> for ObserveService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let span = RequestSpan {
            started: Instant::now(),
            id: request_id::of_request(request.headers()),
            method: MethodLabel::of(request.method()),
            is_versioned: is_versioned(request.uri().path()),
        };
        ObserveFuture {
            response: self.inner.call(request),
            observer: Arc::clone(&self.observer),
            span: Some(span),
        }
    }
}

pin_project! {
    /// The response of the inner service, completed and counted.
    pub(crate) struct ObserveFuture<F> {
        #[pin]
        response: F,
        observer: Arc<RouteObserver>,
        // Taken when the response is there.
        span: Option<RequestSpan>,
    }
}

impl<F> Future for ObserveFuture<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.response.poll(cx));
        if let Some(span) = this.span.take() {
            this.observer.finish(&mut response, span);
        }
        Poll::Ready(Ok(response))
    }
}

/// What is kept of a request until its response is there.
struct RequestSpan {
    started: Instant,
    id: HeaderValue,
    method: MethodLabel,
    is_versioned: bool,
}

impl RouteObserver {
    fn finish(&self, response: &mut Response, span: RequestSpan) {
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let id = span.id.to_str().unwrap_or_default();
            *response.body_mut() = Body::from(problem.to_json(id));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            if let Some(cause) = problem.cause() {
                tracing::error!(request_id = id, cause, "HTTP request failed");
            }
        }
        let status = response.status();
        let headers = response.headers_mut();
        // A handler whose work continues after the response's head has set its own already.
        headers.entry(X_REQUEST_ID).or_insert(span.id);
        let is_rejected = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        if span.is_versioned
            && !is_rejected
            && !headers.contains_key(HIGHWATER_VERSION)
            && let Some(applied) = self.store.as_ref().and_then(Store::applied)
        {
            headers.insert(HIGHWATER_VERSION, version_header(applied));
        }
        self.requests.count(span.method, status);
        self.seconds.observe(span.started.elapsed().as_secs_f64());
    }
}

/// Capacity for the headers of a response, with which most need not grow.
pub(crate) const HEADERS_USUAL: usize = 12;

/// A version as a header value.
pub(crate) fn version_header(version: Version) -> HeaderValue {
    short_header(format_args!("{version}")).unwrap_or(HeaderValue::from_static(""))
}

/// A text of at most the length of a quoted version as a header value, for one allocation.
pub(crate) fn short_header(text: fmt::Arguments<'_>) -> Option<HeaderValue> {
    let mut bytes = [0; VERSION_TEXT_MAX + 2];
    let length = bytes.len();
    let mut rest = &mut bytes[..];
    rest.write_fmt(text).ok()?;
    let length = length - rest.len();
    HeaderValue::from_bytes(bytes.get(..length)?).ok()
}

/// The `method` label. Bounded: clients can invent methods, and each label value is kept for ever.
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

/// Statuses whose counters are looked up only once.
const USUAL_STATUSES: [u16; 9] = [200, 204, 304, 400, 401, 404, 405, 500, 503];

/// `http_requests_total` of one route: each usual counter is looked up by its labels once.
struct RequestCounts {
    pattern: String,
    all: IntCounterVec,
    usual: [[OnceLock<IntCounter>; USUAL_STATUSES.len()]; MethodLabel::COUNT],
}

impl RequestCounts {
    fn new(pattern: &str, all: IntCounterVec) -> Self {
        Self { pattern: pattern.to_owned(), all, usual: Default::default() }
    }

    fn count(&self, method: MethodLabel, status: StatusCode) {
        let index = USUAL_STATUSES.iter().position(|&usual| usual == status.as_u16());
        let usual = self.usual.get(method as usize);
        match usual.zip(index).and_then(|(usual, index)| usual.get(index)) {
            Some(counter) => counter.get_or_init(|| self.counter(method, status)).inc(),
            None => self.counter(method, status).inc(),
        }
    }

    fn counter(&self, method: MethodLabel, status: StatusCode) -> IntCounter {
        self.all.with_label_values(&[&self.pattern, method.as_str(), status.as_str()])
    }
}
