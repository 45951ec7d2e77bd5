//! Section `[consistency]`.

use super::reader::Reader;
use super::{settings, value};
use crate::store::CheckPace;

/// Section `[consistency]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// `None`: rows are compared only when somebody asks for it.
    pub pace: Option<CheckPace>,
}

impl Consistency {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let rows_max = u32::try_from(CheckPace::ROWS_MAX).unwrap_or(u32::MAX);
        let interval = reader.optional(&settings::CHECK_INTERVAL, value::pause);
        let rows = reader.value(&settings::CHECK_ROWS, |text| value::count(text, rows_max));
        let rows = rows? as usize;
        Some(Self { pace: interval.map(|interval| CheckPace { interval, rows }) })
    }
}
