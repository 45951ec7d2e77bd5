//! Some rows of a table: those with given ids, or a page of all.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::answer::{Head, begin};
use super::refusal::held;
use super::wait_for_position::reach;
use super::x_cache::XCache;
use super::{cursor, id};
use crate::http::access::Principal;
use crate::http::api::documented::{NotModified, RowsParameters, TableProblems};
use crate::http::api::state::AppState;
use crate::http::params::path;
use crate::http::params::{RowsParams, RowsQuery};
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
/// preloaded table, in key order; `next` leads on. Pages are each of their own version: what
/// changed in between is told by `/v1/changes` after the first page's.
#[utoipa::path(
    get,
    path = "/v1/tables/{table}/rows",
    tag = "rows",
    params(
        ("table" = String, Path, description = "The table's name, percent-encoded", example = "items"),
        ("ids" = Option<String>, Query, description = "Ids as they stand in the path of a single row, with `,` between, at most 1000. For a key of n columns the list is read n values at a time. Each is answered as often as it is asked for", example = "1,2,3"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10_000, description = "Rows per page; default 1000. Not with `ids`"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before. Not with `ids`"),
        RowsParameters,
        ("wait" = Option<String>, Query, description = "How long to wait for that, or for the database where rows are not in memory (`500ms`, `30s` or a number of seconds; at most 60s). Default 5s; then 503"),
        ("If-None-Match" = Option<String>, Header, description = "An earlier answer's `ETag`: 304 if the rows are still the same"),
    ),
    responses(
        (status = 200, description = "The rows", body = RowsAnswer,
            headers(
                ("Highwater-Version" = String, description = "The answer's version"),
                ("ETag" = String, description = "With `ids`: names the rows' content. Without: the version of the newest change to the table"),
                ("X-Cache" = String, description = "`hit`: all from memory; `miss`: some from the database; `stale`: from memory while the change stream is away"),
                ("Age" = u32, description = "With `stale`: seconds since the database was last heard of"),
                ("X-Request-Id" = String, description = "The request's id, as sent or made"),
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
    let (asked, _) = request.into_parts();
    let query = RowsQuery::read(asked.uri.query().unwrap_or_default(), api.wait_max())?;
    let until = query.patience.ends();
    let caller = Principal::of(&asked.extensions);
    api.require_was_ready(&caller)?;
    let name = path::table(asked.uri.path())?;
    let part = caller.part(&api.store().directory(), &name, &query.narrowing)?;
    let columns = &held(&part.resource)?.key;
    match query.wanted {
        RowsParams::Ids(ids) => {
            let keys = id::keys(&ids, columns)?;
            reach(&api, query.patience.at_least, until).await?;
            by_id(&api, &part, keys, &asked.headers, until).await
        }
        RowsParams::Page { limit, cursor } => {
            let after = cursor.map(|cursor| cursor::key(&cursor, columns)).transpose()?;
            reach(&api, query.patience.at_least, until).await?;
            let page = api.store().page(&part, after.as_ref(), limit, until).await;
            answer_page(&api, &caller, &part.resource, page?, &asked.headers)
        }
    }
}

async fn by_id(
    api: &AppState,
    part: &ScopedResource,
    keys: Vec<Key>,
    asked: &HeaderMap,
    until: Instant,
) -> Result<Response, Problem> {
    let ReadRows { version, rows, origin } = api.store().rows(&part.resource, &keys, until).await?;
    let mut served = XCache::from(origin, api);
    served.count(&part.resource);
    let rows: Vec<Option<Row>> =
        rows.into_iter().map(|row| row.filter(|row| part.scope.matches(row))).collect();
    // Where it was looked for would tell whether there is something that others see.
    if !part.scope.is_all() && rows.iter().any(Option::is_none) {
        served = XCache::Omitted;
    }
    let taken = api.room_for(rows.iter().flatten().map(|row| row.json().len()).sum())?;
    // An absent row counts, and is told from an empty document.
    let documents = rows.iter().map(|row| row.as_ref().map_or(b"".as_slice(), Row::json));
    let head = Head { version, etag: content_etag(documents), served };
    Ok(head.answer(asked, || found_and_missing(version, &keys, rows, taken)))
}

fn found_and_missing(
    version: Version,
    keys: &[Key],
    rows: Vec<Option<Row>>,
    taken: BudgetPermit,
) -> Body {
    let mut missing = Vec::new();
    for (key, row) in keys.iter().zip(&rows) {
        if row.is_none() {
            comma(!missing.is_empty(), &mut missing);
            key.write_json(&mut missing);
        }
    }
    array(version, rows.into_iter().flatten(), taken, move |out| {
        out.extend_from_slice(br#","missing":["#);
        out.extend_from_slice(&missing);
        out.push(b']');
    })
}

fn answer_page(
    api: &AppState,
    caller: &Principal,
    table: &Resource,
    page: Page,
    asked: &HeaderMap,
) -> Result<Response, Problem> {
    let Page { version, newest, rows, more } = page;
    let taken = api.room_for(rows.iter().map(|(_, row)| row.json().len()).sum())?;
    let served = XCache::from(RowOrigin::Memory, api);
    served.count(table);
    let next = rows.last().filter(|_| more).map(|(key, _)| cursor::behind(key));
    let head = Head { version, etag: etag(newest, caller), served };
    Ok(head.answer(asked, || {
        array(version, rows.into_iter().map(|(_, row)| row), taken, move |out| {
            if let Some(next) = next {
                out.extend_from_slice(br#","next":""#);
                out.extend_from_slice(next.as_bytes());
                out.push(b'"');
            }
        })
    }))
}

/// `{"version":…,"rows":[…]`, what `finish` appends, and `}`. Its room is given back when it is read.
fn array(
    version: Version,
    rows: impl Iterator<Item = Row> + Send + 'static,
    taken: BudgetPermit,
    finish: impl FnOnce(&mut Vec<u8>) + Send + 'static,
) -> Body {
    let mut rows = rows.enumerate();
    let mut finish = Some(finish);
    let mut begun = false;
    body(move |out| {
        let _reading = &taken;
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
#[expect(dead_code, reason = "only the schema of what is written")]
pub(crate) struct RowsAnswer {
    /// All rows are exactly as they were at this version.
    #[schema(example = "5f3a9c01-0000000001a2b3c8")]
    version: String,
    /// The documents: in the order asked for, or in key order.
    rows: Vec<Value>,
    /// With `ids`: those that no row has.
    #[schema(required = false)]
    missing: Vec<Value>,
    /// Without `ids`, where rows follow: the `cursor` of the next page.
    #[schema(required = false)]
    next: String,
}
