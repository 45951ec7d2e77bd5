//! Typed access to the layers. Errors are collected, so that all of them are reported at once.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ConfigError, SettingSource};
use super::layers::{Layers, read_file};
use super::raw::{RawSetting, SourcedSetting};
use super::settings::SettingSpec;
use super::value::ValueError;
use crate::secret::Secret;

pub(super) struct SettingsReader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) errors: Vec<ConfigError>,
}

impl SettingsReader<'_> {
    /// The value of the key, or its default. `None` if there is neither, or if the value is invalid;
    /// then the reason is among the errors.
    pub(super) fn value<T>(
        &mut self,
        setting: &SettingSpec,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let Some(entry) = self.layers.entry(setting) else {
            return parse(setting.default?).ok();
        };
        let parsed = match &entry.raw {
            RawSetting::Text(text) => parse(text),
            RawSetting::List(_) => Err(format!("must be one value, not a list ({})", setting.form)),
        };
        parsed.map_err(|problem| self.errors.push(invalid(setting.key, entry, problem))).ok()
    }

    /// The value of an optional key; `None` if it is not set.
    pub(super) fn optional<T>(
        &mut self,
        setting: &SettingSpec,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        self.layers.entry(setting).and_then(|_| self.value(setting, parse))
    }

    /// The value of a key in the section of a table or token; `None` if it is not set.
    pub(super) fn of_named<T>(
        &mut self,
        name: &str,
        setting: &SettingSpec,
        section: &BTreeMap<&'static str, SourcedSetting>,
        parse: impl Fn(&RawSetting) -> Result<T, ValueError>,
    ) -> Option<T> {
        let entry = section.get(setting.key)?;
        let key = setting.key.replace("NAME", name);
        parse(&entry.raw).map_err(|problem| self.errors.push(invalid(&key, entry, problem))).ok()
    }

    /// The items of a list; empty if the key is not set.
    pub(super) fn list<T>(
        &mut self,
        setting: &SettingSpec,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Vec<T> {
        let Some(entry) = self.layers.entry(setting) else { return Vec::new() };
        let items = several(&entry.raw).into_iter();
        let parsed: Result<Vec<T>, ValueError> = items.map(parse).collect();
        parsed.unwrap_or_else(|problem| {
            self.errors.push(invalid(setting.key, entry, problem));
            Vec::new()
        })
    }

    /// The value of a key that accepts a fixed set of words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        setting: &SettingSpec,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.value(setting, |text| choose(text, choices))
    }

    /// A secret, given as text or as the name of a file. The stronger source wins; equally strong
    /// ones contradict each other.
    pub(super) fn secret(&mut self, plain: &SettingSpec, file: &SettingSpec) -> Option<Secret> {
        let (text, path) = (self.layers.entry(plain), self.layers.entry(file));
        if let (Some(text), Some(path)) = (text, path) {
            let (text_rank, path_rank) = (text.location.rank(), path.location.rank());
            if text_rank == path_rank {
                self.errors.push(ConfigError::Either {
                    first: plain.key,
                    first_location: text.location.clone(),
                    second: file.key,
                    second_location: path.location.clone(),
                });
                return None;
            }
            if path_rank > text_rank {
                return self.secret_file(file);
            }
        }
        if text.is_some() {
            return self.value(plain, |text| Ok(Secret::new(text.trim())));
        }
        self.secret_file(file)
    }

    /// The strongest source that sets one of these keys.
    pub(super) fn location_of(&self, settings: &[&SettingSpec]) -> Option<SettingSource> {
        let entries = settings.iter().filter_map(|setting| self.layers.entry(setting));
        entries.map(|entry| entry.location.clone()).max_by_key(SettingSource::rank)
    }

    /// The text of the file that `setting` names, without the line break that most editors append.
    pub(super) fn secret_file(&mut self, setting: &SettingSpec) -> Option<Secret> {
        let entry = self.layers.entry(setting)?;
        let RawSetting::Text(path) = &entry.raw else {
            let problem = "must be the path of one file".to_owned();
            self.errors.push(invalid(setting.key, entry, problem));
            return None;
        };
        match read_file(&format!("{}: {}", entry.location, setting.key), Path::new(path)) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }
}

/// A setting that must be one value.
pub(super) fn one(raw: &RawSetting) -> Result<&str, ValueError> {
    match raw {
        RawSetting::Text(text) => Ok(text),
        RawSetting::List(_) => Err("must be one value, not a list".into()),
    }
}

/// A setting as a list: an array in the file, separated by commas in the environment.
pub(super) fn several(raw: &RawSetting) -> Vec<&str> {
    match raw {
        RawSetting::List(items) => items.iter().map(String::as_str).collect(),
        RawSetting::Text(text) => {
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
        }
    }
}

pub(super) fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, ValueError> {
    let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
    chosen.ok_or_else(|| {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("must be {}", words.join(" or "))
    })
}

pub(super) fn invalid(key: &str, entry: &SourcedSetting, problem: ValueError) -> ConfigError {
    let given = match &entry.raw {
        // A URL may contain a password, and the value of a `*_file` key may be the secret by mistake.
        _ if key.starts_with("postgres.url") || key.contains("password") => None,
        // The usual mistake is to give the token itself.
        _ if key.starts_with("auth.tokens.") && key.contains(".hash") => None,
        RawSetting::Text(text) => Some(text.clone()),
        RawSetting::List(items) => Some(items.join(", ")),
    };
    ConfigError::Invalid { location: entry.location.clone(), key: key.to_owned(), given, problem }
}
