//! CORS: the origins whose web pages may read responses.

use std::time::Duration;

use axum::http::{HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::http::api::push::LAST_EVENT_ID;
use crate::http::api::rows::X_CACHE;
use crate::http::middleware::observe::HIGHWATER_VERSION;
use crate::http::middleware::request_id::X_REQUEST_ID;
use crate::http::options::AllowedOrigin;

/// Time for which browsers may reuse the response to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(1);

/// The layer for these origins; `None` without any, so that it costs nothing.
pub(crate) fn layer(origins: &[AllowedOrigin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_origin(allowed(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::OPTIONS])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::IF_NONE_MATCH,
            LAST_EVENT_ID,
            X_REQUEST_ID,
        ])
        .expose_headers([
            header::AGE,
            header::ETAG,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            HIGHWATER_VERSION,
            X_CACHE,
            X_REQUEST_ID,
        ])
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}

fn allowed(origins: &[AllowedOrigin]) -> AllowOrigin {
    let exact = |origin: &AllowedOrigin| match origin {
        AllowedOrigin::Any => None,
        AllowedOrigin::Exactly(origin) => Some(origin.clone()),
    };
    // One `*` allows every origin, whatever else is listed.
    let listed: Option<Vec<HeaderValue>> = origins.iter().map(exact).collect();
    listed.map_or_else(AllowOrigin::any, AllowOrigin::list)
}
