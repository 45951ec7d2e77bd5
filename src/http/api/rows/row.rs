//! One row.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use super::answer::Head;
use super::id;
use super::refusal::held;
use super::wait_for_position::reach;
use super::x_cache::XCache;
use crate::http::access::Principal;
use crate::http::api::documented::{
    InternalProblem, InvalidProblem, NoRowsProblem, NotModified, NotReadyProblem, RowsParameters,
};
use crate::http::api::state::AppState;
use crate::http::middleware::observe::{HIGHWATER_VERSION, version_header};
use crate::http::params::RowQuery;
use crate::http::params::path;
use crate::http::response::conditional::content_etag;
use crate::http::response::problem::{Problem, ProblemBody, ProblemType, shown};
use crate::store::{ReadRow, ScopedResource};

/// One row
///
/// The row's document, as `to_jsonb` would write it. It is at least as new as
/// `Highwater-Version` says, and never older than what this instance gave before.
#[utoipa::path(
    get,
    path = "/v1/tables/{table}/rows/{id}",
    tag = "rows",
    params(
        ("table" = String, Path, description = "The table's name, percent-encoded", example = "items"),
        ("id" = String, Path, description = "The text of the row's id, percent-encoded; several key columns are joined with `,` (a `,` inside a value is `%2C`)", example = "7"),
        RowsParameters,
        ("wait" = Option<String>, Query, description = "How long to wait for that, or for the database where the row is not in memory (`500ms`, `30s` or a number of seconds; at most 60s). Default 5s; then 503"),
        ("If-None-Match" = Option<String>, Header, description = "An earlier answer's `ETag`: 304 if the row is still the same"),
    ),
    responses(
        (status = 200, description = "The row", body = serde_json::Value,
            headers(
                ("Highwater-Version" = String, description = "The row is at least as new as this"),
                ("ETag" = String, description = "Names the row's content"),
                ("X-Cache" = String, description = "`hit`: from memory; `miss`: from the database; `stale`: from memory while the change stream is away"),
                ("Age" = u32, description = "With `stale`: seconds since the database was last heard of"),
                ("X-Request-Id" = String, description = "The request's id, as sent or made"),
            ),
            example = json!({"id": 7, "name": "Darjeeling", "price": 4.50})),
        NotModified,
        InvalidProblem,
        (status = 404, description = "There is no such row, or no such table: `type` says which",
            body = ProblemBody<'static>, content_type = "application/problem+json",
            example = json!({
                "type": "urn:highwater:problem:unknown-row", "title": "No such row", "status": 404,
                "detail": "items has no row with the id 8", "request_id": "d5e1",
            })),
        NoRowsProblem,
        NotReadyProblem,
        InternalProblem,
    )
)]
pub(crate) async fn row(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, _) = request.into_parts();
    let query = RowQuery::read(asked.uri.query().unwrap_or_default(), api.wait_max())?;
    let RowQuery { narrowing, patience } = query;
    let until = patience.ends();
    let caller = Principal::of(&asked.extensions);
    api.require_was_ready(&caller)?;
    let name = path::table(asked.uri.path())?;
    let ScopedResource { resource: table, scope } =
        caller.part(&api.store().directory(), &name, &narrowing)?;
    let id = path::row_id(asked.uri.path());
    let key = id::key(id, &held(&table)?.key)?;
    reach(&api, patience.at_least, until).await?;
    let ReadRow { version, row, origin } = api.store().row(&table, &key, until).await?;
    // A row of others is none, in every respect.
    let row = row.filter(|row| scope.matches(row));
    let served = XCache::from(origin, &api);
    served.count(&table);
    let Some(row) = row else {
        let detail =
            format!("{} has no row with the id {}", table.name, shown(&format!("{key:?}")));
        let mut absent = Problem::new(ProblemType::UnknownRow, detail).into_response();
        absent.headers_mut().insert(HIGHWATER_VERSION, version_header(version));
        // Where nothing was found would tell whether there is something that others see.
        if scope.is_all() {
            served.tell(absent.headers_mut());
        }
        return Ok(absent);
    };
    let taken = api.room_for(row.json().len())?;
    let etag = content_etag([row.json()]);
    let head = Head { version, etag, served };
    Ok(head.answer(&asked.headers, || Body::from(taken.keep(Bytes::from_owner(row)))))
}
