//! The HTTP API.
//!
//! A request passes through: [`server`] (listeners, connections, TLS, timeouts) → [`middleware`] (request
//! id, metrics, problem bodies, authentication, rate limit, compression) → a handler ([`api`], one file
//! for each endpoint; [`console`]). A poll continues: [`params`] (parse the request) → [`api::poll`]
//! (evaluate, wait, evaluate again; [`response::conditional`] for 304) → [`response::response_cache`] (one
//! response for all equal requests) → [`response::changes_body`] (JSON) and
//! [`response::encoded_response`] (encodings). [`api::push`] repeats that on one connection. Rows take
//! their own path ([`api::rows`]).
//!
//! An endpoint is described once: the handler's `#[utoipa::path]` and its struct of parameters, which
//! both parses the query and describes it, and one line in [`api::endpoints`] with its access class.
//!
//! Invariants:
//! - Every error is a [problem](response::problem), also for unknown paths, other methods and panics.
//!   Internals stay in the log. (Only a request that hyper rejects before it is complete, a head that is
//!   malformed or too large, gets a status without a body.)
//! - No response claims more than the store had applied when it was evaluated ([`api::poll`]).
//! - The matched route determines who may call it, in one place ([`middleware::auth_layer`]); which
//!   tables a caller may read is decided where names become tables, in one place ([`access`]).
//! - Errors and resets are `no-store`; everything else that may be stored must be revalidated
//!   (`no-cache`).
//! - A request waits only in [`api::poll`], at most `wait_max` plus 10 s, or for [rows](api::rows), at
//!   most `wait_max`; and waits for changes and positions end when the store is closed. So handlers need
//!   no timeout.
//! - A client that only waits has no buffer ([`server`]).
//! - There are no queues: a push client has at most one message in flight.
//! - What a response costs while a client reads it slowly is bytes shared with others
//!   ([`response::encoded_response`]), or a chunk and references to rows ([`response::body`]); all of them
//!   together are bounded ([`response::response_budget`]).
//! - A web page can't change anything: every method but `GET` rejects requests with an `Origin`
//!   ([`api::reload`]).
//!
//! Deliberately absent: PostgreSQL. The state of the source arrives as a snapshot
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

pub use api::document::openapi_json;
pub use api::router::{admin_router, router};
pub use middleware::rate::RateLimit;
pub use options::{AllowedOrigin, HttpOptions, HttpServerOptions, ParseOriginError, PushOptions};
pub use server::serve::{ListenerConfig, serve};
pub use server::tls::{Certificates, ReloadOutcome, TlsError, TlsFiles};
