//! Ordinary SQL over tokio-postgres: what is asked of the database, and what is set up in it.

pub mod checks;
mod connect;
mod query;
pub mod setup;
pub mod sql;

pub use connect::connect;
pub use query::QueryError;
