//! The OpenAPI document, put together from the endpoints' descriptions.
//!
//! An endpoint describes its parameters, its successful responses and the problems of its own.
//! What follows from its access class is added here: the bearer token, 401, 403, 429 and 500.

use std::sync::LazyLock;

use axum::body::Bytes;
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{OpenApi, PartialSchema};

use crate::http::api::endpoint::{Endpoint, EndpointDescription};
use crate::http::api::endpoints;
use crate::http::api::routes::RouteAccess;
use crate::http::response::problem::ProblemBody;
use crate::http::response::problem_schema::{problem_responses, references};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Highwater",
        description = "Reports which rows of a PostgreSQL database changed, and serves rows from memory.\n\n\
            Every response under `/v1` carries `Highwater-Version`; every response carries \
            `X-Request-Id`. Errors are problem details (RFC 9457), also 404 for unknown paths and 405 \
            for other methods. `HEAD` works wherever `GET` does, and bodies are compressed according to \
            `Accept-Encoding`.\n\n\
            Where `auth.mode` is `token`, a bearer token determines which tables the caller may read; \
            a table outside the grant is reported as unknown. A WebSocket client may send its token \
            as a subprotocol: `highwater, bearer.TOKEN`."
    ),
    tags(
        (name = "changes", description = "Changes since a version"),
        (name = "push", description = "Changes as they are committed"),
        (name = "rows", description = "Rows from memory, of tables with `rows = \"lazy\"` or `\"preload\"`"),
        (name = "operations", description = "Health, status, metrics and admin commands; on a listener \
            of their own where `http.admin_listen` is set"),
    )
)]
struct BaseDocument;

/// The name of the security scheme.
const BEARER: &str = "bearer";

/// The document of every endpoint, as JSON. It depends on nothing but the code, so it is made once.
pub(crate) static OPENAPI_JSON: LazyLock<Bytes> = LazyLock::new(|| {
    // Maps with string keys: serialising them can't fail.
    document().to_json().unwrap_or_default().into()
});

/// The OpenAPI document as JSON, as `/openapi.json` returns it.
pub fn openapi_json() -> &'static [u8] {
    &OPENAPI_JSON
}

fn document() -> OpenApiDocument {
    let mut document = BaseDocument::openapi();
    let components = document.components.get_or_insert_default();
    components.responses.extend(problem_responses());
    components.schemas.insert("Problem".into(), ProblemBody::schema());
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A static token or a JWT"))
        .build();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    for endpoint in endpoints::api().iter().chain(&endpoints::admin()) {
        let Some(EndpointDescription { mut item, schemas }) = endpoint.description().cloned()
        else {
            continue;
        };
        components.schemas.extend(schemas);
        EndpointDescription::operations_mut(&mut item)
            .for_each(|operation| add_common(endpoint, operation));
        document.paths.paths.insert(endpoint.pattern.clone(), item);
    }
    document
}

/// Adds what every operation of an access class has in common.
fn add_common(endpoint: &Endpoint, operation: &mut Operation) {
    let mut statuses = vec![500];
    if endpoint.route.is_rate_limited {
        statuses.push(429);
    }
    match endpoint.route.access {
        RouteAccess::Public => {}
        RouteAccess::Reader => statuses.push(401),
        RouteAccess::Admin => statuses.extend([401, 403]),
    }
    operation.responses.responses.extend(references(&statuses));
    if endpoint.route.access != RouteAccess::Public {
        // The empty alternative: without authentication no token is needed.
        let token = SecurityRequirement::new(BEARER, [] as [&str; 0]);
        operation.security = Some(vec![token, SecurityRequirement::default()]);
    }
}
