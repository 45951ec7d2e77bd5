//! `/livez` and `/readyz`: for load balancers and orchestrators.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::{Api, reason};
use super::openapi::{InternalProblem, NotReadyProblem};
use super::problem::Problem;
use crate::source::Phase;

/// That it is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `alive` or `ready`.
    #[schema(example = "ready")]
    status: &'static str,
}

/// The process answers
///
/// 200 as long as the process answers at all, whatever the database does.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "operations",
    responses(
        (status = 200, description = "It does", body = Health, example = json!({"status": "alive"})),
        InternalProblem,
    )
)]
pub(crate) async fn live() -> Response {
    well("alive")
}

/// The stream is caught up
///
/// 200 only while the replication stream is connected and has caught up to where the server was
/// when it connected. Polls are answered from memory also when this says 503 later on.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "It is", body = Health, example = json!({"status": "ready"})),
        NotReadyProblem,
        InternalProblem,
    )
)]
pub(crate) async fn ready(State(api): State<Api>) -> Result<Response, Problem> {
    if api.store().is_closed() {
        return Err(Problem::not_ready("shutting down"));
    }
    match api.source().phase {
        Phase::Streaming => Ok(well("ready")),
        phase => Err(Problem::not_ready(reason(&phase))),
    }
}

fn well(status: &'static str) -> Response {
    let mut response = Json(Health { status }).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
