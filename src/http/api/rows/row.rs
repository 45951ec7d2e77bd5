//! One row.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use super::errors::require_cached;
use super::head::RowsHead;
use super::id;
use super::wait_for_position::wait_for_position;
use super::x_cache::XCache;
use crate::http::access::Principal;
use crate::http::api::schemas::{NotModified, RowSchema, TableProblems};
use crate::http::api::state::AppState;
use crate::http::middleware::observe::{HIGHWATER_VERSION, version_header};
use crate::http::params::path::{self, RowPath};
use crate::http::params::{RowParams, RowRequest};
use crate::http::response::conditional::content_etag;
use crate::http::response::problem::{Problem, ProblemType, shown};
use crate::store::{ReadRow, ScopedResource};

/// One row
///
/// The row's document, as `to_jsonb` renders it with `TimeZone=UTC`. It is at least as new as
/// `Highwater-Version`, and never older than a document that this instance returned before.
#[utoipa::path(
    get,
    path = "/v1/tables/{table}/rows/{id}",
    operation_id = "getRow",
    tag = "rows",
    params(
        RowPath,
        RowParams,
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "The `ETag` of an earlier response: 304 if the row is unchanged"),
    ),
    responses(
        (status = 200, description = "The row", body = RowSchema,
            headers(
                ("Highwater-Version" = String, description = "The row is at least as new as this version"),
                ("ETag" = String, description = "A hash of the row"),
                ("X-Cache" = String, description = "`hit`: from memory; `miss`: from the database; `stale`: from memory while the change stream is down"),
                ("Age" = u32, description = "With `stale`: seconds since the last message of the database"),
                ("X-Request-Id" = String, description = "The request's id, as sent or generated"),
            ),
            example = json!({"id": 7, "name": "Darjeeling", "price": 4.50})),
        NotModified,
        TableProblems,
    )
)]
pub(crate) async fn row(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let RowRequest { filter, wait } =
        RowParams::read(head.uri.query().unwrap_or_default(), api.wait_max())?;
    let deadline = wait.deadline();
    let caller = Principal::of(&head.extensions);
    api.require_was_ready(&caller)?;
    let name = path::table(head.uri.path())?;
    let ScopedResource { resource: table, scope } =
        caller.scoped_table(&api.store().directory(), &name, &filter)?;
    let id = path::row_id(head.uri.path());
    let key = id::key(id, &require_cached(&table)?.key)?;
    wait_for_position(&api, wait.at_least, deadline).await?;
    let ReadRow { version, row, origin } = api.store().row(&table, &key, deadline).await?;
    // To the caller a row outside its scope does not exist.
    let row = row.filter(|row| scope.matches(row));
    let x_cache = XCache::new(origin, &api);
    x_cache.count(&table);
    let Some(row) = row else {
        let detail =
            format!("{} has no row with the id {}", table.name, shown(&format!("{key:?}")));
        let mut absent = Problem::new(ProblemType::UnknownRow, detail).into_response();
        absent.headers_mut().insert(HIGHWATER_VERSION, version_header(version));
        // The origin would reveal whether there is a row that others may see.
        if scope.is_all() {
            x_cache.write(absent.headers_mut());
        }
        return Ok(absent);
    };
    let reserved = api.reserve(row.json().len())?;
    let etag = content_etag([row.json()]);
    let response_head = RowsHead { version, etag, x_cache };
    Ok(response_head
        .into_response(&head.headers, || Body::from(reserved.keep(Bytes::from_owner(row)))))
}
