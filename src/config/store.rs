//! Sections `[log]` and `[cache]`.

use super::reader::SettingsReader;
use super::{settings, value};
use crate::database::loader::LoaderOptions;
use crate::source::postgres::TransactionLimits;
use crate::store::{Limits, LogLimits, RowLimits};
use crate::wire::ConnectOptions;

/// Entries of the version log are numbered with 32 bits. No machine has the memory for this many.
const MAX_LOG_CHANGES: u32 = 2_000_000_000;

fn changes(text: &str) -> Result<usize, value::ValueError> {
    value::count(text, MAX_LOG_CHANGES).map(|count| count as usize)
}

pub(super) fn transaction_limits(reader: &mut SettingsReader<'_>) -> Option<TransactionLimits> {
    let max_changes = reader.value(&settings::MAX_TRANSACTION_CHANGES, changes);
    let max_bytes = reader.value(&settings::MAX_TRANSACTION_BYTES, value::memory);
    let max_streamed_bytes = reader.value(&settings::MAX_STREAMED_BYTES, value::memory);
    Some(TransactionLimits {
        max_changes: max_changes?,
        max_bytes: max_bytes?,
        max_streamed_bytes: max_streamed_bytes?,
    })
}

pub(super) fn limits(reader: &mut SettingsReader<'_>) -> Option<Limits> {
    let (log, rows) = (log_limits(reader), row_limits(reader));
    Some(Limits { log: log?, rows: rows? })
}

fn log_limits(reader: &mut SettingsReader<'_>) -> Option<LogLimits> {
    let max_changes = reader.value(&settings::MAX_CHANGES, changes);
    let max_age = reader.value(&settings::MAX_AGE, value::positive_duration);
    let max_bytes = reader.value(&settings::MAX_BYTES, value::memory);
    Some(LogLimits { max_changes: max_changes?, max_age: max_age?, max_bytes: max_bytes? })
}

fn row_limits(reader: &mut SettingsReader<'_>) -> Option<RowLimits> {
    let loads = |text: &str| value::count(text, 1_000_000).map(|count| count as usize);
    let max_bytes = reader.value(&settings::CACHE_MAX_BYTES, value::positive_size);
    let time_to_idle = reader.optional(&settings::TIME_TO_IDLE, value::time_to_live);
    let time_to_live = reader.optional(&settings::TIME_TO_LIVE, value::time_to_live);
    let max_preload_bytes = reader.value(&settings::MAX_PRELOAD_BYTES, value::memory);
    let max_pending_loads = reader.value(&settings::MAX_PENDING_LOADS, loads);
    Some(RowLimits {
        max_bytes: max_bytes?,
        time_to_idle,
        time_to_live,
        max_preload_bytes: max_preload_bytes?,
        max_pending_loads: max_pending_loads?,
    })
}

pub(super) fn loader(
    reader: &mut SettingsReader<'_>,
    target: Option<ConnectOptions>,
) -> Option<LoaderOptions> {
    let connections = |text: &str| value::count(text, 100).map(|count| count as usize);
    let connections = reader.value(&settings::LOAD_CONNECTIONS, connections);
    let timeout = reader.value(&settings::LOAD_TIMEOUT, value::positive_duration)?;
    let defaults = LoaderOptions::new(target?);
    Some(LoaderOptions {
        max_connections: connections?,
        statement_timeout: timeout,
        // Longer than a query may take, see there.
        silence_timeout: defaults.silence_timeout.max(timeout * 2),
        ..defaults
    })
}
