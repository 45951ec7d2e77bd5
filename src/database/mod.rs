//! Ordinary SQL over tokio-postgres.

mod connect;

pub use connect::connect;
