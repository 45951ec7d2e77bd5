//! What all answers with rows have in common.

use std::io::Write as _;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::x_cache::XCache;
use crate::http::middleware::observe::{HEADERS_USUAL, HIGHWATER_VERSION, version_header};
use crate::http::response::conditional;
use crate::version::Version;

/// The head of an answer.
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) etag: HeaderValue,
    pub(super) served: XCache,
}

impl Head {
    /// The answer with this body, or 304 to who has it already.
    pub(super) fn answer(self, asked: &HeaderMap, body: impl FnOnce() -> Body) -> Response {
        let mut response = Response::new(Body::empty());
        if conditional::has_match(asked, &self.etag) {
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
        self.served.tell(headers);
        response
    }
}

/// `{"version":"…"`, which every body with several rows begins with.
pub(super) fn begin(version: Version, out: &mut Vec<u8>) {
    // Writing to a vector can't fail.
    let _ = write!(out, r#"{{"version":"{version}""#);
}
