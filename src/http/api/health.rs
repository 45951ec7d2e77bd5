//! `/livez` and `/readyz`: for load balancers and orchestrators.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::access::Principal;
use crate::http::api::documented::{InternalProblem, NotReadyProblem};
use crate::http::api::state::{AppState, reason};
use crate::http::response::problem::Problem;
use crate::source_status::Phase;
use crate::store::{RowsState, RowsStatus};

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
/// when it connected, and all tables that are to be preloaded are. Polls are answered from memory
/// also when this says 503 later on, and before preloads are complete.
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
pub(crate) async fn ready(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = Principal::of(request.extensions());
    if api.store().is_closed() {
        return Err(Problem::not_ready("shutting down"));
    }
    match api.source().phase {
        Phase::Streaming => {}
        phase => return Err(Problem::not_ready(reason(&phase, &caller))),
    }
    let loading: Vec<String> = api.store().rows_status().iter().filter_map(loading).collect();
    if loading.is_empty() {
        return Ok(well("ready"));
    }
    if !caller.is_operator() {
        return Err(Problem::not_ready("preloading tables"));
    }
    Err(Problem::not_ready(format!("preloading {}", loading.join(", "))))
}

/// How far a table's preload is, while one is on its way. One that is refused is not waited for:
/// it would keep everything else from being served, and `/v1/status` tells of it.
fn loading(status: &RowsStatus) -> Option<String> {
    match status.state {
        RowsState::Loading { rows, estimate } => {
            let (rows, estimate) = (grouped(rows), grouped(estimate));
            Some(format!("{} ({rows} of about {estimate} rows)", status.table))
        }
        _ => None,
    }
}

/// A number with a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn well(status: &'static str) -> Response {
    let mut response = Json(Health { status }).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_groups_of_three_digits() {
        let shown = [0, 7, 999, 1_000, 12_345, 123_456, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "123,456", "1,234,567"]);
    }
}
