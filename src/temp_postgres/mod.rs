//! A private, temporary PostgreSQL: for `highwater demo` and for the tests.
//!
//! [`Installation`] finds the server programs on this machine, [`fetch()`] downloads them into the
//! user's cache where there are none, [`TempPostgres`] runs a cluster of its own in a temporary
//! directory. No existing server or system package is touched, and nothing is left behind: even
//! when this process is killed, a `watchdog` process stops the server and deletes its files.
//!
//! Everything blocks; asynchronous callers use a thread for blocking work.

mod cluster;
mod error;
mod fetch;
mod installation;
mod port;
mod server;
mod server_user;
mod watchdog;

pub use error::TempPostgresError;
pub use fetch::{ProgressReporter, cache_directory, fetch, find_or_fetch};
pub use installation::{FindOptions, Installation};
pub use server::{ShutdownMode, TempPostgres, TempPostgresOptions};
pub use server_user::ServerUser;
