//! Section `[consistency]`.

use super::reader::SettingsReader;
use super::{settings, value};
use crate::store::CheckPace;

/// Section `[consistency]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyConfig {
    /// `None`: rows are compared only when somebody asks for it.
    pub pace: Option<CheckPace>,
}

impl ConsistencyConfig {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Option<Self> {
        let rows_max = u32::try_from(CheckPace::ROWS_MAX).unwrap_or(u32::MAX);
        let interval = reader.optional(&settings::CHECK_INTERVAL, value::pause);
        let rows = reader.value(&settings::CHECK_ROWS, |text| value::count(text, rows_max));
        let rows = rows? as usize;
        Some(Self { pace: interval.map(|interval| CheckPace { interval, rows }) })
    }
}
