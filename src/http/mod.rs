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
//! - A web page can't change anything: what is no `GET` refuses requests with an `Origin`
//!   ([`reload`]).
//!
//! Deliberately absent: PostgreSQL. What is known of the source comes as a picture
//! ([`crate::source::SourceStatus`]).

mod access;
mod answer;
mod api;
mod body;
mod changes;
mod compress;
mod conditional;
mod connection;
mod console;
mod cors;
mod documented;
mod encoding;
mod gate;
mod health;
mod http1;
mod lent;
mod metrics_page;
mod observe;
mod openapi;
mod openmetrics;
mod options;
mod pace;
mod path;
mod poll;
mod pour;
mod problem;
mod push;
mod quality;
mod query;
mod rate;
mod reload;
mod request_id;
mod room;
mod router;
mod routes;
mod rows;
mod server;
mod shared;
mod status;
#[cfg(test)]
mod tests;
mod tls;
mod told;
mod verify;

pub use options::{HttpOptions, Origin, ParseOriginError, PushOptions, ServerOptions};
pub use rate::RateLimit;
pub use router::{admin_router, router};
pub use server::{Offer, serve};
pub use tls::{Certificates, Look, TlsError, TlsFiles};
