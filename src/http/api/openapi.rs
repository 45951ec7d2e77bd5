//! `/openapi.json`: the API's description, generated from the handlers.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::OpenApi as Description;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::http::api::changes;
use crate::http::api::documented::{
    AdminRequiredProblem, InternalProblem, TokenProblem, TooManyRequestsProblem,
};
use crate::http::api::health;
use crate::http::api::metrics_page;
use crate::http::api::push;
use crate::http::api::reload;
use crate::http::api::routes::{Route, RouteAccess};
use crate::http::api::rows;
use crate::http::api::status;
use crate::http::api::verify;
use crate::http::response::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Highwater",
        description = "Tells applications which rows of their PostgreSQL database changed, and \
            serves rows from memory.\n\n\
            Every answer under `/v1` carries `Highwater-Version`; every answer carries \
            `X-Request-Id`. Errors are problem details (RFC 9457), also 404 for other paths and 405 \
            for other methods. `HEAD` works wherever `GET` \
            does, and bodies are compressed by `Accept-Encoding`.\n\n\
            Where `auth.mode` is `token`, a bearer token says which tables may be read; a table that \
            may not be read is as if it were not there. A socket may bring its token among the \
            protocols it offers: `highwater, bearer.TOKEN`."
    ),
    paths(
        changes::changes,
        changes::table_changes,
        push::stream,
        push::socket,
        rows::row::row,
        rows::list::rows,
        rows::store_dump::store,
        health::live,
        health::ready,
        status::status,
        metrics_page::metrics,
        reload::reload,
        verify::verify,
        openapi,
    ),
    modifiers(&Anywhere, &Tokens),
    tags(
        (name = "changes", description = "What changed since a version"),
        (name = "push", description = "The same without asking again"),
        (name = "rows", description = "The rows themselves, of tables whose rows are held in memory"),
        (name = "operations", description = "For those who run the service; on a listener of \
            their own where `http.admin_listen` is set"),
    )
)]
struct Document;

/// What may happen on every route of the API, before its handler is reached.
struct Anywhere;

impl Modify for Anywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for route in Route::API {
            let path = document.paths.paths.get_mut(route.pattern());
            if let Some(operation) = path.and_then(|path| path.get.as_mut()) {
                operation.responses.responses.extend(TooManyRequestsProblem::responses());
            }
        }
    }
}

/// Adds what every route of one audience has in common.
struct Tokens;

/// The name of the way tokens are sent.
const BEARER: &str = "bearer";

impl Modify for Tokens {
    fn modify(&self, document: &mut Description) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A static token, or a JWT"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
        for route in [&Route::API[..], &Route::ADMIN].concat() {
            let Some(path) = document.paths.paths.get_mut(route.pattern()) else { continue };
            for operation in [&mut path.get, &mut path.post].into_iter().flatten() {
                guard(operation, route.audience());
            }
        }
    }
}

fn guard(operation: &mut Operation, audience: RouteAccess) {
    if audience == RouteAccess::Everybody {
        return;
    }
    // None is needed where nobody is asked.
    let token = SecurityRequirement::new(BEARER, [] as [&str; 0]);
    operation.security = Some(vec![token, SecurityRequirement::default()]);
    let mut answers: Vec<_> = TokenProblem::responses().into_iter().collect();
    if audience == RouteAccess::Admin {
        answers.extend(AdminRequiredProblem::responses());
    }
    for (status, answer) in answers {
        operation.responses.responses.entry(status).or_insert(answer);
    }
}

/// The document, made once.
static JSON: LazyLock<Result<Bytes, String>> = LazyLock::new(|| {
    Document::openapi().to_json().map(Bytes::from).map_err(|error| error.to_string())
});

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses(
        (status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value),
        InternalProblem,
    )
)]
pub(crate) async fn openapi() -> Result<Response, Problem> {
    let json = JSON.clone().map_err(Problem::internal)?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, json).into_response())
}
