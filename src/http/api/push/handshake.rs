//! `/v1/ws`: the opening handshake of a WebSocket (RFC 6455, 4.2).

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
use crate::http::api::schemas::HandshakeProblems;
use crate::http::api::state::AppState;
use crate::http::middleware::request_id::{self, X_REQUEST_ID};
use crate::http::options::AllowedOrigin;
use crate::http::response::changes_body::ChangesBody;
use crate::http::response::problem::{Problem, ProblemType};
use crate::http::server::connection::{AcceptedConnection, has_token};

/// Changes over a WebSocket
///
/// Send `{"subscribe":{"tables":["items"],"after":null}}`, and again to change the subscription;
/// receive messages like the responses of `/v1/changes`, or only `{"version":"…"}` with
/// `"mode":"version"`. The response to an invalid message is `{"error":{…}}` with a problem document,
/// and the subscription remains as it was. The server sends a ping at least every 15 s. A page of
/// another origin is rejected unless `http.cors_origins` lists it.
#[utoipa::path(
    get,
    path = "/v1/ws",
    operation_id = "openWebSocket",
    tag = "push",
    request_body(content = SubscribeMessage, description = "Not a body: the messages that the client sends over the WebSocket"),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on; the messages that the client receives are described here", body = ChangesBody,
            headers(("Highwater-Version" = String, description = "The applied version of this instance"))),
        HandshakeProblems,
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
            "pages of this origin may not connect; add the origin to http.cors_origins",
        ));
    }
    let caller = Principal::of(request.extensions());
    api.require_was_ready(&caller)?;
    let client = api.push().admit(PushProtocol::Ws)?;
    let request_id = request_id::of_request(request.headers());
    let id = request_id.clone();
    let upgrade = hyper::upgrade::on(&mut request);
    connection.spawn_upgraded(async move {
        match upgrade.await {
            Ok(upgraded) => ws_session::run(api, caller, upgraded, &id).await,
            Err(error) => tracing::trace!(%error, "WebSocket upgrade failed"),
        }
        drop(client);
    });
    Ok(switching(&key, request_id, offers_protocol(request.headers())))
}

/// The client's key, and the connection to take over.
fn handshake(request: &Request) -> Result<(HeaderValue, AcceptedConnection), Problem> {
    let headers = request.headers();
    let connection = request.extensions().get::<AcceptedConnection>();
    let is_requested = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    match (headers.get(header::SEC_WEBSOCKET_KEY), connection) {
        (Some(key), Some(connection)) if is_requested => Ok((key.clone(), connection.clone())),
        _ => Err(Problem::new(
            ProblemType::UpgradeRequired,
            "this endpoint needs a WebSocket handshake of version 13 over HTTP/1.1; a proxy in between \
             has to forward the Connection and Upgrade headers",
        )),
    }
}

/// Browsers let every page open a WebSocket to every host and leave the check of the page's origin to
/// the server (RFC 6455, 10.2). Allowed are the service's own pages, origins that may read responses
/// (`http.cors_origins`), and programs, which send no origin.
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

/// The service's subprotocol, for clients that have to offer one because they send their token as a
/// subprotocol ([`auth_layer`](crate::http::middleware::auth_layer)): browsers close a connection on
/// which none of the offered subprotocols was selected.
const PROTOCOL: &str = "highwater";

fn offers_protocol(headers: &HeaderMap) -> bool {
    has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
}

fn switching(key: &HeaderValue, request_id: HeaderValue, offers_protocol: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let accepted = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    // Base64 is always a valid header value.
    headers.extend(accepted.ok().map(|accepted| (header::SEC_WEBSOCKET_ACCEPT, accepted)));
    headers.insert(X_REQUEST_ID, request_id);
    if offers_protocol {
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
    fn programs_and_pages_of_the_service_may_connect() {
        assert!(allowed(&[], &[("host", "db.example")]));
        assert!(allowed(&[], &[("host", "db.example:80"), ("origin", "http://db.example:80")]));
        assert!(allowed(&[], &[("host", "db.example"), ("origin", "https://DB.example")]));
    }

    #[test]
    fn pages_of_other_origins_may_connect_only_if_listed() {
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
