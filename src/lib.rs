//! Highwater tells applications which rows of their PostgreSQL database changed.

pub mod app;
pub mod change;
pub mod cli;
pub mod config;
pub mod database;
pub mod http;
pub mod key;
pub mod lsn;
pub mod metrics;
pub mod pgoutput;
pub mod render;
pub mod replication;
pub mod source;
pub mod store;
pub mod table;
pub mod throwaway;
pub mod version;
pub mod wire;
