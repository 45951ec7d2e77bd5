//! Options of the walsender source.

use super::feedback::ResumeWindow;
use super::transaction_buffer::TransactionLimits;
use crate::table::{RowsConfig, ScopeConfig};
use crate::wire::ConnectOptions;

/// What to stream, and how.
#[derive(Clone, Debug)]
pub struct ReplicationOptions {
    /// The server and database.
    pub target: ConnectOptions,
    /// Name of the publication.
    pub publication: String,
    /// Name of the slot: lower-case letters, digits and underscores.
    pub slot: String,
    /// Whether the slot ends with the connection.
    pub temporary_slot: bool,
    /// Whether standbys may keep the slot ready for a failover (PostgreSQL 17 and newer).
    pub failover_slot: bool,
    /// Bound of the WAL retained for restarts.
    pub resume_window: ResumeWindow,
    /// Whether large transactions are sent before they commit.
    pub streaming: Streaming,
    /// Bounds of the memory for open transactions.
    pub limits: TransactionLimits,
    /// Tables whose rows are cached.
    pub rows: Vec<RowsConfig>,
    /// Tables whose changes are partitioned by scope.
    pub scopes: Vec<ScopeConfig>,
}

/// Whether the server sends a transaction that exceeds its memory (`logical_decoding_work_mem`)
/// before it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// Such a transaction stays on the server's disk until its commit.
    Off,
    /// The changes so far are sent, and what is rolled back is sent later.
    On,
    /// The same in the form for subscribers that apply such transactions in parallel. The decoder
    /// treats both alike.
    Parallel,
}

impl Streaming {
    /// First major version with `parallel`.
    const PARALLEL_SINCE: u32 = 16;

    /// The protocol version to request, and the value of the option `streaming` if any.
    pub(super) fn plugin_options(self, server_major: u32) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Off => ("1", None),
            Self::Parallel if server_major >= Self::PARALLEL_SINCE => ("4", Some("parallel")),
            Self::On | Self::Parallel => ("2", Some("on")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_what_the_server_version_supports() {
        assert_eq!(Streaming::Off.plugin_options(18), ("1", None));
        assert_eq!(Streaming::On.plugin_options(18), ("2", Some("on")));
        assert_eq!(Streaming::Parallel.plugin_options(16), ("4", Some("parallel")));
        assert_eq!(Streaming::Parallel.plugin_options(15), ("2", Some("on")));
    }
}
