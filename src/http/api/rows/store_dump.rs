//! Whole tables, at one version.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Head, begin};
use super::refusal::held;
use super::wait_for_position::reach;
use super::x_cache::XCache;
use crate::http::access::{AuthorizedResource, Principal, narrowed};
use crate::http::api::documented::{NotModified, RowsParameters, TableProblems};
use crate::http::api::state::AppState;
use crate::http::params::StoreQuery;
use crate::http::response::body::{CHUNK_BYTES, body};
use crate::http::response::conditional::etag;
use crate::http::response::problem::{Problem, ProblemType};
use crate::key::Key;
use crate::store::{Directory, Resource, RowOrigin, StoreImage, TableImage};

/// Whole tables
///
/// All rows of preloaded tables, in key order and all at one `version`: nothing of a later commit
/// is in it, and nothing of an earlier one is missing. Go on with `/v1/changes?after=` that
/// version. Each table is a member of the answer; one that is itself called `version` goes by
/// `public.version`. The answer is streamed: a client that reads slowly costs little.
#[utoipa::path(
    get,
    path = "/v1/store",
    tag = "rows",
    params(
        ("tables" = Option<String>, Query, description = "Comma-separated table names, as for `/v1/changes`; all must be preloaded. Absent: every preloaded table", example = "items,users"),
        RowsParameters,
        ("wait" = Option<String>, Query, description = "How long to wait for that, or for a table that is still being loaded (`500ms`, `30s` or a number of seconds; at most 60s). Default 5s; then 503"),
        ("If-None-Match" = Option<String>, Header, description = "An earlier answer's `ETag`: 304 if nothing changed in these tables since"),
    ),
    responses(
        (status = 200, description = "The tables: `version`, and under each table's name the array of its rows", body = serde_json::Value,
            headers(
                ("Highwater-Version" = String, description = "The answer's version"),
                ("ETag" = String, description = "The version of the newest change to these tables"),
                ("X-Cache" = String, description = "`hit`, or `stale` while the change stream is away"),
                ("Age" = u32, description = "With `stale`: seconds since the database was last heard of"),
                ("X-Request-Id" = String, description = "The request's id, as sent or made"),
            ),
            example = json!({
                "version": "5f3a9c01-0000000001a2b3c8",
                "items": [{"id": 1, "name": "Assam"}, {"id": 2, "name": "Ceylon"}],
                "users": [{"id": 7, "city": "Lisbon"}],
            })),
        NotModified,
        TableProblems,
    )
)]
pub(crate) async fn store(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (asked, _) = request.into_parts();
    let query = StoreQuery::read(asked.uri.query().unwrap_or_default(), api.wait_max())?;
    let until = query.patience.ends();
    let caller = Principal::of(&asked.extensions);
    api.require_was_ready(&caller)?;
    let directory = api.store().directory();
    let tables = match &query.tables {
        Some(names) => named(&directory, &caller, names)?,
        None => preloaded(&directory, &caller)?,
    };
    let parts = narrowed(&directory, &tables, &query.narrowing)?;
    reach(&api, query.patience.at_least, until).await?;
    let room = api.room_for_picture()?;
    let picture = api.store().image(&parts, until).await?;
    let served = XCache::from(RowOrigin::Memory, &api);
    for part in &parts {
        served.count(&part.resource);
    }
    let head = Head { version: picture.version, etag: etag(picture.newest, &caller), served };
    Ok(head.answer(&asked.headers, || written(picture, room)))
}

fn named(
    directory: &Directory,
    caller: &Principal,
    names: &[String],
) -> Result<Vec<AuthorizedResource>, Problem> {
    let tables = caller.tables(directory, names)?;
    tables.iter().try_for_each(|readable| held(&readable.table).map(drop))?;
    Ok(tables)
}

fn preloaded(
    directory: &Directory,
    caller: &Principal,
) -> Result<Vec<AuthorizedResource>, Problem> {
    let tables = caller.all(directory).into_iter();
    let tables: Vec<_> = tables.filter(|r| r.table.row_caching().is_preloaded()).collect();
    if tables.is_empty() {
        return Err(Problem::new(
            ProblemType::RowsNotHeld,
            "no table is preloaded; one that is to be needs rows = \"preload\" in the configuration",
        ));
    }
    Ok(tables)
}

/// The body: it holds the picture, never the bytes; and its room until it is read.
fn written(picture: StoreImage, room: OwnedSemaphorePermit) -> Body {
    let StoreImage { version, tables, .. } = picture;
    let mut tables = tables.into_iter().map(DumpedTable::new);
    let mut current = None;
    let mut begun = false;
    body(move |out| {
        let _reading = &room;
        if !std::mem::replace(&mut begun, true) {
            begin(version, out);
        }
        let Some(member) = current.as_mut() else {
            current = tables.next();
            let Some(member) = &current else {
                out.push(b'}');
                return false;
            };
            member.begin(out);
            return true;
        };
        if !member.write(out) {
            out.push(b']');
            current = None;
        }
        true
    })
}

/// A table's member of the body, and how far it is written.
struct DumpedTable {
    table: Arc<Resource>,
    rows: TableImage,
    last: Option<Key>,
}

impl DumpedTable {
    fn new((table, rows): (Arc<Resource>, TableImage)) -> Self {
        Self { table, rows, last: None }
    }

    fn begin(&self, out: &mut Vec<u8>) {
        let name = match self.table.name.as_str() {
            "version" => r#""public.version""#,
            _ => &self.table.name_json,
        };
        out.push(b',');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b":[");
    }

    /// Appends rows until there is enough for a chunk; tells whether some are left.
    fn write(&mut self, out: &mut Vec<u8>) -> bool {
        let last = self.last.take();
        let mut follows = last.is_some();
        for (key, row) in self.rows.after(last.as_ref()) {
            if std::mem::replace(&mut follows, true) {
                out.push(b',');
            }
            out.extend_from_slice(row.json());
            if out.len() >= CHUNK_BYTES {
                self.last = Some(key.clone());
                return true;
            }
        }
        false
    }
}
