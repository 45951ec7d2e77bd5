//! What a session is given.

use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::feedback::ResumeWindow;
use super::staging::StageLimits;
use crate::change::Event;
use crate::lsn::Lsn;
use crate::source::{SourceStatus, Wishes};
use crate::table::{WantedRows, WantedScope};
use crate::wire::Target;

/// What to stream, and how.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The server and database.
    pub target: Target,
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
    /// Bounds of a transaction.
    pub stage: StageLimits,
    /// Tables whose rows are to be told as well as their ids.
    pub rows: Vec<WantedRows>,
    /// Tables whose changes are to be told to each scope by itself.
    pub scopes: Vec<WantedScope>,
}

/// The ends of the session that others hold.
pub struct SessionChannels {
    /// Where events go, in order.
    pub events: Sender<Vec<Event>>,
    /// Tells up to where events are visible to readers.
    pub applied: watch::Receiver<Lsn>,
    /// Where the session says how it is.
    pub status: watch::Sender<SourceStatus>,
    /// What others want of the session sooner than it would do it by itself.
    pub wishes: Wishes,
    /// Ends the session.
    pub shutdown: CancellationToken,
}
