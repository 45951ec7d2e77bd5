//! Ordinary SQL: what is asked of the database, and what is set up in it.

pub mod checks;
mod query;
pub mod setup;
pub mod sql;

pub use query::QueryError;
