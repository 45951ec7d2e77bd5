//! The task that feeds the [`Writer`]: batches from the change stream, requests of other tasks,
//! and expiry once a second.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::writer::Writer;
use crate::change::Event;
use crate::lsn::Lsn;

/// Interval between two runs of [`Writer::expire`].
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// Owns the [`Writer`] and applies everything that reaches the store.
pub struct Applier {
    writer: Writer,
}

impl Applier {
    /// Capacity, in batches, of the channel between the change stream and the applier. Small,
    /// because each batch may hold a large transaction: a full channel stops the stream from
    /// reading ahead.
    pub const BATCHES_MAX: usize = 4;

    /// An applier for the only writer of a store.
    pub fn new(writer: Writer) -> Self {
        Self { writer }
    }

    /// Applies batches in order until the sending end of `events` is dropped. After each batch
    /// `applied` holds the position up to which everything has been applied.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Vec<Event>>,
        applied: watch::Sender<Lsn>,
    ) {
        let mut expire = interval(EXPIRE_INTERVAL);
        expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = events.recv() => {
                    let Some(batch) = batch else { return };
                    let reached = batch.iter().rev().find_map(Event::reaches);
                    self.writer.apply(batch);
                    if let Some(reached) = reached {
                        applied.send_replace(reached);
                    }
                }
                () = self.writer.requested() => self.writer.serve_requests(),
                _ = expire.tick() => self.writer.expire(Timestamp::now()),
            }
        }
    }
}
