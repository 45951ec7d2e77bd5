//! Options of the HTTP API.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderValue, Uri};

use crate::auth::TokenVerifier;
use crate::http::middleware::rate::RateLimit;

/// Options of routers and listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Origins whose web pages may read responses; empty: only the service's own.
    pub cors_origins: Vec<AllowedOrigin>,
    /// Longest `wait` of a request; a longer one is rejected (400).
    pub wait_max: Duration,
    /// Longest wait for this instance to reach the version of a poll that is ahead of it; then the
    /// response has no changes and the client's own version.
    pub ahead_wait_max: Duration,
    /// Delay before a commit wakes waiting clients, so that several commits share one response.
    pub coalesce_interval: Duration,
    /// Bytes of all responses that clients have not read yet; one beyond it is refused (503).
    pub max_buffered_response_bytes: usize,
    /// Limits and intervals of push clients.
    pub push: PushOptions,
    /// Limits of connections.
    pub server: HttpServerOptions,
    /// Whether the admin routes have a listener of their own and are left out of the main router.
    pub admin_apart: bool,
    /// HTML for the head of the console's page: the demo adds its part with it.
    pub console_head: &'static str,
    /// The verifier of tokens; `None` disables authentication.
    pub authority: Option<TokenVerifier>,
    /// The admin listener requires no token.
    pub admin_open: bool,
}

impl HttpOptions {
    /// The longest wait that the API documents.
    pub const WAIT_MAX: Duration = Duration::from_mins(1);
    /// Wait for a version that another instance returned.
    pub const AHEAD_WAIT_MAX: Duration = Duration::from_secs(5);
    /// Default memory for responses that are not read yet.
    pub const ANSWERS_BYTES_MAX: usize = 256 << 20;
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            wait_max: Self::WAIT_MAX,
            ahead_wait_max: Self::AHEAD_WAIT_MAX,
            coalesce_interval: Duration::ZERO,
            max_buffered_response_bytes: Self::ANSWERS_BYTES_MAX,
            push: PushOptions::default(),
            server: HttpServerOptions::default(),
            admin_apart: false,
            console_head: "",
            authority: None,
            admin_open: true,
        }
    }
}

/// Limits of a listener's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServerOptions {
    /// Open connections; further ones wait in the kernel's queue until one ends.
    pub max_connections: usize,
    /// Time limit for a request's header, from its first byte; for the first request of a connection
    /// from its acceptance, TLS handshake included. Beyond it the connection is closed.
    pub header_timeout: Duration,
    /// Time without a request and without traffic after which a connection is closed.
    pub idle_timeout: Duration,
    /// Bytes of a request's header; a larger one is rejected (431).
    pub max_header_bytes: usize,
    /// Concurrent requests on one HTTP/2 connection; further ones wait.
    pub max_http2_streams: u32,
    /// Request rate of one client; beyond it requests are rejected (429). `None`: unlimited.
    pub rate_limit: Option<RateLimit>,
}

impl HttpServerOptions {
    /// Default limit of open connections.
    pub const MAX_CONNECTIONS: usize = 16_384;
    /// Default time limit for a request's header.
    pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
    /// Longer than the usual 60 s of proxies, so that they, not we, close the connections they keep.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
    /// Enough for a thousand ids in a query.
    pub const MAX_HEADER_BYTES: usize = 64 * 1024;
    /// What browsers and proxies expect at least is 100.
    pub const MAX_HTTP2_STREAMS: u32 = 200;
}

impl Default for HttpServerOptions {
    fn default() -> Self {
        Self {
            max_connections: Self::MAX_CONNECTIONS,
            header_timeout: Self::HEADER_TIMEOUT,
            idle_timeout: Self::IDLE_TIMEOUT,
            max_header_bytes: Self::MAX_HEADER_BYTES,
            max_http2_streams: Self::MAX_HTTP2_STREAMS,
            rate_limit: None,
        }
    }
}

/// Limits and intervals of streams and WebSockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushOptions {
    /// Open streams and WebSockets; a further client is rejected (503).
    pub max_clients: usize,
    /// Interval of a comment (stream) or ping (WebSocket) to a client that is sent nothing else.
    pub heartbeat: Duration,
    /// Time after which a client whose connection accepts no bytes, or that does not answer pings, is
    /// disconnected.
    pub write_max: Duration,
    /// Interval after which an idle push client is sent the current version, so that the version it
    /// reconnects with stays inside the resume window.
    pub progress_interval: Duration,
}

impl PushOptions {
    /// Default limit of open streams and WebSockets.
    pub const CLIENTS_MAX: usize = 10_000;
    /// Shorter than documented (15 s), so that a late timer keeps within it.
    pub const HEARTBEAT: Duration = Duration::from_secs(14);
    /// Default time for a client to accept bytes.
    pub const WRITE_MAX: Duration = Duration::from_secs(30);
    /// A fifth of the default `postgres.resume_window`.
    pub const PROGRESS_INTERVAL: Duration = Duration::from_mins(1);
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            max_clients: Self::CLIENTS_MAX,
            heartbeat: Self::HEARTBEAT,
            write_max: Self::WRITE_MAX,
            progress_interval: Self::PROGRESS_INTERVAL,
        }
    }
}

/// An origin of web pages (`https://app.example`), or every origin (`*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Every origin.
    Any,
    /// This one, as browsers send it.
    Exactly(HeaderValue),
}

/// The text was neither `*` nor an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an origin: write a scheme and a host like https://app.example, \
     without a path or a trailing slash, or * for every origin"
)]
pub struct ParseOriginError(String);

impl FromStr for AllowedOrigin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, ParseOriginError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let refused = || ParseOriginError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused());
        };
        // Comparing with the text itself refuses paths, users and what else an origin hasn't;
        // browsers send lower case only.
        let plain = format!("{scheme}://{authority}");
        if plain != text || text.contains('@') || text != text.to_ascii_lowercase() {
            return Err(refused());
        }
        HeaderValue::from_str(text).map(Self::Exactly).map_err(|_| refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read() {
        assert_eq!("*".parse(), Ok(AllowedOrigin::Any));
        for text in ["https://app.example", "http://localhost:3000", "http://[::1]:80"] {
            let origin = AllowedOrigin::Exactly(HeaderValue::from_static(text));
            assert_eq!(text.parse(), Ok(origin));
        }
    }

    #[test]
    fn what_browsers_never_send_is_refused() {
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://App.example",
            "https://me@app.example",
            "https://*.example ",
            "null",
        ] {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text}");
        }
    }
}
