//! `POST /admin/verify`: all rows in memory are compared with the database.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::http::access::Principal;
use crate::http::api::documented::{
    FromAPageProblem, InternalProblem, InvalidProblem, NotReadyProblem, UnknownTableProblem,
};
use crate::http::api::reload::{named_tables, refuse_pages};
use crate::http::api::state::AppState;
use crate::http::params::AdminQuery;
use crate::http::response::problem::{Problem, ProblemBody, ProblemType};
use crate::store::{Mismatch, TableVerification};

/// While rows are compared an empty line is sent so often: JSON allows it before the report, and
/// nobody on the way takes the connection for dead.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// What came of comparing.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerificationReport {
    /// Rows that differ, of all tables.
    violations: u64,
    /// Each table that holds rows.
    tables: Vec<VerificationOfTable>,
}

/// What came of comparing one table.
#[derive(Serialize, ToSchema)]
struct VerificationOfTable {
    /// The table's name.
    #[schema(example = "items")]
    table: String,
    /// Rows compared, absent ones that are remembered included.
    rows: u64,
    /// Rows that differ.
    violations: u64,
    /// Rows of which nothing could be said, because they changed all the time.
    undecided: u64,
    /// The first rows that differ.
    differences: Vec<VerifiedDifference>,
    /// Why the table could not be compared to its end; null when it was.
    broken_off: Option<String>,
}

/// A row that differs.
#[derive(Serialize, ToSchema)]
struct VerifiedDifference {
    /// The row's id.
    #[schema(example = 7)]
    id: serde_json::Value,
    /// In what it differs.
    difference: String,
}

impl From<Vec<TableVerification>> for VerificationReport {
    fn from(verdicts: Vec<TableVerification>) -> Self {
        let violations = verdicts.iter().map(|verdict| verdict.violations).sum();
        Self { violations, tables: verdicts.into_iter().map(VerificationOfTable::from).collect() }
    }
}

impl From<TableVerification> for VerificationOfTable {
    fn from(verdict: TableVerification) -> Self {
        let TableVerification { table, rows, violations, differences, undecided, broken_off } =
            verdict;
        let differences = differences.into_iter().map(VerifiedDifference::from).collect();
        Self { table, rows, violations, undecided, differences, broken_off }
    }
}

impl From<Mismatch> for VerifiedDifference {
    fn from(violation: Mismatch) -> Self {
        let Mismatch { id, difference } = violation;
        let mut json = Vec::new();
        id.write_json(&mut json);
        // A key is JSON.
        Self { id: serde_json::from_slice(&json).unwrap_or_default(), difference }
    }
}

/// Compare rows with the database
///
/// Reads every row that is in memory from the database, too, and compares the two exactly, whatever
/// is written meanwhile; of a preloaded table also that no row is missing. Takes time with the
/// number of rows and no locks; one such request runs at a time, and ends with its connection.
/// While it runs, empty lines are sent, then the report. Requests that come from web pages are
/// refused, as with `/admin/reload`.
#[utoipa::path(
    post,
    path = "/admin/verify",
    tag = "operations",
    params(
        ("table" = String, Query, description = "The table's name; `all` for every table", example = "items"),
    ),
    responses(
        (status = 200, description = "What came of it", body = VerificationReport, example = json!({
            "violations": 0,
            "tables": [{"table": "items", "rows": 5000, "violations": 0, "undecided": 0,
                "differences": [], "broken_off": null}],
        })),
        InvalidProblem,
        FromAPageProblem,
        UnknownTableProblem,
        (status = 409, description = "Another such request is being answered",
            body = ProblemBody<'static>, content_type = "application/problem+json",
            example = json!({
                "type": "urn:highwater:problem:already-verifying", "title": "A verification is on its way",
                "status": 409, "detail": "rows are being compared already; ask again when that has ended", "request_id": "d5e1",
            })),
        NotReadyProblem,
        InternalProblem,
    )
)]
pub(crate) async fn verify(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    refuse_pages(request.headers())?;
    let query = AdminQuery::read(request.uri().query().unwrap_or_default())?;
    api.require_was_ready(&Principal::Unrestricted)?;
    let tables = named_tables(&api, query)?;
    let verdicts = api.store().verify(&tables).ok_or_else(|| {
        Problem::new(
            ProblemType::AlreadyVerifying,
            "rows are being compared already; ask again when that has ended",
        )
    })?;
    let lines = stream::unfold(Some(verdicts), async |verdicts| {
        let mut verdicts = verdicts?;
        Some(match timeout(HEARTBEAT_INTERVAL, &mut verdicts).await {
            Err(_) => (Ok(Bytes::from_static(b"\n")), Some(verdicts)),
            Ok(told) => (told.map(written), None),
        })
    });
    // A compressor asks once more after the end.
    let mut response = Response::new(Body::from_stream(lines.fuse()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn written(verdicts: Vec<TableVerification>) -> Bytes {
    // Names and numbers: serialising them can't fail.
    serde_json::to_vec(&VerificationReport::from(verdicts)).unwrap_or_default().into()
}
