//! Authentication and rate limits: every request of a route passes here before its handler.
//!
//! The layer is part of the route that the router found, and what it does follows from the route
//! ([`Route::access`]), never from the text of the path: two spellings of a path can't be treated
//! differently. A pending request is cancelled with 401 when its token expires; a stream or socket,
//! whose work continues after the response's head, checks that itself.

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
    /// `None`: requests are not authenticated.
    authority: Option<TokenVerifier>,
    /// `None`: no rate limit.
    buckets: Option<Buckets>,
    route: Route,
}

impl AuthLayer {
    pub(crate) fn new(
        route: Route,
        authority: Option<TokenVerifier>,
        buckets: Option<Buckets>,
    ) -> Self {
        // Probes and scrapers must not be rejected when clients use up the limit.
        let buckets = buckets.filter(|_| route.is_rate_limited);
        Self { authority, buckets, route }
    }

    /// Authenticates the caller and applies the rate limit; rejected requests count against it.
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

    /// The caller, if it may use the route.
    fn authenticate(&self, request: &Request) -> Result<Principal, Problem> {
        let Some(authority) = &self.authority else { return Ok(Principal::Unrestricted) };
        let access = self.route.access;
        // The methods of a path are no secret, and browsers ask for them without a token.
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
    // The same response for every reason: the client learns nothing about the token.
    token.map(Principal::Authenticated).map_err(|reason| {
        tracing::debug!(reason, "token rejected");
        Problem::invalid_token()
    })
}

/// The token of a request.
enum PresentedToken<'a> {
    Absent,
    Unreadable,
    Sent(&'a str),
}

/// The token is in `Authorization`. Web pages can't send that header when they open a WebSocket: there
/// it may be among the offered subprotocols.
fn token(headers: &HeaderMap, route: Route) -> PresentedToken<'_> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (None, _) if route.transport == Transport::WebSocket => offered(headers),
        (None, _) => PresentedToken::Absent,
        (Some(line), None) => bearer(line).map_or(PresentedToken::Unreadable, PresentedToken::Sent),
        (Some(_), Some(_)) => PresentedToken::Unreadable,
    }
}

/// `Bearer TOKEN` (RFC 6750, 2.1), the scheme in any case.
fn bearer(line: &HeaderValue) -> Option<&str> {
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Prefix of the subprotocol that carries the token.
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
        AuthService { inner, auth: self.clone() }
    }
}

/// The service that [`AuthLayer`] makes.
#[derive(Clone)]
pub(crate) struct AuthService<S> {
    inner: S,
    auth: AuthLayer,
}

type ServiceResult = Result<Response, Infallible>;

/// Completes a response for its caller.
type Complete = fn(ServiceResult) -> ServiceResult;

/// A rejection, or a response that the expiry of the token may replace.
type RejectedOrExpiring = Either<Ready<ServiceResult>, BoxFuture<'static, ServiceResult>>;

impl<S> Service<Request> for AuthService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Map<S::Future, Complete>, RejectedOrExpiring>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match self.auth.authorize(&request) {
            Ok(caller) => {
                let complete: Complete = match caller {
                    Principal::Unrestricted => |response| response,
                    _ => |response| response.map(private),
                };
                request.extensions_mut().insert(caller.clone());
                let response = self.inner.call(request).map(complete);
                if caller.can_expire() {
                    Either::Right(Either::Right(while_valid(caller, response).boxed()))
                } else {
                    Either::Left(response)
                }
            }
            Err(problem) => {
                Either::Right(Either::Left(ready(Ok(private(problem.into_response())))))
            }
        }
    }
}

/// The response, or 401 as soon as the caller's token is no longer valid.
async fn while_valid(
    caller: Principal,
    response: impl Future<Output = ServiceResult>,
) -> ServiceResult {
    tokio::select! {
        // In this order because most responses are there at once.
        biased;
        response = response => response,
        () = caller.expired() => Ok(private(Problem::invalid_token().into_response())),
    }
}

/// Keeps shared caches from giving the response to another caller.
fn private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("authorization"));
    let may_be_stored =
        headers.get(header::CACHE_CONTROL).is_none_or(|control| control == "no-cache");
    if may_be_stored {
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
    fn a_token_is_sent_as_bearer_in_one_authorization_header() {
        let authorized = |line| sent(CHANGES, &[("authorization", line)]);
        assert_eq!(authorized("Bearer abc"), "abc");
        assert_eq!(authorized("bEaReR  abc "), "abc");
        for unreadable in ["", "abc", "Bearer", "Bearer ", "Basic YTpi", "Bearerabc"] {
            assert_eq!(authorized(unreadable), "(unreadable)", "{unreadable}");
        }
        assert_eq!(sent(CHANGES, &[]), "(absent)");
    }

    #[test]
    fn two_authorization_headers_are_rejected() {
        let mut headers = HeaderMap::new();
        for line in ["Bearer a", "Bearer b"] {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(line));
        }
        assert!(matches!(token(&headers, CHANGES), PresentedToken::Unreadable));
    }

    #[test]
    fn a_websocket_may_send_its_token_as_a_subprotocol() {
        let offer = ("sec-websocket-protocol", "highwater, bearer.abc");
        assert_eq!(sent(SOCKET, &[offer]), "abc");
        assert_eq!(sent(CHANGES, &[offer]), "(absent)");
        assert_eq!(sent(SOCKET, &[("authorization", "Bearer x"), offer]), "x");
        let two = ("sec-websocket-protocol", "bearer.a,bearer.b");
        assert_eq!(sent(SOCKET, &[two]), "(unreadable)");
    }
}
