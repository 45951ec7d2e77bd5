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

/// Bounds of the rows in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLimits {
    /// Memory of all lazily held rows together, in bytes (`cache.max_bytes`). Beyond it the least
    /// recently used are evicted.
    pub max_bytes: u64,
    /// A lazily held row that nobody used for so long is dropped (`cache.time_to_idle`).
    pub time_to_idle: Option<Duration>,
    /// A lazily held row is dropped so long after it came, used or not (`cache.time_to_live`).
    pub time_to_live: Option<Duration>,
    /// Memory of one preloaded table, in bytes (`cache.max_preload_bytes`). A table that needs more
    /// is not held: its rows are refused, with the reason.
    pub max_preload_bytes: usize,
    /// Rows that may wait to be loaded (`cache.max_pending_loads`). Beyond it a reader is told to
    /// come again.
    pub max_pending_loads: usize,
}

impl Default for RowLimits {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            time_to_idle: None,
            time_to_live: None,
            max_preload_bytes: 1024 * 1024 * 1024,
            max_pending_loads: 10_000,
        }
    }
}

/// How rows in memory are compared with the database all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPace {
    /// Time from one check to the next (`consistency.interval`).
    pub interval: Duration,
    /// Rows in memory that one check takes, at most [`CheckPace::ROWS_MAX`] (`consistency.rows`).
    pub rows: usize,
}

impl CheckPace {
    /// Rows that are compared at once: they fit one query, also with ids between them.
    pub const ROWS_MAX: usize = 250;
}

/// The bounds of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Those of the version log.
    pub log: LogLimits,
    /// Those of the rows.
    pub rows: RowLimits,
}
