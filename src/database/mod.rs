//! Ordinary SQL sessions: the readiness checks, the setup of database objects, and the loader of rows.

pub mod checks;
mod connect;
pub mod loader;
mod query;
pub mod setup;
pub mod sql;

pub use connect::connect;
pub use query::QueryError;
