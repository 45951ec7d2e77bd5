//! Listeners and connections: accepting, TLS, timeouts, connections taken back from hyper.

pub(in crate::http) mod connection;
pub(in crate::http) mod detach;
pub(in crate::http) mod poll_on_wake;
pub(in crate::http) mod serve;
pub(in crate::http) mod timeouts;
pub(in crate::http) mod tls;
