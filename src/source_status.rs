//! What the other layers know of the source of changes: its status, and what they may request of it.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::lsn::{Lsn, WalLayout};
use crate::version::Position;

/// The state of the source's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not connected, or connecting. The text is the reason, one sentence with the remedy.
    Disconnected(String),
    /// Another consumer holds the slot: this instance is a hot standby. The text names the holder.
    Standby(String),
    /// Connected; commits from before the connection are still arriving.
    CatchingUp,
    /// Connected, and past the position the server had reached when the connection was made.
    Streaming,
}

/// Identity of one run of one server, from its start to its end: two sessions with the same value
/// are connected to the same server.
///
/// It is `pg_postmaster_start_time()`, in microseconds. Neither a timeline nor a system identifier
/// would do: a promoted standby shares the latter with the server it was a copy of, two standbys
/// promoted independently may share both, and a server that is set back to an earlier state keeps
/// both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostmasterId(pub i64);

impl PostmasterId {
    /// SQL expression for the value. Every role may evaluate it, and it is constant in a session.
    pub const EXPRESSION: &'static str =
        "(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint";
}

impl FromStr for PostmasterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Requests to the source to do something sooner than on its own schedule. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct StreamRequests {
    /// Refresh the catalog: a definition was seen to have changed, or it is uncertain whether the
    /// server is alive.
    pub refresh_catalog: Arc<Notify>,
    /// Ask the server how far it is, because a request waits for a position. The server may not have
    /// reached it when it answers, so a waiter repeats the request.
    pub report_position: Arc<Notify>,
}

/// A snapshot of the source's state, published on every change and every few seconds.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// The state of the connection.
    pub phase: Phase,
    /// Whether the source has ever caught up since the process started: until then polls are refused.
    pub was_ready: bool,
    /// `host:port/database`, without user name or secrets.
    pub server: String,
    /// The server's version as it reports it; `None` before the first connection.
    pub server_version: Option<String>,
    /// Everything that ends at or before this has been received.
    pub received: Lsn,
    /// When the last message of any kind arrived from the server.
    pub last_message: Option<Instant>,
    /// When the server was last known to be alive: at the start of the stream, at its last answer to
    /// a probe, or at the last catalog refresh.
    pub last_seen: Option<Instant>,
    /// Connections made after the first since the process started.
    pub reconnects: u64,
    /// The part that only this kind of source has.
    pub detail: SourceDetail,
}

/// The source-specific part of a [`SourceStatus`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceDetail {
    /// A walsender that streams a replication slot.
    Postgres(SlotStatus),
}

/// A replication slot as its consumer sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotStatus {
    /// Name of the publication.
    pub publication: String,
    /// Name of the slot.
    pub slot: String,
    /// The end of the server's WAL as last reported.
    pub server_wal_end: Lsn,
    /// The position last reported as flushed: the slot retains everything after it.
    pub confirmed: Lsn,
    /// WAL retained by the slot at the last catalog refresh, in bytes.
    pub retained_bytes: Option<u64>,
    /// Bound of the WAL retained for restarts, in bytes (`postgres.resume_max_wal`).
    pub limit_bytes: Option<u64>,
    /// `pg_replication_slots.wal_status` at the last catalog refresh.
    pub wal_status: Option<String>,
}

impl SourceStatus {
    /// The status before the first connection.
    pub fn new(server: String, detail: SourceDetail) -> Self {
        Self {
            phase: Phase::Disconnected("connecting for the first time".into()),
            was_ready: false,
            server,
            server_version: None,
            received: Lsn::ZERO,
            last_message: None,
            last_seen: None,
            reconnects: 0,
            detail,
        }
    }

    /// Bytes of WAL that the server has written beyond `applied`.
    pub fn lag_bytes(&self, applied: Lsn) -> u64 {
        let SourceDetail::Postgres(slot) = &self.detail;
        slot.server_wal_end.bytes_since(applied)
    }

    /// The position that has to be applied before a client that was given `lsn` by its own session
    /// (`pg_current_wal_insert_lsn()` after its commit) reads its own write.
    pub fn resolve_position(&self, lsn: Lsn) -> Position {
        let SourceDetail::Postgres(_) = self.detail;
        Position::after_commit(WalLayout::UNKNOWN_SEGMENTS.end_of_records(lsn))
    }

    /// The slot's status, to be changed by the source that owns it.
    pub fn slot_mut(&mut self) -> &mut SlotStatus {
        let SourceDetail::Postgres(slot) = &mut self.detail;
        slot
    }
}
