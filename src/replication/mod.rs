//! From a replication slot to events: what the store applies.
//!
//! [`Session`] is the only place that connects and reconnects. It drives one `stream` at a time: frames
//! are decoded, the [`assembler`] makes transactions of them, and batches go over a bounded channel
//! to the store. Backwards flows only a number, how far the store has applied; [`feedback`] turns it
//! into the position the server may forget. Beside the stream, `watch` looks at the catalog.
//!
//! `assembler`, `relation`, `staging`, `feedback`, `hold`, `pace`, `silence` and `retry` are pure: no I/O, no clock of their own.

mod announcement;
pub mod assembler;
pub mod catalog;
pub mod error;
pub mod feedback;
mod form;
mod hold;
mod options;
mod pace;
mod relation;
mod report;
mod retry;
mod row_plan;
mod row_stage;
pub mod session;
mod silence;
mod slot;
pub mod staging;
mod stream;
mod watch;

pub use error::SessionError;
pub use feedback::ResumeWindow;
pub use options::{SessionChannels, SessionOptions, Streaming};
pub use session::Session;
pub use staging::StageLimits;
