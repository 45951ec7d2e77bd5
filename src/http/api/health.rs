//! `/livez` and `/readyz`: probes for load balancers and orchestrators.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::access::Principal;
use crate::http::api::schemas::UnavailableProblem;
use crate::http::api::state::{AppState, reason};
use crate::http::response::problem::Problem;
use crate::source_status::Phase;
use crate::store::{RowsState, RowsStatus};

/// The body of a successful probe.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `alive` or `ready`.
    #[schema(example = "ready")]
    status: &'static str,
}

/// Liveness
///
/// 200 as long as the process responds, whatever the state of the database.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "getLiveness",
    tag = "operations",
    responses(
        (status = 200, description = "The process responds", body = Health, example = json!({"status": "alive"})),
    )
)]
pub(crate) async fn live() -> Response {
    healthy("alive")
}

/// Readiness
///
/// 200 while the replication stream is connected and has caught up to the server's position at the
/// time of connecting, and every table with `rows = "preload"` is loaded. Polls are answered from
/// memory also while this returns 503 later on, and before preloads are complete.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    tag = "operations",
    responses(
        (status = 200, description = "The service is ready", body = Health, example = json!({"status": "ready"})),
        UnavailableProblem,
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
    let loading: Vec<String> =
        api.store().rows_status().iter().filter_map(preload_progress).collect();
    if loading.is_empty() {
        return Ok(healthy("ready"));
    }
    if !caller.is_admin() {
        return Err(Problem::not_ready("preloading tables"));
    }
    Err(Problem::not_ready(format!("preloading {}", loading.join(", "))))
}

/// The progress of a table's preload, while one is running. A preload that can't run does not count:
/// it would keep the service from becoming ready for all other tables; `/v1/status` reports it.
fn preload_progress(status: &RowsStatus) -> Option<String> {
    match status.state {
        RowsState::Loading { rows, estimate } => {
            let (rows, estimate) = (grouped(rows), grouped(estimate));
            Some(format!("{} ({rows} of about {estimate} rows)", status.table))
        }
        _ => None,
    }
}

/// A number with commas between groups of three digits.
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

fn healthy(status: &'static str) -> Response {
    let mut response = Json(Health { status }).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        let shown = [0, 7, 999, 1_000, 12_345, 123_456, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "123,456", "1,234,567"]);
    }
}
