//! A setting before its text is interpreted.

use super::error::SettingSource;

/// The text of a setting, the same for file, environment and flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawSetting {
    Text(String),
    List(Vec<String>),
}

/// A raw setting and where it was given.
#[derive(Clone, Debug)]
pub(super) struct SourcedSetting {
    pub(super) raw: RawSetting,
    pub(super) location: SettingSource,
}
