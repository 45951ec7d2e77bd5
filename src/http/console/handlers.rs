//! The handlers of the console.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use crate::http::api::state::AppState;
use crate::http::response::problem::{Problem, ProblemType};

pub(crate) async fn page(State(api): State<AppState>, headers: HeaderMap) -> Response {
    api.console().page().respond(&headers)
}

pub(crate) async fn file(
    State(api): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let unknown =
        || Problem::new(ProblemType::UnknownRoute, "the console has no file with this name");
    let file = api.console().file(&name).ok_or_else(unknown)?;
    Ok(file.respond(&headers))
}
