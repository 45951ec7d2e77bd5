//! `POST /admin/verify`: compares the rows in memory with the database.

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
use crate::http::api::reload::{reject_cross_origin, selected_tables};
use crate::http::api::schemas::{AdminProblems, ConflictProblem, RowIdSchema};
use crate::http::api::state::AppState;
use crate::http::params::AdminParams;
use crate::http::response::problem::{Problem, ProblemType};
use crate::store::{Mismatch, TableVerification};

/// Interval of the empty lines that are sent while rows are compared. JSON allows white space before
/// the report, and proxies keep the connection open.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// The result of a verification.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerificationReport {
    /// Rows that differ, over all tables.
    violations: u64,
    /// Every table with cached rows.
    tables: Vec<TableReport>,
}

/// The result of verifying one table.
#[derive(Serialize, ToSchema)]
struct TableReport {
    #[schema(example = "items")]
    table: String,
    /// Rows compared, including ids that are cached as absent.
    rows: u64,
    /// Rows that differ.
    violations: u64,
    /// Rows that changed too often to be compared.
    undecided: u64,
    /// The first rows that differ.
    differences: Vec<RowDifference>,
    /// Why the comparison of the table ended early; null if it completed.
    broken_off: Option<String>,
}

/// A row that differs from the database.
#[derive(Serialize, ToSchema)]
struct RowDifference {
    #[schema(value_type = RowIdSchema, example = 7)]
    id: serde_json::Value,
    /// The columns and values that differ.
    difference: String,
}

impl From<Vec<TableVerification>> for VerificationReport {
    fn from(tables: Vec<TableVerification>) -> Self {
        let violations = tables.iter().map(|table| table.violations).sum();
        Self { violations, tables: tables.into_iter().map(TableReport::from).collect() }
    }
}

impl From<TableVerification> for TableReport {
    fn from(verified: TableVerification) -> Self {
        let TableVerification { table, rows, violations, differences, undecided, broken_off } =
            verified;
        let differences = differences.into_iter().map(RowDifference::from).collect();
        Self { table, rows, violations, undecided, differences, broken_off }
    }
}

impl From<Mismatch> for RowDifference {
    fn from(mismatch: Mismatch) -> Self {
        let Mismatch { id, difference } = mismatch;
        let mut json = Vec::new();
        id.write_json(&mut json);
        // A key is JSON.
        Self { id: serde_json::from_slice(&json).unwrap_or_default(), difference }
    }
}

/// Compare rows with the database
///
/// Reads every cached row from the database, too, and compares the two exactly, also while rows are
/// being written; for a preloaded table also that no row is missing. It takes time in proportion to
/// the number of rows and no locks; one verification runs at a time, and it ends with its
/// connection. Empty lines are sent until the report follows. Requests with an `Origin` header are
/// rejected, as for `/admin/reload`.
#[utoipa::path(
    post,
    path = "/admin/verify",
    operation_id = "verifyRows",
    tag = "operations",
    params(AdminParams),
    responses(
        (status = 200, description = "The report", body = VerificationReport, example = json!({
            "violations": 0,
            "tables": [{"table": "items", "rows": 5000, "violations": 0, "undecided": 0,
                "differences": [], "broken_off": null}],
        })),
        AdminProblems,
        ConflictProblem,
    )
)]
pub(crate) async fn verify(
    State(api): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    reject_cross_origin(request.headers())?;
    let selected = AdminParams::read(request.uri().query().unwrap_or_default())?;
    api.require_was_ready(&Principal::Unrestricted)?;
    let tables = selected_tables(&api, selected)?;
    let verification = api.store().verify(&tables).ok_or_else(|| {
        Problem::new(
            ProblemType::AlreadyVerifying,
            "another verification is running; retry when it has finished",
        )
    })?;
    let lines = stream::unfold(Some(verification), async |verification| {
        let mut verification = verification?;
        Some(match timeout(HEARTBEAT_INTERVAL, &mut verification).await {
            Err(_) => (Ok(Bytes::from_static(b"\n")), Some(verification)),
            Ok(tables) => (tables.map(report_json), None),
        })
    });
    // The compressor polls once more after the end.
    let mut response = Response::new(Body::from_stream(lines.fuse()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn report_json(tables: Vec<TableVerification>) -> Bytes {
    // Names and numbers: serialising them can't fail.
    serde_json::to_vec(&VerificationReport::from(tables)).unwrap_or_default().into()
}
