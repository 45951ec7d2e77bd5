//! Highwater tells applications which rows of their PostgreSQL database changed.

pub mod change;
pub mod http;
pub mod key;
pub mod lsn;
pub mod metrics;
pub mod source;
pub mod store;
pub mod table;
pub mod version;
