//! Rows, straight from memory.
//!
//! A request's way: its query ([`super::query`]) → [`reach`] (is what the client saw there?) → the
//! store, asked by keys that [`id`] reads from text → [`answer`] (the head that all have in common)
//! and a body: the row's own bytes, or rows between commas written as the client reads
//! ([`super::body`]). What can't be had is a problem by [`refusal`].

mod answer;
mod cursor;
mod id;
pub(super) mod list;
mod refusal;
pub(super) mod row;
pub(super) mod store_dump;
mod wait_for_position;
mod x_cache;

pub(in crate::http) use refusal::held;
pub(in crate::http) use x_cache::X_CACHE;

#[cfg(test)]
mod tests;
