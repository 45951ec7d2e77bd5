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
mod reach;
mod refusal;
mod served;
pub(super) mod single;
pub(super) mod whole;

pub(super) use refusal::held;
pub(super) use served::X_CACHE;

#[cfg(test)]
mod tests;
