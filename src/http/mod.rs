//! The HTTP API: what clients ask and how they are answered.
//!
//! A request's way: [`server`] (connections; [`tls`], [`pace`], [`http1`]) → [`observe`] (id, metrics,
//! problem bodies) → [`gate`] (who asks, and may they) → a handler ([`changes`], [`rows`], [`health`],
//! [`status`], [`metrics_page`], [`openapi`], [`reload`], [`console`]). A poll goes on: [`query`] (what
//! is asked) → [`poll`] (look, wait, look again; [`conditional`] for 304) → [`shared`] (made once for
//! all who ask the same) → [`answer`] (bytes), [`told`] (in which form). [`push`] does the same again
//! and again on one connection. Rows go a way of their own, see there.
//!
//! Invariants:
//! - Every error is a [`problem`], also for paths that aren't there, methods that aren't offered,
//!   and panics. Internals stay in the log. (Only what hyper refuses before there is a request, a
//!   head that is malformed or too large, has a status and no body.)
//! - No answer claims more than the store had applied when it was looked at ([`poll`]).
//! - Who may ask is decided by the route that was found, in one place ([`gate`]); which tables they
//!   may ask about where names become tables, in one place ([`access`]).
//! - Errors and resets are `no-store`; what may be kept must be revalidated (`no-cache`).
//! - A request waits only in [`poll`], at most `wait_max` plus 10 s, or for [`rows`], at most
//!   `wait_max`; and waits for changes and positions end when the store is closed. So there is no
//!   time limit around handlers.
//! - A client that only waits has no buffer ([`http1`]).
//! - Nobody is queued for: a client that is pushed to has at most one answer under way.
//! - What an answer costs while a client reads it slowly is bytes shared with others ([`told`]), or
//!   a chunk and handles to rows ([`body`]); all of them together are bounded ([`room`]).
//! - A web page can't change anything: what is no `GET` refuses requests with an `AllowedOrigin`
//!   ([`reload`]).
//!
//! Deliberately absent: PostgreSQL. What is known of the source comes as a picture
//! ([`crate::source_status::SourceStatus`]).

mod access;
mod api;
mod console;
mod middleware;
mod options;
mod params;
mod response;
mod server;

#[cfg(test)]
mod tests;

pub use api::router::{admin_router, router};
pub use middleware::rate::RateLimit;
pub use options::{AllowedOrigin, HttpOptions, HttpServerOptions, ParseOriginError, PushOptions};
pub use server::serve::{ListenerConfig, serve};
pub use server::tls::{Certificates, ReloadOutcome, TlsError, TlsFiles};
