//! Panics of handlers as problems: the client gets a 500 response, the log the panic's message.
//!
//! tower-http's `CatchPanicLayer` does the same, but boxes the body of every response, which costs
//! each poll an allocation and every access to its body an indirect call.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};
use std::thread;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::{CatchUnwind, Either, FutureExt, Map, Ready, ready};
use tower::{Layer, Service};

use crate::http::response::problem::Problem;

/// The layer around one route.
#[derive(Clone, Copy)]
pub(crate) struct CatchPanic;

impl<S> Layer<S> for CatchPanic {
    type Service = CatchPanicService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanicService { inner }
    }
}

/// The service that [`CatchPanic`] makes.
#[derive(Clone)]
pub(crate) struct CatchPanicService<S> {
    inner: S,
}

type ServiceResult = Result<Response, Infallible>;

/// The inner service's response, or the panic's payload: of its `call`, or of the future that
/// `call` returned.
type Caught<F> = Either<CatchUnwind<AssertUnwindSafe<F>>, Ready<thread::Result<ServiceResult>>>;

impl<S> Service<Request> for CatchPanicService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Map<Caught<S::Future>, fn(thread::Result<ServiceResult>) -> ServiceResult>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // Unwind safe: neither the service nor the future is used again after a panic.
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        let caught: Caught<S::Future> = match called {
            Ok(response) => Either::Left(AssertUnwindSafe(response).catch_unwind()),
            Err(panic) => Either::Right(ready(Err(panic))),
        };
        caught.map(or_problem)
    }
}

fn or_problem(caught: thread::Result<ServiceResult>) -> ServiceResult {
    caught.unwrap_or_else(|panic| Ok(problem(&*panic).into_response()))
}

/// The client learns only that there was a panic; the message goes to the log.
fn problem(panic: &(dyn Any + Send)) -> Problem {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(no message)");
    Problem::internal(format!("a handler panicked: {message}"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    async fn status(panics_in_call: bool) -> u16 {
        let service =
            ServiceBuilder::new().layer(CatchPanic).service(service_fn(move |request: Request| {
                assert!(!panics_in_call, "in call");
                async move {
                    assert!(request.uri().path() != "/", "in the future");
                    Ok::<_, Infallible>(Response::new(Body::empty()))
                }
            }));
        service.oneshot(Request::new(Body::empty())).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn panics_of_a_service_and_of_its_future_are_problems() {
        assert_eq!(status(true).await, 500);
        assert_eq!(status(false).await, 500);
    }
}
