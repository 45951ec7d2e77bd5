//! The layers around every handler: authentication, rate limits, metrics, panics, compression, CORS.

pub(in crate::http) mod auth_layer;
pub(in crate::http) mod catch_panic;
pub(in crate::http) mod compress;
pub(in crate::http) mod cors;
pub(in crate::http) mod observe;
pub(in crate::http) mod rate;
pub(in crate::http) mod request_id;
