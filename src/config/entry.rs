//! A value as it was written.

use super::error::SettingSource;

/// What was written, before anyone asked what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawSetting {
    Text(String),
    List(Vec<String>),
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct SourcedSetting {
    pub(super) written: RawSetting,
    pub(super) place: SettingSource,
}
