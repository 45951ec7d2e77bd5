//! The HTTP API: what clients ask and how they are answered.
//!
//! A request's way: [`server`] (connections) → [`observe`] (id, metrics, problem bodies) →
//! a handler ([`changes`], [`health`], [`status`], [`metrics_page`], [`openapi`]). A poll goes on:
//! [`query`] (what is asked) → [`poll`] (look, wait, look again; [`conditional`] for 304) →
//! [`answer`] (bytes).
//!
//! Invariants:
//! - Every error is a [`problem`], also for paths that aren't there, methods that aren't offered,
//!   and panics. Internals stay in the log. (Only what hyper refuses before there is a request, a
//!   head that is malformed or too large, has a status and no body.)
//! - No answer claims more than the store had applied when it was looked at ([`poll`]).
//! - Errors and resets are `no-store`; what may be kept must be revalidated (`no-cache`).
//! - A request waits only in [`poll`], at most `wait_max` plus 5 s, and all waits end when the
//!   store is closed: so there is no time limit around handlers.
//!
//! Deliberately absent: PostgreSQL. What is known of the source comes as a picture
//! ([`crate::source::SourceStatus`]).

mod answer;
mod api;
mod changes;
mod conditional;
mod cors;
mod health;
mod metrics_page;
mod observe;
mod openapi;
mod openmetrics;
mod options;
mod poll;
mod problem;
mod query;
mod request_id;
mod router;
mod routes;
mod server;
mod status;
#[cfg(test)]
mod tests;

pub use options::{HttpOptions, Origin, ParseOriginError};
pub use router::{admin_router, router};
pub use server::serve;
