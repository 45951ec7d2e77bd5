//! `/v1/status`: the state of the service, for people and scripts.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::change::CommitTime;
use crate::http::access::Principal;
use crate::http::api::schemas::VersionSchema;
use crate::http::api::state::{AppState, reason};
use crate::lsn::Lsn;
use crate::source_status::{Phase, SourceDetail, SourceStatus};
use crate::store::{
    LastReset, Resets, RowRequestCounts, RowsState, RowsStatus, StoreStatus, TableStatus,
};
use crate::table::{RowCaching, RowMode, Tracking};
use crate::version::{Epoch, Position, Version};

/// The state of the service.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusDocument {
    /// The version of the program.
    #[schema(example = "0.1.0")]
    highwater: &'static str,
    source: SourceInStatus,
    /// The position up to which this instance has applied the stream; null before the stream first
    /// begins.
    applied: Option<AppliedInStatus>,
    log: LogInStatus,
    /// Every published table.
    tables: Vec<TableInStatus>,
}

/// The database and the replication stream from it.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceInStatus {
    /// `host:port/database`.
    #[schema(example = "db.example:5432/app")]
    server: String,
    /// As the server reports it; null before the first connection.
    server_version: Option<String>,
    publication: String,
    slot: String,
    phase: PhaseWord,
    /// Why it is not streaming; null while it is.
    reason: Option<String>,
    /// Whether it has ever caught up: until then polls get 503.
    was_ready: bool,
    /// The LSN up to which everything has been received.
    received: String,
    /// The LSN confirmed to the slot: the server retains the WAL after it.
    confirmed: String,
    /// The end of the server's WAL as last reported.
    server_wal_end: String,
    /// WAL that the server has written and this instance has not applied.
    lag_bytes: u64,
    /// WAL that the server retains for the slot; null if unknown.
    slot_retained_bytes: Option<u64>,
    /// The part of it that may be retained for restarts (`postgres.resume_max_wal`); what open
    /// transactions need is additional.
    slot_limit_bytes: Option<u64>,
    /// `pg_replication_slots.wal_status`; null if unknown.
    slot_wal_status: Option<String>,
    /// Seconds since the server's last message; null before the first.
    seconds_since_last_message: Option<f64>,
    /// Connections made after the first.
    reconnects: u64,
}

/// The phase of the replication session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PhaseWord {
    Disconnected,
    Standby,
    CatchingUp,
    Streaming,
}

/// The position up to which the stream has been applied.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppliedInStatus {
    #[schema(value_type = VersionSchema)]
    version: String,
    /// The part of the version that names the timeline.
    #[schema(example = "5f3a9c01")]
    epoch: String,
    /// The same position in PostgreSQL's notation.
    #[schema(example = "0/1A2B3C8")]
    lsn: String,
}

/// The version log as a whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogInStatus {
    /// The memory of the log.
    bytes: usize,
    /// Ids in the log, over all tables.
    entries: usize,
}

/// One table.
#[derive(Serialize, ToSchema)]
pub(crate) struct TableInStatus {
    /// The name in responses.
    #[schema(example = "items")]
    table: String,
    mode: ModeWord,
    rows: RowsInStatus,
    tracking: TrackingWord,
    /// Why changes can't be reported by id; null where they can.
    reason: Option<String>,
    /// In key order; empty without a key.
    key_columns: Vec<String>,
    /// Ids in the table's log.
    entries: usize,
    /// The memory of the table's log.
    bytes: usize,
    /// The oldest version from which every change can be reported; null before the stream first
    /// begins.
    #[schema(value_type = Option<VersionSchema>)]
    floor: Option<String>,
    /// The age of the floor in seconds.
    floor_age_seconds: f64,
    /// The version of the newest change, or of the reset after it; null before the stream first
    /// begins.
    #[schema(value_type = Option<VersionSchema>)]
    newest: Option<String>,
    changes: ChangesInStatus,
    resets: ResetsInStatus,
}

