//! What a session is given.

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::feedback::ResumeWindow;
use super::transaction_buffer::TransactionLimits;
use crate::change::Event;
use crate::lsn::Lsn;
use crate::source::{SourceStatus, StreamRequests};
use crate::table::{RowsConfig, ScopeConfig};
use crate::wire::ConnectOptions;

/// What to stream, and how.
#[derive(Clone, Debug)]
pub struct ReplicationOptions {
    /// The server and database.
    pub target: ConnectOptions,
    /// The publication's name.
    pub publication: String,
    /// The slot's name: lower-case letters, digits and underscores.
    pub slot: String,
    /// Whether the slot ends with the connection.
    pub temporary_slot: bool,
    /// Whether standbys may keep the slot ready for a failover (PostgreSQL 17 and newer).
    pub failover_slot: bool,
    /// How much WAL is kept for a restart.
    pub resume_window: ResumeWindow,
    /// Whether large transactions are sent while they run.
    pub streaming: Streaming,
    /// Bounds of what is staged.
    pub limits: TransactionLimits,
    /// Tables whose rows are to be told as well as their ids.
    pub rows: Vec<RowsConfig>,
    /// Tables whose changes are to be told to each scope by itself.
    pub scopes: Vec<ScopeConfig>,
}

/// Whether the server sends a transaction that outgrows its memory (`logical_decoding_work_mem`)
/// before it commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// It keeps such a transaction on its disk until the commit.
    Off,
    /// It sends what there is, and says later what was rolled back.
    On,
    /// …in the form for subscribers that apply such transactions side by side. To us it is the same.
    Parallel,
}

impl Streaming {
    /// The first major version that knows `parallel`.
    const PARALLEL_SINCE: u32 = 16;

    /// The protocol version to ask for, and the option `streaming` if any.
    pub(super) fn plugin_options(self, server_major: u32) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Off => ("1", None),
            Self::Parallel if server_major >= Self::PARALLEL_SINCE => ("4", Some("parallel")),
            Self::On | Self::Parallel => ("2", Some("on")),
        }
    }
}

/// The ends of the session that others hold.
pub struct ReplicationChannels {
    /// Where events go, in order.
    pub events: Sender<Vec<Event>>,
    /// Tells up to where events are visible to readers.
    pub applied: watch::Receiver<Lsn>,
    /// Where the session says how it is.
    pub status: watch::Sender<SourceStatus>,
    /// What others want of the session sooner than it would do it by itself.
    pub requests: StreamRequests,
    /// Ends the session.
    pub shutdown: CancellationToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_what_the_server_knows() {
        assert_eq!(Streaming::Off.plugin_options(18), ("1", None));
        assert_eq!(Streaming::On.plugin_options(18), ("2", Some("on")));
        assert_eq!(Streaming::Parallel.plugin_options(16), ("4", Some("parallel")));
        assert_eq!(Streaming::Parallel.plugin_options(15), ("2", Some("on")));
    }
}
