//! What the version log may hold.

use std::time::Duration;

/// Bounds of the version log. At each of them the oldest changes are forgotten and the floor of
/// their table rises: clients from before it are told to read the table again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// What one table may remember: an id counts once, however often it changed, and once more
    /// for every time it was deleted and inserted again.
    pub max_changes: usize,
    /// How long a change is remembered, by the commit's timestamp. Looked at by
    /// [`Writer::expire`](super::Writer::expire).
    pub max_age: Duration,
    /// Memory of all tables' logs together, in bytes. At it the table that holds most forgets.
    /// Looked at after every lock hold of the writer, so it can be exceeded meanwhile by what
    /// one commit brings.
    pub max_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            max_changes: 1_000_000,
            max_age: Duration::from_hours(24),
            max_bytes: 512 * 1024 * 1024,
        }
    }
}
