//! From a replication slot to events: what the store applies.
//!
//! [`ReplicationSession`] is the only place that connects and reconnects. It drives one `stream` at a time: frames
//! are decoded, the [`assembler`] makes transactions of them, and batches go over a bounded channel
//! to the store. Backwards flows only a number, how far the store has applied; [`feedback`] turns it
//! into the position the server may forget. Beside the stream, `watch` looks at the catalog.
//!
//! `assembler`, `relation`, `staging`, `feedback`, `hold`, `pace`, `silence` and `retry` are pure: no I/O, no clock of their own.

mod announcement;
pub mod assembler;
pub mod catalog;
mod catalog_poller;
mod commit_holdback;
pub mod error;
pub mod feedback;
mod form;
mod liveness;
mod options;
mod read_coalescer;
mod relation;
mod retry;
mod row_buffer;
mod row_layout;
pub mod session;
mod slot;
mod status_reporter;
mod stream;
pub mod transaction_buffer;

pub use error::ReplicationError;
pub use feedback::ResumeWindow;
pub use options::{ReplicationChannels, ReplicationOptions, Streaming};
pub use session::ReplicationSession;
pub use transaction_buffer::TransactionLimits;
