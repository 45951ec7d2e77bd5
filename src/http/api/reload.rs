//! `POST /admin/reload`: rows are dropped and read again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::access::Principal;
use crate::http::api::documented::{
    FromAPageProblem, InternalProblem, InvalidProblem, NotReadyProblem, UnknownTableProblem,
};
use crate::http::api::state::AppState;
use crate::http::params::AdminQuery;
use crate::http::response::problem::{Problem, ProblemType};
use crate::store::Resource;

/// What has begun.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReloadReport {
    /// The tables.
    #[schema(example = json!(["items"]))]
    reloading: Vec<String>,
}

/// Read a table again
///
/// Drops the table's rows from memory and reads them again; every client gets a reset of it. A
/// preloaded table goes on being served until the new copy takes its place. Requests that come
/// from web pages (they have an `Origin`) are refused: a page of another site can't be told from
/// one of yours by its address alone, and needs no answer to do harm.
#[utoipa::path(
    post,
    path = "/admin/reload",
    tag = "operations",
    params(
        ("table" = String, Query, description = "The table's name; `all` for every table", example = "items"),
    ),
    responses(
        (status = 202, description = "It has begun", body = ReloadReport, example = json!({"reloading": ["items"]})),
        InvalidProblem,
        FromAPageProblem,
        UnknownTableProblem,
        NotReadyProblem,
        InternalProblem,
    )
)]
pub(crate) async fn reload(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    refuse_pages(request.headers())?;
    let query = AdminQuery::read(request.uri().query().unwrap_or_default())?;
    api.require_was_ready(&Principal::Unrestricted)?;
    let tables = named_tables(&api, query)?;
    api.store().reload(&tables);
    let reloading = ReloadReport { reloading: tables.iter().map(|t| t.name.clone()).collect() };
    tracing::info!(tables = ?reloading.reloading, "reloading, as asked");
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::ACCEPTED, headers, Json(reloading)).into_response())
}

/// What only programs of an operator may ask for.
pub(crate) fn refuse_pages(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemType::FromAPage,
        "web pages can't ask for this: call it from a program, as curl -X POST does",
    ))
}

/// The tables that an operator means.
pub(crate) fn named_tables(
    api: &AppState,
    query: AdminQuery,
) -> Result<Vec<Arc<Resource>>, Problem> {
    Ok(match query.table {
        Some(name) => vec![Principal::Unrestricted.table(&api.store().directory(), &name)?.table],
        None => api.store().directory().resources().to_vec(),
    })
}
