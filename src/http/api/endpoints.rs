//! Every endpoint, one line each: the router, the metric labels and the OpenAPI document are made
//! from these lists.

use axum::routing::get;
use utoipa_axum::routes;

use crate::http::api::endpoint::Endpoint;
use crate::http::api::routes::Transport;
use crate::http::api::{
    changes, health, metrics_page, openapi, push, reload, rows, status, verify,
};
use crate::http::console;

/// What applications call, on the main listener.
pub(crate) fn api() -> Vec<Endpoint> {
    vec![
        Endpoint::reader(routes!(changes::changes)),
        Endpoint::reader(routes!(changes::table_changes)),
        Endpoint::reader(routes!(push::stream::stream)).over(Transport::EventStream),
        Endpoint::reader(routes!(push::handshake::socket)).over(Transport::WebSocket),
        Endpoint::reader(routes!(rows::row::row)),
        Endpoint::reader(routes!(rows::list::rows)),
        Endpoint::reader(routes!(rows::store_dump::store)),
        Endpoint::public(routes!(openapi::openapi)),
    ]
}

/// What operators and their programs call: on the admin listener where there is one, else on the
/// main listener.
pub(crate) fn admin() -> Vec<Endpoint> {
    let endpoints = vec![
        Endpoint::public(routes!(health::live)),
        Endpoint::public(routes!(health::ready)),
        Endpoint::admin(routes!(status::status)),
        Endpoint::admin(routes!(metrics_page::metrics)),
        Endpoint::admin(routes!(reload::reload)),
        Endpoint::admin(routes!(verify::verify)),
    ];
    endpoints.into_iter().map(Endpoint::unlimited).collect()
}

/// The console, on every listener. It is a web page, not part of the API nor of its description.
pub(crate) fn console() -> Vec<Endpoint> {
    vec![
        Endpoint::undescribed("/", get(console::page)),
        Endpoint::undescribed("/console/{file}", get(console::file)),
    ]
}
