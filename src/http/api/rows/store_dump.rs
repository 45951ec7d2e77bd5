//! Whole tables at one version.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::openapi::schema::ArrayBuilder;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::errors::require_cached;
use super::head::{RowsHead, begin};
use super::wait_for_position::wait_for_position;
use super::x_cache::XCache;
use crate::http::access::{AuthorizedResource, Principal, scoped_tables};
use crate::http::api::schemas::{NotModified, RowSchema, TableProblems, VersionSchema};
use crate::http::api::state::AppState;
use crate::http::params::StoreParams;
use crate::http::response::body::{CHUNK_BYTES, body};
use crate::http::response::conditional::etag;
use crate::http::response::problem::{Problem, ProblemType};
use crate::key::Key;
use crate::store::{Directory, Resource, RowOrigin, StoreImage, TableImage};

/// Whole tables
///
/// All rows of preloaded tables, in key order and all at one `version`: the response includes every
/// earlier commit and nothing of a later one. Continue with `/v1/changes?after=` that version. Each
/// table is a property of the response; a table named `version` appears as `public.version`. The
/// response is streamed: a slow reader retains little memory.
#[utoipa::path(
    get,
    path = "/v1/store",
    operation_id = "getStore",
    tag = "rows",
    params(
        StoreParams,
        ("If-None-Match" = Option<String>, Header, nullable = false, description = "The `ETag` of an earlier response: 304 if nothing changed in these tables since"),
    ),
    responses(
        (status = 200, description = "`version`, and under each table's name the array of its rows", body = StoreBody,
            headers(
                ("Highwater-Version" = String, description = "The response's version"),
                ("ETag" = String, description = "The version of the newest change to these tables"),
                ("X-Cache" = String, description = "`hit`, or `stale` while the change stream is down"),
                ("Age" = u32, description = "With `stale`: seconds since the last message of the database"),
                ("X-Request-Id" = String, description = "The request's id, as sent or generated"),
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
    let (head, _) = request.into_parts();
    let request = StoreParams::read(head.uri.query().unwrap_or_default(), api.wait_max())?;
    let deadline = request.wait.deadline();
    let caller = Principal::of(&head.extensions);
    api.require_was_ready(&caller)?;
    let directory = api.store().directory();
    let tables = match &request.tables {
        Some(names) => named(&directory, &caller, names)?,
        None => preloaded(&directory, &caller)?,
    };
    let scoped = scoped_tables(&directory, &tables, &request.filter)?;
    wait_for_position(&api, request.wait.at_least, deadline).await?;
    let permit = api.store_dump_permit()?;
    let image = api.store().image(&scoped, deadline).await?;
    let x_cache = XCache::new(RowOrigin::Memory, &api);
    for scoped in &scoped {
        x_cache.count(&scoped.resource);
    }
    let response_head =
        RowsHead { version: image.version, etag: etag(image.newest, &caller), x_cache };
    Ok(response_head.into_response(&head.headers, || dump(image, permit)))
}

fn named(
    directory: &Directory,
    caller: &Principal,
    names: &[String],
) -> Result<Vec<AuthorizedResource>, Problem> {
    let tables = caller.tables(directory, names)?;
    tables.iter().try_for_each(|authorized| require_cached(&authorized.table).map(drop))?;
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
            ProblemType::RowsNotCached,
            "no table is preloaded; to preload one, set rows = \"preload\" in the configuration",
        ));
    }
    Ok(tables)
}

/// The body: it retains the image and the permit until it has been read, and a chunk of the bytes.
fn dump(image: StoreImage, permit: OwnedSemaphorePermit) -> Body {
    let StoreImage { version, tables, .. } = image;
    let mut tables = tables.into_iter().map(DumpedTable::new);
    let mut current = None;
    let mut begun = false;
    body(move |out| {
        let _permit = &permit;
        if !std::mem::replace(&mut begun, true) {
            begin(version, out);
        }
        let Some(table) = current.as_mut() else {
            current = tables.next();
            let Some(table) = &current else {
                out.push(b'}');
                return false;
            };
            table.begin(out);
            return true;
        };
        if !table.write(out) {
            out.push(b']');
            current = None;
        }
        true
    })
}

/// A table's property of the body, and the key up to which it is written.
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

    /// Appends rows until there is enough for a chunk; returns whether some are left.
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

/// The schema of the body: a property for each table beside `version`.
pub(crate) struct StoreBody;

impl PartialSchema for StoreBody {
    fn schema() -> RefOr<Schema> {
        let rows = ArrayBuilder::new().items(Ref::from_schema_name(RowSchema::name()));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("version", Ref::from_schema_name(VersionSchema::name()))
            .required("version")
            .additional_properties(Some(Schema::Array(rows.build())))
            .description(Some(
                "Whole tables at one version: the rows of each table under its name.",
            ))
            .into()
    }
}

impl ToSchema for StoreBody {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((RowSchema::name().into(), RowSchema::schema()));
        schemas.push((VersionSchema::name().into(), VersionSchema::schema()));
    }
}
