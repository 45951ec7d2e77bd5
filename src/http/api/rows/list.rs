//! Several rows of a table: those with given ids, or a page of all rows.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::errors::require_cached;
use super::head::{RowsHead, begin};
use super::wait_for_position::wait_for_position;
use super::x_cache::XCache;
use super::{cursor, id};
use crate::http::access::Principal;
use crate::http::api::schemas::{
    NotModified, RowIdSchema, RowSchema, TableProblems, VersionSchema,
};
use crate::http::api::state::AppState;
use crate::http::params::path::{self, TablePath};
use crate::http::params::{RowsParams, RowsSelection};
use crate::http::response::body::body;
use crate::http::response::conditional::{content_etag, etag};
use crate::http::response::problem::Problem;
use crate::http::response::response_budget::BudgetPermit;
use crate::key::Key;
use crate::row::Row;
use crate::store::{Page, ReadRows, Resource, RowOrigin, ScopedResource};
use crate::version::Version;

/// Rows of a table
///
/// With `ids` those rows, all exactly as they were at `version`. Without, a page of all rows of a
/// preloaded table, in key order; `next` is the cursor of the following page. Each page has a version
/// of its own: `/v1/changes` with the first page's version reports what changed in between.
#[utoipa::path(
    get,
    path = "/v1/tables/{table}/rows",
    operation_id = "getRows",
    tag = "rows",
    params(
        TablePath,
        RowsParams,
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "The `ETag` of an earlier response: 304 if the rows are unchanged"),
    ),
    responses(
        (status = 200, description = "The rows", body = RowsBody,
            headers(
                ("Highwater-Version" = String, description = "The response's version"),
                ("ETag" = String, description = "With `ids`: a hash of the rows. Without: the version of the newest change to the table"),
                ("X-Cache" = String, description = "`hit`: all from memory; `miss`: some from the database; `stale`: from memory while the change stream is down"),
                ("Age" = u32, description = "With `stale`: seconds since the last message of the database"),
                ("X-Request-Id" = String, description = "The request's id, as sent or generated"),
            ),
            example = json!({
                "version": "5f3a9c01-0000000001a2b3c8",
                "rows": [{"id": 1, "name": "Assam"}, {"id": 2, "name": "Ceylon"}], "missing": [3],
            })),
        NotModified,
        TableProblems,
    )
)]
pub(crate) async fn rows(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let request = RowsParams::read(head.uri.query().unwrap_or_default(), api.wait_max())?;
    let deadline = request.wait.deadline();
    let caller = Principal::of(&head.extensions);
    api.require_was_ready(&caller)?;
    let name = path::table(head.uri.path())?;
    let scoped = caller.scoped_table(&api.store().directory(), &name, &request.filter)?;
    let columns = &require_cached(&scoped.resource)?.key;
    match request.selection {
        RowsSelection::Ids(ids) => {
            let keys = id::keys(&ids, columns)?;
            wait_for_position(&api, request.wait.at_least, deadline).await?;
            rows_by_id(&api, &scoped, keys, &head.headers, deadline).await
        }
        RowsSelection::Page { limit, cursor } => {
            let after = cursor.map(|cursor| cursor::key(&cursor, columns)).transpose()?;
            wait_for_position(&api, request.wait.at_least, deadline).await?;
            let page = api.store().page(&scoped, after.as_ref(), limit, deadline).await;
            page_response(&api, &caller, &scoped.resource, page?, &head.headers)
        }
    }
}

async fn rows_by_id(
    api: &AppState,
    scoped: &ScopedResource,
    keys: Vec<Key>,
    request: &HeaderMap,
    deadline: Instant,
) -> Result<Response, Problem> {
    let ReadRows { version, rows, origin } =
        api.store().rows(&scoped.resource, &keys, deadline).await?;
    let mut x_cache = XCache::new(origin, api);
    x_cache.count(&scoped.resource);
    let rows: Vec<Option<Row>> =
        rows.into_iter().map(|row| row.filter(|row| scoped.scope.matches(row))).collect();
    // The origin of a missing row would reveal whether there is one that others may see.
    if !scoped.scope.is_all() && rows.iter().any(Option::is_none) {
        x_cache = XCache::Omitted;
    }
    let reserved = api.reserve(rows.iter().flatten().map(|row| row.json().len()).sum())?;
    // A missing row counts as an empty text, which no document is.
    let documents = rows.iter().map(|row| row.as_ref().map_or(b"".as_slice(), Row::json));
    let head = RowsHead { version, etag: content_etag(documents), x_cache };
    Ok(head.into_response(request, || found_and_missing(version, &keys, rows, reserved)))
}

fn found_and_missing(
    version: Version,
    keys: &[Key],
    rows: Vec<Option<Row>>,
    reserved: BudgetPermit,
) -> Body {
    let mut missing = Vec::new();
    for (key, row) in keys.iter().zip(&rows) {
        if row.is_none() {
            comma(!missing.is_empty(), &mut missing);
            key.write_json(&mut missing);
        }
    }
    array(version, rows.into_iter().flatten(), reserved, move |out| {
        out.extend_from_slice(br#","missing":["#);
        out.extend_from_slice(&missing);
        out.push(b']');
    })
}

fn page_response(
    api: &AppState,
    caller: &Principal,
    table: &Resource,
    page: Page,
    request: &HeaderMap,
) -> Result<Response, Problem> {
    let Page { version, newest, rows, more } = page;
    let reserved = api.reserve(rows.iter().map(|(_, row)| row.json().len()).sum())?;
    let x_cache = XCache::new(RowOrigin::Memory, api);
    x_cache.count(table);
    let next = rows.last().filter(|_| more).map(|(key, _)| cursor::after(key));
    let head = RowsHead { version, etag: etag(newest, caller), x_cache };
    Ok(head.into_response(request, || {
        array(version, rows.into_iter().map(|(_, row)| row), reserved, move |out| {
            if let Some(next) = next {
                out.extend_from_slice(br#","next":""#);
                out.extend_from_slice(next.as_bytes());
                out.push(b'"');
            }
        })
    }))
}

/// A body of `{"version":…,"rows":[…]`, what `finish` appends, and `}`. Its reservation is released
/// when it has been read.
fn array(
    version: Version,
    rows: impl Iterator<Item = Row> + Send + 'static,
    reserved: BudgetPermit,
    finish: impl FnOnce(&mut Vec<u8>) + Send + 'static,
) -> Body {
    let mut rows = rows.enumerate();
    let mut finish = Some(finish);
    let mut begun = false;
    body(move |out| {
        let _reserved = &reserved;
        if !std::mem::replace(&mut begun, true) {
            begin(version, out);
            out.extend_from_slice(br#","rows":["#);
        }
        if let Some((place, row)) = rows.next() {
            comma(place > 0, out);
            out.extend_from_slice(row.json());
            return true;
        }
        out.push(b']');
        if let Some(finish) = finish.take() {
            finish(out);
        }
        out.push(b'}');
        false
    })
}

fn comma(follows: bool, out: &mut Vec<u8>) {
    if follows {
        out.push(b',');
    }
}

/// Rows of a table.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what `array` writes")]
pub(crate) struct RowsBody {
    /// All rows are exactly as they were at this version.
    #[schema(value_type = VersionSchema)]
    version: String,
    /// The documents: in the order of `ids`, or in key order.
    #[schema(value_type = Vec<RowSchema>)]
    rows: (),
    /// With `ids`: those without a row.
    #[schema(value_type = Vec<RowIdSchema>, required = false)]
    missing: (),
    /// Without `ids`, where more rows follow: the `cursor` of the next page.
    #[schema(required = false)]
    next: String,
}
