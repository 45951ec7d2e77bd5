//! Sources of change events.
//!
//! A [`ChangeSource`] delivers [`Event`]s in order and is given back the position up to which they are
//! applied. The walsender ([`postgres`]) is one. Nothing above this module names a particular source,
//! except for [`app`](crate::app), which builds it; what other layers need to know of any source is in
//! [`source_status`](crate::source_status).

pub mod postgres;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::change::Event;
use crate::lsn::Lsn;
use crate::source_status::{SourceStatus, StreamRequests};

/// A supplier of change events.
///
/// Batches are sent in commit order, and nothing is sent twice within one run except after an
/// [`Event::Started`] that says so. An applied position, once reported through [`EventSink::applied`],
/// may be confirmed to whatever keeps the changes, which then may discard everything before it.
pub trait ChangeSource: Send {
    /// Snapshots of the source's state. They also carry the arithmetic of its positions
    /// ([`SourceStatus::lag_bytes`], [`SourceStatus::resolve_position`]), so that readers of a status
    /// need no handle of the source itself.
    fn status(&self) -> watch::Receiver<SourceStatus>;

    /// Publishes the reason why the source has not been started yet, while the caller still prepares
    /// what it needs.
    fn report_disconnected(&self, reason: String);

    /// Delivers events until `shutdown`, reconnecting as often as necessary.
    ///
    /// # Errors
    /// Failures that waiting cannot resolve, and only before the first event: after that everything
    /// is retried while readers are served from memory.
    fn run(
        self: Box<Self>,
        events: EventSink,
        requests: StreamRequests,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// The consumer's end of a source.
#[derive(Debug)]
pub struct EventSink {
    /// Receives the batches, in order. Bounded: a slow consumer slows the source down.
    pub batches: Sender<Vec<Event>>,
    /// The position up to which events are visible to readers.
    pub applied: watch::Receiver<Lsn>,
}

/// Why a source stopped for good: one sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The walsender's stream.
    #[error(transparent)]
    Postgres(#[from] postgres::ReplicationError),
}
