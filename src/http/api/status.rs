//! `/v1/status`: how the service is doing, for people and scripts.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::change::CommitTime;
use crate::http::access::Principal;
use crate::http::api::documented::InternalProblem;
use crate::http::api::state::{AppState, reason};
use crate::lsn::Lsn;
use crate::source_status::{Phase, SourceDetail, SourceStatus};
use crate::store::{
    LastReset, Resets, RowRequestCounts, RowsState, RowsStatus, StoreStatus, TableStatus,
};
use crate::table::{RowCaching, RowMode, Tracking};
use crate::version::{Epoch, Position, Version};

/// How the service is doing.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusDocument {
    /// The service's own version.
    #[schema(example = "0.1.0")]
    highwater: &'static str,
    source: SourceInStatus,
    /// How far this instance has applied the stream; null before the stream first began.
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
    /// Why it isn't streaming; null while it is.
    reason: Option<String>,
    /// Whether it has ever caught up: until then polls are refused.
    was_ready: bool,
    /// Everything up to this LSN has been received.
    received: String,
    /// What the slot was told is done: the server keeps the WAL after it.
    confirmed: String,
    /// The end of the server's WAL when last told.
    server_wal_end: String,
    /// WAL the server has written and this instance has not applied.
    lag_bytes: u64,
    /// WAL the slot makes the server keep; null if not known.
    slot_retained_bytes: Option<u64>,
    /// How much of it may be kept for the sake of restarts (`postgres.resume_max_wal`); what open
    /// transactions need comes on top.
    slot_limit_bytes: Option<u64>,
    /// `pg_replication_slots.wal_status`; null if not known.
    slot_wal_status: Option<String>,
    /// Seconds since the server last sent anything; null if it never did.
    seconds_since_last_message: Option<f64>,
    /// Connections made after the first.
    reconnects: u64,
}

/// What the replication session is doing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PhaseWord {
    Disconnected,
    Standby,
    CatchingUp,
    Streaming,
}

/// How far the stream has been applied.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppliedInStatus {
    /// As given to clients.
    #[schema(example = "5f3a9c01-0000000001a2b3c8")]
    version: String,
    /// The part of it that names the history.
    #[schema(example = "5f3a9c01")]
    epoch: String,
    /// The same position as PostgreSQL writes it.
    #[schema(example = "0/1A2B3C8")]
    lsn: String,
}

/// The version log as a whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogInStatus {
    /// Its memory.
    bytes: usize,
    /// Ids it remembers, all tables together.
    entries: usize,
}

/// One table.
#[derive(Serialize, ToSchema)]
pub(crate) struct TableInStatus {
    /// As it is called in answers.
    #[schema(example = "items")]
    table: String,
    mode: ModeWord,
    rows: RowsInStatus,
    tracking: TrackingWord,
    /// Why its changes can't be told by id; null where they can.
    reason: Option<String>,
    /// In key order; empty without a key.
    key_columns: Vec<String>,
    /// Ids the log remembers.
    entries: usize,
    /// Memory of its log.
    bytes: usize,
    /// The oldest version from which every change can still be told; null before the stream
    /// first began.
    floor: Option<String>,
    /// How long ago that was.
    floor_age_seconds: f64,
    /// The version of the newest change, or of the reset after it; null likewise.
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
    /// Null if there was none.
    last: Option<ResetInStatus>,
}

/// One reset: clients had to read the table again.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResetInStatus {
    /// As in the metric `highwater_resets_total`.
    #[schema(example = "truncate")]
    reason: &'static str,
    /// When; null if the server's clock said nonsense.
    #[schema(example = "2026-11-21T11:08:39.683508Z")]
    at: Option<String>,
    /// Clients with an older version were, or will be, told.
    version: Option<String>,
}

/// How a table's rows are held.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModeWord {
    /// Not at all: ids only.
    Off,
    /// Those that were asked for.
    Lazy,
    /// All of them.
    Preload,
}

/// A table's rows in memory.
#[derive(Serialize, ToSchema)]
pub(crate) struct RowsInStatus {
    mode: ModeWord,
    state: StateWord,
    /// Rows in memory.
    entries: usize,
    /// Their memory.
    bytes: usize,
    /// While they are being loaded: how far that is. Where they are refused: why, and what mends
    /// it. Else null.
    reason: Option<String>,
    requests: RequestsInStatus,
}

/// Requests for a table's rows since this instance started.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct RequestsInStatus {
    /// Answered from memory.
    hits: u64,
    /// Answered after asking the database.
    misses: u64,
    /// Answered from memory while the change stream was away.
    stale: u64,
}

/// What the rows of a table are doing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StateWord {
    /// They are not held.
    Off,
    /// They are read through.
    Lazy,
    /// They are being preloaded.
    Loading,
    /// All of them are in memory.
    Complete,
    /// They should be held and can't.
    Refused,
}

/// What clients can be told about a table.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrackingWord {
    /// The ids that changed.
    Ids,
    /// Only that something changed.
    ResetOnly,
}

/// How the service is doing
///
/// Source, slot, lag, and every table with how far back its changes can be told.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "operations",
    responses(
        (status = 200, description = "How it is doing", body = StatusDocument,
            headers(("Highwater-Version" = String, description = "How far this instance has applied the stream; absent before it first began"))),
        InternalProblem,
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
        // The server's clock against ours: they may disagree by a little.
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
    match rows.held().map(|held| held.mode) {
        None => ModeWord::Off,
        Some(RowMode::Lazy) => ModeWord::Lazy,
        Some(RowMode::Preload) => ModeWord::Preload,
    }
}

/// A table that came after the rows were looked at holds none yet.
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