/// A table's changes since this instance started.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangesInStatus {
    inserts: u64,
    updates: u64,
    deletes: u64,
}

/// A table's resets since this instance started.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResetsInStatus {
    count: u64,
    /// The newest; null if there was none.
    last: Option<ResetInStatus>,
}

/// One reset: clients had to read the table again.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResetInStatus {
    /// As in the metric `highwater_resets_total`.
    #[schema(example = "truncate")]
    reason: &'static str,
    /// The time by the server's clock; null if that clock was out of range.
    #[schema(example = "2026-11-21T11:08:39.683508Z")]
    at: Option<String>,
    /// Clients with an older version get the reset.
    #[schema(value_type = Option<VersionSchema>)]
    version: Option<String>,
}

/// A table's caching mode (`tables.NAME.rows`).
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModeWord {
    /// No rows are cached: ids only.
    Off,
    /// Rows are cached when they are requested.
    Lazy,
    /// All rows are cached.
    Preload,
}

/// A table's rows in memory.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowsInStatus {
    mode: ModeWord,
    state: StateWord,
    /// Rows in memory.
    entries: usize,
    /// The memory of the rows.
    bytes: usize,
    /// The progress while rows are being loaded, or why they can't be cached and the remedy; else null.
    reason: Option<String>,
    requests: RequestsInStatus,
}

/// Requests for a table's rows since this instance started.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct RequestsInStatus {
    /// Answered from memory.
    hits: u64,
    /// Answered from the database.
    misses: u64,
    /// Answered from memory while the change stream was down.
    stale: u64,
}

/// The state of a table's cached rows.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateWord {
    /// Rows are not cached.
    Off,
    /// Rows are read through the cache.
    Lazy,
    /// A preload is running.
    Loading,
    /// All rows are in memory.
    Complete,
    /// Rows should be cached and can't be.
    Refused,
}

/// How a table's changes are reported.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrackingWord {
    /// By id.
    Ids,
    /// As resets of the whole table.
    ResetOnly,
}

