//! The endpoints, one file each; [`endpoints`] registers them, [`router`] puts them together.

pub(in crate::http) mod changes;
pub(in crate::http) mod document;
pub(in crate::http) mod endpoint;
pub(in crate::http) mod endpoints;
pub(in crate::http) mod health;
pub(in crate::http) mod metrics_page;
pub(in crate::http) mod openapi;
pub(in crate::http) mod poll;
pub(in crate::http) mod push;
pub(in crate::http) mod reload;
pub(in crate::http) mod router;
pub(in crate::http) mod routes;
pub(in crate::http) mod rows;
pub(in crate::http) mod schemas;
pub(in crate::http) mod state;
pub(in crate::http) mod status;
pub(in crate::http) mod verify;
