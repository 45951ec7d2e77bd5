//! Rows, straight from memory.
//!
//! A request's way: its query ([`super::query`]) → [`reach`] (is what the client saw there?) → the
//! store, asked by keys that [`id`] reads from text → [`answer`] (the head that all have in common)
//! and a body: the row's own bytes, or rows between commas written as the client reads
//! ([`super::body`]). What can't be had is a problem by [`refusal`].

mod answer;
mod cursor;
mod id;
mod list;
mod reach;
mod refusal;
mod served;
mod single;
mod whole;

pub(crate) use list::rows;
pub(crate) use refusal::{held, refused};
pub(crate) use served::X_CACHE;
pub(crate) use single::row;
pub(crate) use whole::store;

// For the OpenAPI document: the handlers' descriptions.
pub(crate) use list::__path_rows;
pub(crate) use single::__path_row;
pub(crate) use whole::__path_store;