/// Status
///
/// Source, slot and lag, and for every table the oldest version from which its changes can be reported.
#[utoipa::path(
    get,
    path = "/v1/status",
    operation_id = "getStatus",
    tag = "operations",
    responses(
        (status = 200, description = "The status", body = StatusDocument,
            headers(("Highwater-Version" = String, description = "The applied version of this instance; absent before the stream first begins"))),
    )
)]
pub(crate) async fn status(State(api): State<AppState>) -> Response {
    let store = api.store().status();
    let now = CommitTime::from_timestamp(jiff::Timestamp::now());
    let mut rows: HashMap<String, RowsStatus> =
        api.store().rows_status().into_iter().map(|rows| (rows.table.clone(), rows)).collect();
    let status = StatusDocument {
        highwater: env!("CARGO_PKG_VERSION"),
        source: source(api.source(), store.applied.lsn),
        applied: applied(&store),
        log: LogInStatus {
            bytes: store.bytes,
            entries: store.tables.iter().map(|t| t.entries).sum(),
        },
        tables: store
            .tables
            .iter()
            .map(|table| in_status(table, rows.remove(&table.resource.name), store.epoch, now))
            .collect(),
    };
    let mut response = Json(status).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn source(source: SourceStatus, applied: Lsn) -> SourceInStatus {
    let word = match source.phase {
        Phase::Disconnected(_) => PhaseWord::Disconnected,
        Phase::Standby(_) => PhaseWord::Standby,
        Phase::CatchingUp => PhaseWord::CatchingUp,
        Phase::Streaming => PhaseWord::Streaming,
    };
    let streaming = source.phase == Phase::Streaming;
    let lag_bytes = source.lag_bytes(applied);
    let SourceDetail::Postgres(slot) = source.detail;
    SourceInStatus {
        reason: (!streaming).then(|| reason(&source.phase, &Principal::Unrestricted)),
        phase: word,
        server: source.server,
        server_version: source.server_version,
        publication: slot.publication,
        slot: slot.slot,
        was_ready: source.was_ready,
        received: source.received.to_string(),
        confirmed: slot.confirmed.to_string(),
        server_wal_end: slot.server_wal_end.to_string(),
        lag_bytes,
        slot_retained_bytes: slot.retained_bytes,
        slot_limit_bytes: slot.limit_bytes,
        slot_wal_status: slot.wal_status,
        seconds_since_last_message: source.last_message.map(|at| at.elapsed().as_secs_f64()),
        reconnects: source.reconnects,
    }
}

fn applied(store: &StoreStatus) -> Option<AppliedInStatus> {
    store.epoch.map(|epoch| AppliedInStatus {
        version: Version { epoch, position: store.applied }.to_string(),
        epoch: format!("{:08x}", epoch.0),
        lsn: store.applied.lsn.to_string(),
    })
}

fn in_status(
    status: &TableStatus,
    rows: Option<RowsStatus>,
    epoch: Option<Epoch>,
    now: CommitTime,
) -> TableInStatus {
    let table = status.resource.table();
    let (tracking, reason) = match &table.tracking {
        Tracking::Ids => (TrackingWord::Ids, None),
        Tracking::ResetOnly(why) => (TrackingWord::ResetOnly, Some(why.clone())),
    };
    let version = |position: Position| epoch.map(|epoch| Version { epoch, position }.to_string());
    TableInStatus {
        table: status.resource.name.clone(),
        mode: mode(&table.rows),
        rows: rows_in_status(mode(&table.rows), rows),
        tracking,
        reason,
        key_columns: table.key_columns.clone(),
        entries: status.entries,
        bytes: status.bytes,
        floor: version(status.floor),
        // The server's clock against this host's: they may differ a little.
        floor_age_seconds: now.0.saturating_sub(status.floor_time.0).max(0) as f64 / 1e6,
        newest: version(status.newest),
        changes: ChangesInStatus {
            inserts: status.changes.inserts,
            updates: status.changes.updates,
            deletes: status.changes.deletes,
        },
        resets: resets_in_status(status.resets, version),
    }
}

fn resets_in_status(
    resets: Resets,
    version: impl Fn(Position) -> Option<String>,
) -> ResetsInStatus {
    let last = |LastReset { reason, at, position }| ResetInStatus {
        reason: reason.as_str(),
        at: at.to_timestamp().map(|at| at.to_string()),
        version: version(position),
    };
    ResetsInStatus { count: resets.count, last: resets.last.map(last) }
}

fn mode(rows: &RowCaching) -> ModeWord {
    match rows.held().map(|plan| plan.mode) {
        None => ModeWord::Off,
        Some(RowMode::Lazy) => ModeWord::Lazy,
        Some(RowMode::Preload) => ModeWord::Preload,
    }
}

/// A table that was published after `rows_status` was read has no rows yet.
fn rows_in_status(mode: ModeWord, rows: Option<RowsStatus>) -> RowsInStatus {
    let Some(RowsStatus { state, entries, bytes, requests, .. }) = rows else {
        let (state, requests) = (StateWord::Off, RequestsInStatus::default());
        return RowsInStatus { mode, state, entries: 0, bytes: 0, reason: None, requests };
    };
    let RowRequestCounts { hits, misses, stale } = requests;
    let (state, reason) = match state {
        RowsState::Disabled => (StateWord::Off, None),
        RowsState::Lazy => (StateWord::Lazy, None),
        RowsState::Loading { rows, estimate } => {
            (StateWord::Loading, Some(format!("{rows} of about {estimate} rows are loaded")))
        }
        RowsState::Complete => (StateWord::Complete, None),
        RowsState::Unavailable(reason) => (StateWord::Refused, Some(reason)),
    };
    let requests = RequestsInStatus { hits, misses, stale };
    RowsInStatus { mode, state, entries, bytes, reason, requests }
}
