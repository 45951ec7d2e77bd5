//! Reads typed values out of the layers, collecting what is wrong.

use std::collections::BTreeMap;
use std::path::Path;

use super::entry::{RawSetting, SourcedSetting};
use super::error::{ConfigError, SettingSource};
use super::layers::{Layers, read};
use super::settings::SettingSpec;
use super::value::ValueError;
use crate::secret::Secret;

pub(super) struct SettingsReader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) errors: Vec<ConfigError>,
}

impl SettingsReader<'_> {
    /// The key's value, else its default; `None` when neither is there or the value is wrong, which
    /// is then among the errors.
    pub(super) fn value<T>(
        &mut self,
        setting: &SettingSpec,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let Some(entry) = self.layers.entry(setting) else {
            return parse(setting.default?).ok();
        };
        let parsed = match &entry.written {
            RawSetting::Text(text) => parse(text),
            RawSetting::List(_) => Err(format!("must be one value, not a list ({})", setting.form)),
        };
        parsed.map_err(|problem| self.errors.push(invalid(setting.key, entry, problem))).ok()
    }

    /// The value of a key that has no default and may be left out.
    pub(super) fn optional<T>(
        &mut self,
        setting: &SettingSpec,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        self.layers.entry(setting).and_then(|_| self.value(setting, parse))
    }

    /// The value of a key in the section of a table or token, if it is written there.
    pub(super) fn of_named<T>(
        &mut self,
        name: &str,
        setting: &SettingSpec,
        written: &BTreeMap<&'static str, SourcedSetting>,
        parse: impl Fn(&RawSetting) -> Result<T, ValueError>,
    ) -> Option<T> {
        let entry = written.get(setting.key)?;
        let key = setting.key.replace("NAME", name);
        parse(&entry.written)
            .map_err(|problem| self.errors.push(invalid(&key, entry, problem)))
            .ok()
    }

    /// The items of a list: an array in the file, separated by commas in the environment.
    pub(super) fn list<T>(
        &mut self,
        setting: &SettingSpec,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Vec<T> {
        let Some(entry) = self.layers.entry(setting) else { return Vec::new() };
        let items = several(&entry.written).into_iter();
        let parsed: Result<Vec<T>, ValueError> = items.map(parse).collect();
        parsed.unwrap_or_else(|problem| {
            self.errors.push(invalid(setting.key, entry, problem));
            Vec::new()
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        setting: &SettingSpec,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.value(setting, |text| choose(text, choices))
    }

    /// A secret written as itself or in a file; the stronger place wins.
    pub(super) fn secret(&mut self, plain: &SettingSpec, file: &SettingSpec) -> Option<Secret> {
        let (written, named) = (self.layers.entry(plain), self.layers.entry(file));
        if let (Some(written), Some(named)) = (written, named) {
            let (ours, theirs) = (written.place.rank(), named.place.rank());
            if ours == theirs {
                self.errors.push(ConfigError::Either {
                    first: plain.key,
                    first_place: written.place.clone(),
                    second: file.key,
                    second_place: named.place.clone(),
                });
                return None;
            }
            if theirs > ours {
                return self.secret_file(file);
            }
        }
        if written.is_some() {
            return self.value(plain, |text| Ok(Secret::new(text.trim())));
        }
        self.secret_file(file)
    }

    /// The strongest place where one of these keys is written.
    pub(super) fn place_of(&self, settings: &[&SettingSpec]) -> Option<SettingSource> {
        let places = settings.iter().filter_map(|setting| self.layers.entry(setting));
        places.map(|entry| entry.place.clone()).max_by_key(SettingSource::rank)
    }

    /// The text of the file that `setting` names, without the line end most editors add.
    pub(super) fn secret_file(&mut self, setting: &SettingSpec) -> Option<Secret> {
        let entry = self.layers.entry(setting)?;
        let RawSetting::Text(path) = &entry.written else {
            let problem = "must be the path of one file".to_owned();
            self.errors.push(invalid(setting.key, entry, problem));
            return None;
        };
        match read(&format!("{}: {}", entry.place, setting.key), Path::new(path)) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }
}

/// What was written, as one value.
pub(super) fn one(written: &RawSetting) -> Result<&str, ValueError> {
    match written {
        RawSetting::Text(text) => Ok(text),
        RawSetting::List(_) => Err("must be one value, not a list".into()),
    }
}

/// What was written, as a list: an array in the file, separated by commas in the environment.
pub(super) fn several(written: &RawSetting) -> Vec<&str> {
    match written {
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
    let given = match &entry.written {
        // A URL may hold a password, and a path put where a secret belongs may be one.
        _ if key.starts_with("postgres.url") || key.contains("password") => None,
        // Most often it is the token itself.
        _ if key.starts_with("auth.tokens.") && key.contains(".hash") => None,
        RawSetting::Text(text) => Some(text.clone()),
        RawSetting::List(items) => Some(items.join(", ")),
    };
    ConfigError::Invalid { place: entry.place.clone(), key: key.to_owned(), given, problem }
}
