//! Who may ask: every request of a route is looked at here, before its handler.
//!
//! The gate stands around the route that the router found, and what it does follows from the route
//! ([`Route::access`]), never from the path's text: two spellings of a path can't be answered
//! differently. Who was let in is shown out when their token ends, if they are still waiting for an
//! answer then; one that goes on after its head, a stream or socket, looks itself.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, Either, FutureExt, Map, Ready, ready};
use tower::{Layer, Service};

use crate::auth::TokenVerifier;
use crate::http::access::Principal;
use crate::http::api::routes::{Route, RouteAccess, Transport};
use crate::http::middleware::rate::{BucketOwner, Buckets};
use crate::http::response::problem::{Problem, ProblemType};

/// The layer around one route.
#[derive(Clone)]
pub(crate) struct AuthLayer {
    /// `None`: nobody is asked.
    authority: Option<TokenVerifier>,
    /// Who asked how often; `None`: nobody is counted.
    buckets: Option<Buckets>,
    route: Route,
}

impl AuthLayer {
    pub(crate) fn new(
        route: Route,
        authority: Option<TokenVerifier>,
        buckets: Option<Buckets>,
    ) -> Self {
        // Probes and scrapers are never too many.
        let buckets = buckets.filter(|_| route.is_rate_limited);
        Self { authority, buckets, route }
    }

    /// Who asks, and not too often; a problem where they may not. Those who are refused count, too.
    fn authorize(&self, request: &Request) -> Result<Principal, Problem> {
        let caller = self.authenticate(request);
        let Some(buckets) = &self.buckets else { return caller };
        let token = match &caller {
            Ok(Principal::Authenticated(_)) => token(request.headers(), self.route),
            _ => PresentedToken::Absent,
        };
        let client = match token {
            PresentedToken::Sent(token) => buckets.of_token(token.as_bytes()),
            _ => request.extensions().get().copied().unwrap_or(BucketOwner::Others),
        };
        buckets.take(client).map_err(Problem::too_many_requests)?;
        caller
    }

    /// Who asks; a problem where they may not.
    fn authenticate(&self, request: &Request) -> Result<Principal, Problem> {
        let Some(authority) = &self.authority else { return Ok(Principal::Unrestricted) };
        let access = self.route.access;
        // What is offered at a path is no secret, and browsers ask for it without a token.
        if request.method() == Method::OPTIONS {
            return Ok(Principal::Anonymous);
        }
        let known = identify(authority, request.headers(), self.route);
        match (access, known) {
            (RouteAccess::Public, known) => Ok(known.unwrap_or(Principal::Anonymous)),
            (RouteAccess::Admin, Ok(known)) if !known.is_admin() => Err(Problem::new(
                ProblemType::AdminRequired,
                "this endpoint needs a token with admin = true",
            )),
            (_, known) => known,
        }
    }
}

fn identify(
    authority: &TokenVerifier,
    headers: &HeaderMap,
    route: Route,
) -> Result<Principal, Problem> {
    let token = match token(headers, route) {
        PresentedToken::Absent => {
            return Err(Problem::new(
                ProblemType::MissingToken,
                "a token is required: send it as Authorization: Bearer TOKEN",
            ));
        }
        PresentedToken::Unreadable => Err("it can't be read".to_owned()),
        PresentedToken::Sent(token) => {
            authority.identify(token).map_err(|refused| refused.to_string())
        }
    };
    // One answer for every reason.
    token.map(Principal::Authenticated).map_err(|reason| {
        tracing::debug!(reason, "a token was refused");
        Problem::invalid_token()
    })
}

/// A request's token.
enum PresentedToken<'a> {
    Absent,
    Unreadable,
    Sent(&'a str),
}

/// The token is in `Authorization`. Web pages can't send that header when they open a socket: there
/// it may be among the protocols they offer.
fn token(headers: &HeaderMap, route: Route) -> PresentedToken<'_> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (None, _) if route.transport == Transport::WebSocket => offered(headers),
        (None, _) => PresentedToken::Absent,
        (Some(line), None) => bearer(line).map_or(PresentedToken::Unreadable, PresentedToken::Sent),
        (Some(_), Some(_)) => PresentedToken::Unreadable,
    }
}

