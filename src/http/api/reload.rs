//! `POST /admin/reload`: drops cached rows and reads them again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::access::Principal;
use crate::http::api::schemas::AdminProblems;
use crate::http::api::state::AppState;
use crate::http::params::{AdminParams, AdminTables};
use crate::http::response::problem::{Problem, ProblemType};
use crate::store::Resource;

/// The response to a reload.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReloadReport {
    /// Names of the tables whose reload has started.
    #[schema(example = json!(["items"]))]
    reloading: Vec<String>,
}

/// Reload the rows of a table
///
/// Drops the table's cached rows and reads them again; every client gets a reset of the table. A
/// preloaded table is served from its old copy until the new one is complete. Requests with an
/// `Origin` header are rejected: a page of another site could send them without reading the
/// response.
#[utoipa::path(
    post,
    path = "/admin/reload",
    operation_id = "reloadRows",
    tag = "operations",
    params(AdminParams),
    responses(
        (status = 202, description = "The reload has started", body = ReloadReport, example = json!({"reloading": ["items"]})),
        AdminProblems,
    )
)]
pub(crate) async fn reload(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    reject_cross_origin(request.headers())?;
    let selected = AdminParams::read(request.uri().query().unwrap_or_default())?;
    api.require_was_ready(&Principal::Unrestricted)?;
    let tables = selected_tables(&api, selected)?;
    api.store().reload(&tables);
    let report = ReloadReport { reloading: tables.iter().map(|t| t.name.clone()).collect() };
    tracing::info!(tables = ?report.reloading, "reload requested");
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::ACCEPTED, headers, Json(report)).into_response())
}

/// Rejects requests of web pages. A browser sends a simple `POST` to any site before it checks CORS,
/// so an `Origin` of our own is rejected, too: by its address alone it can't be trusted.
pub(crate) fn reject_cross_origin(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemType::CrossOriginForbidden,
        "web pages can't send this request: send it from a program, as curl -X POST does",
    ))
}

/// The tables that an admin command applies to.
pub(crate) fn selected_tables(
    api: &AppState,
    selected: AdminTables,
) -> Result<Vec<Arc<Resource>>, Problem> {
    let directory = api.store().directory();
    Ok(match selected {
        AdminTables::Named(name) => vec![Principal::Unrestricted.table(&directory, &name)?.table],
        AdminTables::All => directory.resources().to_vec(),
    })
}
