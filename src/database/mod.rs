//! Ordinary SQL: what is asked of the database, what is set up in it, and rows read from it.

pub mod checks;
mod connect;
pub mod loader;
mod query;
pub mod setup;
pub mod sql;

pub use connect::connect;
pub use query::QueryError;
