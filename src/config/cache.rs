//! Section `[cache]`.

use std::time::Duration;

use super::reader::SettingsReader;
use super::{settings, value};

/// Limits of rows in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes for the lazily held rows of all tables together.
    pub max_bytes: u64,
    /// How long a lazily held row stays unused.
    pub time_to_idle: Option<Duration>,
    /// How long a lazily held row stays.
    pub time_to_live: Option<Duration>,
    /// Bytes for the rows of one preloaded table.
    pub max_preload_bytes: usize,
    /// Rows that may wait to be loaded.
    pub max_pending_loads: usize,
    /// Connections that load rows.
    pub load_connections: usize,
    /// How long one query for rows may take.
    pub load_timeout: Duration,
}

impl CacheConfig {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let count = |most| move |text: &str| value::count(text, most).map(|count| count as usize);
        let max_bytes = reader.value(&settings::CACHE_MAX_BYTES, value::positive_size);
        let time_to_idle = reader.optional(&settings::TIME_TO_IDLE, value::cached_for);
        let time_to_live = reader.optional(&settings::TIME_TO_LIVE, value::cached_for);
        let preload_max_bytes = reader.value(&settings::PRELOAD_MAX_BYTES, value::memory);
        let loads_waiting_max = reader.value(&settings::LOADS_WAITING_MAX, count(1_000_000));
        let load_connections = reader.value(&settings::LOAD_CONNECTIONS, count(100));
        let load_timeout = reader.value(&settings::LOAD_TIMEOUT, value::positive_duration);
        Some(Self {
            max_bytes: max_bytes?,
            time_to_idle,
            time_to_live,
            max_preload_bytes: preload_max_bytes?,
            max_pending_loads: loads_waiting_max?,
            load_connections: load_connections?,
            load_timeout: load_timeout?,
        })
    }
}
