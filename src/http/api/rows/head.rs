//! What all responses with rows have in common.

use std::io::Write as _;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::x_cache::XCache;
use crate::http::middleware::observe::{HEADERS_USUAL, HIGHWATER_VERSION, version_header};
use crate::http::response::conditional;
use crate::version::Version;

/// The head of a response with rows.
pub(super) struct RowsHead {
    pub(super) version: Version,
    pub(super) etag: HeaderValue,
    pub(super) x_cache: XCache,
}

impl RowsHead {
    /// The response with this body, or 304 if the client already has it.
    pub(super) fn into_response(
        self,
        request: &HeaderMap,
        body: impl FnOnce() -> Body,
    ) -> Response {
        let mut response = Response::new(Body::empty());
        if conditional::has_match(request, &self.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = body();
        }
        let is_full = response.status() == StatusCode::OK;
        let headers = response.headers_mut();
        *headers = HeaderMap::with_capacity(HEADERS_USUAL);
        if is_full {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.insert(HIGHWATER_VERSION, version_header(self.version));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::ETAG, self.etag);
        self.x_cache.write(headers);
        response
    }
}

/// Appends `{"version":"…"`, the beginning of every body with several rows.
pub(super) fn begin(version: Version, out: &mut Vec<u8>) {
    // Writing to a vector can't fail.
    let _ = write!(out, r#"{{"version":"{version}""#);
}
