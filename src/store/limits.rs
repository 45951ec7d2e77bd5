//! The store's limits.

use std::time::Duration;

/// Limits of the version log. At each of them the oldest changes are evicted and the floor of
/// their table rises: clients with an older version get a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Entries of one table's log: an id counts once, however often it changed, and once more
    /// for every time it was deleted and inserted again (`log.max_changes`).
    pub max_changes: usize,
    /// Age of a change, by the commit's timestamp, at which it is evicted (`log.max_age`). Enforced
    /// by [`Writer::expire`](super::Writer::expire).
    pub max_age: Duration,
    /// Memory of all tables' logs together, in bytes (`log.max_bytes`). At it the largest log evicts.
    /// Enforced after every lock hold of the writer, so one commit's changes may exceed it meanwhile.
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

/// Limits of the cached rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLimits {
    /// Memory of all lazily cached rows together, in bytes (`cache.max_bytes`). Beyond it the least
    /// recently used are evicted.
    pub max_bytes: u64,
    /// Time without reads or changes after which a lazily cached row is dropped
    /// (`cache.time_to_idle`).
    pub time_to_idle: Option<Duration>,
    /// Time after its last load or change at which a lazily cached row is dropped, used or not
    /// (`cache.time_to_live`).
    pub time_to_live: Option<Duration>,
    /// Memory of one preloaded table, in bytes (`cache.max_preload_bytes`). A table that needs more
    /// is not cached: requests for its rows fail, with the reason.
    pub max_preload_bytes: usize,
    /// Rows that may wait to be loaded (`cache.max_pending_loads`). Beyond it requests for more fail
    /// as temporarily unavailable.
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

/// The pace at which cached rows are compared with the database in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPace {
    /// Interval between two checks (`consistency.interval`).
    pub interval: Duration,
    /// Cached rows compared by one check, at most [`CheckPace::ROWS_MAX`] (`consistency.rows`).
    pub rows: usize,
}

impl CheckPace {
    /// Maximum of `rows`: they fit one query together with as many ids between them.
    pub const ROWS_MAX: usize = 250;
}

/// All limits of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Limits of the version log.
    pub log: LogLimits,
    /// Limits of the cached rows.
    pub rows: RowLimits,
}
