//! Errors of the walsender source.

use std::time::Duration;

use super::assembler::AssembleError;
use super::catalog::CatalogError;
use crate::pgoutput::DecodeError;
use crate::wire::{ConnectError, WireError};

/// Why a stream ended or could not begin: one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// The connection could not be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection failed, or the server rejected a command on it.
    #[error("stream changes: {0}")]
    Wire(#[from] WireError),
    /// The catalog could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The server did not respond to a command in time.
    #[error("{0}: the server did not respond in time")]
    Timeout(&'static str),
    /// The publication does not exist.
    #[error(
        "publication \"{0}\" does not exist in this database; create it with the SQL that `highwater setup` prints, or run with postgres.setup = \"auto\""
    )]
    NoPublication(String),
    /// A table's changes don't carry the values of its scope columns.
    #[error("cannot apply scope to {table}: {reason}")]
    NoScope {
        /// Displayed name of the table.
        table: String,
        /// The reason and the remedy.
        reason: String,
    },
    /// A slot of that name belongs to something else.
    #[error(
        "replication slot \"{slot}\" belongs to something else (plugin {plugin}, database \"{database}\"); set postgres.slot to another name"
    )]
    ForeignSlot {
        /// The slot's name.
        slot: String,
        /// Its output plugin.
        plugin: String,
        /// The database that the slot belongs to.
        database: String,
    },
    /// The slot could not be created.
    #[error("create replication slot \"{slot}\": {source}{}", creation_hint(source))]
    CreateSlot {
        /// The slot's name.
        slot: String,
        /// The server's refusal.
        source: WireError,
    },
    /// The slot could not be dropped.
    #[error("drop replication slot \"{slot}\": {source}")]
    DropSlot {
        /// The slot's name.
        slot: String,
        /// The server's refusal.
        source: WireError,
    },
    /// The stream could not be decoded.
    #[error("decode the change stream: {0}")]
    Decode(#[from] DecodeError),
    /// The stream did not follow the protocol.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// A response lacks columns it must have.
    #[error("the server's response to {0} is not what this version of Highwater expects")]
    Unexpected(&'static str),
    /// The server has stopped responding.
    #[error("the connection is dead: the server does not respond")]
    Silent,
    /// The slot is no longer streamed on this connection, or the SQL connection leads to another
    /// server.
    #[error("the server no longer streams the slot to this process")]
    Abandoned,
    /// The set of partitions changed, which this version of the server does not notice within a
    /// stream.
    #[error(
        "published tables or partitions changed, which this version of PostgreSQL notices only in a new stream"
    )]
    MembershipChanged,
    /// The server is shutting down and waits for its clients to disconnect.
    #[error("the server is shutting down")]
    ServerShutdown,
    /// The consumer is gone: this process is stopping.
    #[error("this process is stopping")]
    Stopping,
}

/// SQLSTATE `object_not_in_prerequisite_state`.
const PREREQUISITE: &str = "55000";
/// SQLSTATE `configuration_limit_exceeded`.
const LIMIT_EXCEEDED: &str = "53400";
/// SQLSTATE `insufficient_privilege`.
const PRIVILEGE: &str = "42501";
/// SQLSTATE `object_in_use`.
const IN_USE: &str = "55006";
/// SQLSTATE `undefined_object`.
const UNDEFINED: &str = "42704";

/// SQLSTATE classes for the state of the server: connections, resources, prerequisites, operator
/// intervention.
const STATE_CLASSES: [&str; 4] = ["08", "53", "55", "57"];

fn creation_hint(source: &WireError) -> &'static str {
    match source.sqlstate() {
        Some(PREREQUISITE) => {
            "; set wal_level = logical and restart the server (`highwater check` shows how on managed services)"
        }
        Some(LIMIT_EXCEEDED) => "; raise max_replication_slots or drop an unused slot",
        Some(PRIVILEGE) => "; grant the role the attribute: ALTER ROLE … REPLICATION",
        _ => "",
    }
}

impl ReplicationError {
    /// Whether retrying is pointless until an operator changes something.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_permanent(),
            Self::NoPublication(_) | Self::NoScope { .. } | Self::ForeignSlot { .. } => true,
            Self::CreateSlot { source, .. } => {
                matches!(source.sqlstate(), Some(PREREQUISITE | LIMIT_EXCEEDED | PRIVILEGE))
            }
            _ => false,
        }
    }

    /// Whether another consumer holds the slot.
    pub(super) fn is_slot_in_use(&self) -> bool {
        self.sqlstate() == Some(IN_USE)
    }

    /// Whether the slot decodes WAL from before the publication was created.
    pub(super) fn is_slot_older_than_publication(&self) -> bool {
        matches!(self, Self::Wire(_)) && self.sqlstate() == Some(UNDEFINED)
    }

    /// Whether the content of the stream caused the failure, rather than the connection or the
    /// server's state: then the next attempt fails at the same position.
    pub(super) fn is_caused_by_content(&self) -> bool {
        match self {
            Self::Decode(_) | Self::Assemble(_) | Self::Wire(WireError::Protocol(_)) => true,
            Self::Wire(WireError::Server(error)) => {
                !STATE_CLASSES.iter().any(|class| error.sqlstate.starts_with(class))
            }
            _ => false,
        }
    }

    fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Connect(error) => error.sqlstate(),
            Self::Wire(source)
            | Self::CreateSlot { source, .. }
            | Self::DropSlot { source, .. } => source.sqlstate(),
            _ => None,
        }
    }
}

/// Why a catalog refresh failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PollError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("read the catalog: no response within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// SQLSTATE `cannot_connect_now`: the server starts up, shuts down or recovers.
const CANNOT_CONNECT_NOW: &str = "57P03";

impl PollError {
    pub(super) fn is_server_unavailable(&self) -> bool {
        matches!(self, Self::Connect(error) if error.sqlstate() == Some(CANNOT_CONNECT_NOW))
    }
}

impl From<PollError> for ReplicationError {
    fn from(error: PollError) -> Self {
        match error {
            PollError::Connect(error) => Self::Connect(error),
            PollError::Catalog(error) => Self::Catalog(error),
            PollError::Timeout(_) => Self::Timeout("read the catalog"),
        }
    }
}