/// `Bearer TOKEN` (RFC 6750, 2.1); the word's case doesn't matter.
fn bearer(line: &HeaderValue) -> Option<&str> {
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What stands before the token among the protocols of a socket.
const BEARER_PROTOCOL: &str = "bearer.";

fn offered(headers: &HeaderMap) -> PresentedToken<'_> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let offered = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let mut tokens = offered.filter_map(|offer| offer.trim().strip_prefix(BEARER_PROTOCOL));
    match (tokens.next(), tokens.next()) {
        (None, _) => PresentedToken::Absent,
        (Some(token), None) => PresentedToken::Sent(token),
        (Some(_), Some(_)) => PresentedToken::Unreadable,
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService { inner, gate: self.clone() }
    }
}

/// The service that [`AuthLayer`] makes.
#[derive(Clone)]
pub(crate) struct AuthService<S> {
    inner: S,
    gate: AuthLayer,
}

type Answered = Result<Response, Infallible>;

/// What the answer passes through on its way out.
type Out = fn(Answered) -> Answered;

/// An answer that comes at once, or as long as a token is valid.
type Watched = Either<Ready<Answered>, BoxFuture<'static, Answered>>;

impl<S> Service<Request> for AuthService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Map<S::Future, Out>, Watched>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match self.gate.authorize(&request) {
            Ok(caller) => {
                let out: Out = match caller {
                    Principal::Unrestricted => |answered| answered,
                    _ => |answered| answered.map(for_one),
                };
                request.extensions_mut().insert(caller.clone());
                let answer = self.inner.call(request).map(out);
                if caller.can_expire() {
                    Either::Right(Either::Right(while_valid(caller, answer).boxed()))
                } else {
                    Either::Left(answer)
                }
            }
            Err(problem) => {
                Either::Right(Either::Left(ready(Ok(for_one(problem.into_response())))))
            }
        }
    }
}

/// Whatever a request waits for, it is refused once its token isn't valid any more.
async fn while_valid(caller: Principal, answer: impl Future<Output = Answered>) -> Answered {
    tokio::select! {
        // Most answers are there at once.
        biased;
        answered = answer => answered,
        () = caller.expired() => Ok(for_one(Problem::invalid_token().into_response())),
    }
}

/// Keeps whoever stores answers from giving this one to another.
fn for_one(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("authorization"));
    let kept = headers.get(header::CACHE_CONTROL).is_none_or(|control| control == "no-cache");
    if kept {
        let private = HeaderValue::from_static("private, no-cache");
        headers.insert(header::CACHE_CONTROL, private);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: Route = Route::new(RouteAccess::Reader);
    const SOCKET: Route = Route { transport: Transport::WebSocket, ..CHANGES };

    fn sent(route: Route, lines: &[(&'static str, &'static str)]) -> String {
        let lines = lines.iter().map(|&(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        match token(&lines.collect(), route) {
            PresentedToken::Absent => "(absent)".to_owned(),
            PresentedToken::Unreadable => "(unreadable)".to_owned(),
            PresentedToken::Sent(token) => token.to_owned(),
        }
    }

    #[test]
    fn a_token_is_a_bearer_in_one_authorization_header() {
        let authorized = |line| sent(CHANGES, &[("authorization", line)]);
        assert_eq!(authorized("Bearer abc"), "abc");
        assert_eq!(authorized("bEaReR  abc "), "abc");
        for unreadable in ["", "abc", "Bearer", "Bearer ", "Basic YTpi", "Bearerabc"] {
            assert_eq!(authorized(unreadable), "(unreadable)", "{unreadable}");
        }
        assert_eq!(sent(CHANGES, &[]), "(absent)");
    }

    #[test]
    fn two_tokens_are_none() {
        let mut headers = HeaderMap::new();
        for line in ["Bearer a", "Bearer b"] {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(line));
        }
        assert!(matches!(token(&headers, CHANGES), PresentedToken::Unreadable));
    }

    #[test]
    fn a_socket_may_bring_its_token_among_the_protocols() {
        let offer = ("sec-websocket-protocol", "highwater, bearer.abc");
        assert_eq!(sent(SOCKET, &[offer]), "abc");
        assert_eq!(sent(CHANGES, &[offer]), "(absent)");
        assert_eq!(sent(SOCKET, &[("authorization", "Bearer x"), offer]), "x");
        let two = ("sec-websocket-protocol", "bearer.a,bearer.b");
        assert_eq!(sent(SOCKET, &[two]), "(unreadable)");
    }
}
