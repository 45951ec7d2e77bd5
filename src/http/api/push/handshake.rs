//! `/v1/ws`: the request by which a connection becomes a WebSocket (RFC 6455, 4.2).

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::Response;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::clients::PushProtocol;
use super::message::SubscribeMessage;
use super::ws_session;
use crate::http::access::Principal;
use crate::http::api::documented::{
    InternalProblem, NotReadyProblem, OriginProblem, UpgradeProblem,
};
use crate::http::api::state::AppState;
use crate::http::middleware::request_id::{self, X_REQUEST_ID};
use crate::http::options::AllowedOrigin;
use crate::http::response::changes_body::ChangesBody;
use crate::http::response::problem::{Problem, ProblemType};
use crate::http::server::connection::{AcceptedConnection, has_token};

/// Changes as they come (WebSocket)
///
/// Send `{"subscribe":{"tables":["items"],"after":null}}`, and again to change it; receive answers
/// as of `/v1/changes`, or only `{"version":"…"}` with `"mode":"version"`. A message that can't be
/// understood is answered by `{"error":{…}}` with a problem document, and the subscription stays as
/// it was. Pings come at least every 15 s. A page of another origin is refused unless
/// `http.cors_origins` names it.
#[utoipa::path(
    get,
    path = "/v1/ws",
    tag = "push",
    request_body(content = SubscribeMessage, description = "Not a body: what is sent over the socket"),
    responses(
        (status = 101, description = "From here on frames are exchanged; those received are described here", body = ChangesBody,
            headers(("Highwater-Version" = String, description = "How far this instance has applied"))),
        OriginProblem,
        UpgradeProblem,
        NotReadyProblem,
        InternalProblem,
    )
)]
pub(crate) async fn socket(
    State(api): State<AppState>,
    mut request: Request,
) -> Result<Response, Problem> {
    let (key, connection) = handshake(&request)?;
    if !is_allowed(api.push().origins(), request.headers(), request.uri()) {
        return Err(Problem::new(
            ProblemType::OriginNotAllowed,
            "pages of this origin may not connect; name the origin in http.cors_origins",
        ));
    }
    let caller = Principal::of(request.extensions());
    api.require_was_ready(&caller)?;
    let client = api.push().admit(PushProtocol::Ws)?;
    let request_id = request_id::of_request(request.headers());
    let id = request_id.clone();
    let upgrade = hyper::upgrade::on(&mut request);
    connection.go_on(async move {
        match upgrade.await {
            Ok(upgraded) => ws_session::hold(api, caller, upgraded, &id).await,
            Err(error) => tracing::trace!(%error, "a connection did not become a WebSocket"),
        }
        drop(client);
    });
    Ok(switching(&key, request_id, offers_ours(request.headers())))
}

/// The client's key, and the connection that is to be taken over.
fn handshake(request: &Request) -> Result<(HeaderValue, AcceptedConnection), Problem> {
    let headers = request.headers();
    let connection = request.extensions().get::<AcceptedConnection>();
    let is_asked_for = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    match (headers.get(header::SEC_WEBSOCKET_KEY), connection) {
        (Some(key), Some(connection)) if is_asked_for => Ok((key.clone(), connection.clone())),
        _ => Err(Problem::new(
            ProblemType::UpgradeRequired,
            "ask for a WebSocket of version 13 here, over HTTP/1.1; a proxy in between has to pass \
             the headers Connection and Upgrade on",
        )),
    }
}

/// Browsers let every page open a socket to everywhere and leave it to the server to look at where
/// the page is from (RFC 6455, 10.2). Allowed are our own pages, those that may read answers, and
/// programs, which send no origin.
fn is_allowed(origins: &[AllowedOrigin], headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(sent) = headers.get(header::ORIGIN) else { return true };
    let listed = origins.iter().any(|origin| match origin {
        AllowedOrigin::Any => true,
        AllowedOrigin::Exactly(origin) => origin == sent,
    });
    listed || is_own(sent, headers, uri).unwrap_or(false)
}

/// Whether the origin's host and port are those the request was sent to.
fn is_own(origin: &HeaderValue, headers: &HeaderMap, uri: &Uri) -> Option<bool> {
    let (_, origin) = origin.to_str().ok()?.split_once("://")?;
    let sent_to = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let sent_to = sent_to.or_else(|| uri.authority().map(Authority::as_str))?;
    Some(origin.eq_ignore_ascii_case(sent_to))
}

/// Our own protocol's name, for clients that must offer one because they offer a token
/// ([`gate`](crate::http::gate)): browsers end a connection on which none of their offers was taken.
const PROTOCOL: &str = "highwater";

fn offers_ours(headers: &HeaderMap) -> bool {
    has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
}

fn switching(key: &HeaderValue, request_id: HeaderValue, offers_ours: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accepted = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    // Base64 is always a header's value.
    headers.extend(accepted.ok().map(|accepted| (header::SEC_WEBSOCKET_ACCEPT, accepted)));
    headers.insert(X_REQUEST_ID, request_id);
    if offers_ours {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], sent: &[(&'static str, &'static str)]) -> bool {
        let origins: Vec<AllowedOrigin> =
            origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let headers = sent.iter().map(|(name, value)| {
            (name.parse::<header::HeaderName>().unwrap(), HeaderValue::from_static(value))
        });
        is_allowed(&origins, &headers.collect(), &Uri::from_static("/v1/ws"))
    }

    #[test]
    fn programs_and_our_own_pages_may_connect() {
        assert!(allowed(&[], &[("host", "db.example")]));
        assert!(allowed(&[], &[("host", "db.example:80"), ("origin", "http://db.example:80")]));
        assert!(allowed(&[], &[("host", "db.example"), ("origin", "https://DB.example")]));
    }

    #[test]
    fn pages_of_others_may_not_unless_they_are_named() {
        let page = [("host", "db.example"), ("origin", "https://app.example")];
        assert!(!allowed(&[], &page));
        assert!(!allowed(&["https://other.example"], &page));
        assert!(allowed(&["https://app.example"], &page));
        assert!(allowed(&["*"], &page));
        assert!(!allowed(&[], &[("host", "db.example"), ("origin", "null")]));
        assert!(!allowed(&[], &[("host", "db.example"), ("origin", "http://db.example.org")]));
        assert!(!allowed(&[], &[("origin", "http://db.example")]));
    }
}
