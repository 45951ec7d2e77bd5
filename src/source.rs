//! How the source database is doing, as told to those who ask (`/readyz`, `/v1/status`).

use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::lsn::Lsn;

/// What the replication session is doing now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not connected, or connecting; the text says why, in one sentence with the remedy.
    Disconnected(String),
    /// Another consumer holds the slot: a hot standby, ready to take over.
    Standby(String),
    /// Connected; what was committed before the connection is still arriving.
    CatchingUp,
    /// Connected, and caught up to where the server was when the connection was made.
    Streaming,
}

/// One run of one server, from its start to its end: two sessions that tell the same one are of the
/// same server.
///
/// It is `pg_postmaster_start_time()`, in microseconds. A timeline or a system identifier would not do:
/// a promoted standby shares the one with the server that it was a copy of, two that were promoted
/// apart may share both, and a server that is set back to an earlier state keeps them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostmasterId(pub i64);

impl PostmasterId {
    /// The SQL expression that tells it. Every role may ask, and a session's answer never changes.
    pub const EXPRESSION: &'static str =
        "(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint";
}

impl FromStr for PostmasterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What others may want of the session sooner than it would do it by itself. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct StreamRequests {
    /// A look at the catalog: somebody saw that a definition changed, or wonders whether the server is
    /// still there.
    pub refresh_catalog: Arc<Notify>,
    /// An answer from the server about how far it is: somebody waits for a position. The server may
    /// not be there yet when it answers: whoever still waits after a moment wishes again.
    pub report_position: Arc<Notify>,
}

/// A picture of the source, published by the session whenever it changes and every few seconds.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// What the session is doing.
    pub phase: Phase,
    /// Whether the service has ever caught up since it started: until then polls are refused.
    pub was_ready: bool,
    /// Name of the publication.
    pub publication: String,
    /// Name of the replication slot.
    pub slot: String,
    /// `host:port/database`, never with a user's secrets.
    pub server: String,
    /// The server's version as it reports it, once known.
    pub server_version: Option<String>,
    /// Everything that ends at or before this has been received.
    pub received: Lsn,
    /// The end of the server's WAL when last told.
    pub server_wal_end: Lsn,
    /// What was last reported as flushed: the slot keeps everything after it.
    pub confirmed: Lsn,
    /// WAL kept by the slot, in bytes, when last looked.
    pub slot_retained_bytes: Option<u64>,
    /// How much of it may be kept for the sake of restarts (`postgres.resume_max_wal`).
    pub slot_limit_bytes: Option<u64>,
    /// `pg_replication_slots.wal_status` when last looked.
    pub slot_wal_status: Option<String>,
    /// When the last message of any kind came from the server.
    pub last_message: Option<Instant>,
    /// When the server was last seen to be there: when the stream began, by its answer to a question in
    /// it, or by a look at the catalog.
    pub last_seen: Option<Instant>,
    /// Reconnections since the process started.
    pub reconnects: u64,
}

impl SourceStatus {
    /// The picture before the first connection.
    pub fn new(server: String, publication: String, slot: String) -> Self {
        Self {
            phase: Phase::Disconnected("connecting for the first time".into()),
            was_ready: false,
            publication,
            slot,
            server,
            server_version: None,
            received: Lsn::ZERO,
            server_wal_end: Lsn::ZERO,
            confirmed: Lsn::ZERO,
            slot_retained_bytes: None,
            slot_limit_bytes: None,
            slot_wal_status: None,
            last_message: None,
            last_seen: None,
            reconnects: 0,
        }
    }
}
