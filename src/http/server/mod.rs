//! Listeners and connections: accepting, TLS, timeouts, connections taken back from hyper.

pub(in crate::http) mod chunked_writer;
pub(in crate::http) mod connection;
pub(in crate::http) mod detach;
pub(in crate::http) mod reclaimable_io;
pub(in crate::http) mod serve;
pub(in crate::http) mod timeouts;
pub(in crate::http) mod tls;
