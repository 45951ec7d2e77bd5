//! Rows from memory.
//!
//! A request passes through: its parameters ([`crate::http::params`]) → [`wait_for_position`] (wait for
//! `at_least`) → the store, with the keys that [`id`] reads → [`head`] (the head that all responses
//! share) and a body: the row's own bytes, or several rows written as the client reads
//! ([`crate::http::response::body`]). [`errors`] turns the store's errors into problems.

mod cursor;
mod errors;
mod head;
mod id;
pub(super) mod list;
pub(super) mod row;
pub(super) mod store_dump;
mod wait_for_position;
mod x_cache;

pub(in crate::http) use errors::require_cached;
pub(in crate::http) use x_cache::X_CACHE;

#[cfg(test)]
mod tests;
