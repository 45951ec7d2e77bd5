//! The three layers (file, environment, flags), merged by precedence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::{Environment, TOKEN_VARIABLE};
use super::error::{ConfigError, SettingSource};
use super::raw::{RawSetting, SourcedSetting};
use super::settings::{
    AUTH_SETTINGS, SETTINGS, SettingSpec, TABLE_SETTINGS, flag_of, nearest, nearest_of_table,
    nearest_of_token, variable_of,
};

/// A setting of the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag for error messages, `--url`.
    pub flag: &'static str,
    /// The key it sets, `postgres.url`.
    pub key: &'static str,
    /// The text as given, not yet parsed.
    pub value: String,
}

impl Flag {
    /// The flag that sets `key`; error messages name the key itself if it has no flag.
    pub fn new(key: &'static str, value: String) -> Self {
        Self { flag: flag_of(key).unwrap_or(key), key, value }
    }
}

/// The settings of all sources, the strongest for each key.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) scalars: BTreeMap<&'static str, SourcedSetting>,
    /// The settings of each section `[tables.NAME]`.
    pub(super) tables: BTreeMap<String, BTreeMap<&'static str, SourcedSetting>>,
    /// The settings of each section `[auth.tokens.NAME]`.
    pub(super) tokens: BTreeMap<String, BTreeMap<&'static str, SourcedSetting>>,
    /// The conditions of `where`, of tokens and of JWTs.
    pub(super) conditions: Vec<GrantCondition>,
}

/// `where.TABLE.COLUMN = value` in the section of a token or of JWTs.
#[derive(Clone, Debug)]
pub(super) struct GrantCondition {
    /// The name of the token; `None` for JWTs.
    pub(super) token: Option<String>,
    pub(super) table: String,
    pub(super) column: String,
    /// True if the value is the name of a claim.
    pub(super) is_claim: bool,
    pub(super) entry: SourcedSetting,
}

/// The variable with the path of the configuration file; `--config` overrides it.
pub(super) const CONFIG_VARIABLE: &str = "HIGHWATER_CONFIG";
const PREFIX: &str = "HIGHWATER_";
/// Variables with the prefix that are not keys: the directory of PostgreSQL's programs (`highwater
/// demo`) and the token of the commands that are clients of a running Highwater.
const OTHER_VARIABLES: &[&str] = &[CONFIG_VARIABLE, "HIGHWATER_PG_BIN", TOKEN_VARIABLE];
/// Variables of the test suite are not keys, either.
const TEST_PREFIX: &str = "HIGHWATER_TEST_";
/// Variables without the prefix that are accepted, too. Those with the prefix override them.
const ALIASES: &[(&str, &str)] = &[("DATABASE_URL", "postgres.url"), ("RUST_LOG", "logging.level")];

impl Layers {
    pub(super) fn add_file(&mut self, path: &Path, text: &str, errors: &mut Vec<ConfigError>) {
        match super::file::parse(path, text) {
            Err(error) => errors.push(error),
            Ok(entries) => {
                for (key, entry) in entries {
                    self.add(&key, entry, errors);
                }
            }
        }
    }

    pub(super) fn add_environment(
        &mut self,
        environment: &Environment,
        errors: &mut Vec<ConfigError>,
    ) {
        for (name, key) in ALIASES {
            if let Some(value) = environment.text(name) {
                let entry =
                    SourcedSetting { raw: text(value), location: SettingSource::Alias(name) };
                self.add(&path_of(key), entry, errors);
            }
        }
        for (name, value) in environment.starting_with(PREFIX) {
            if is_not_a_key(name, value) {
                continue;
            }
            let Some(value) = value else {
                errors.push(ConfigError::NotUnicode { name: name.to_owned() });
                continue;
            };
            let key = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
            let key: Vec<String> = key.split("__").map(str::to_owned).collect();
            let entry = SourcedSetting {
                raw: text(value),
                location: SettingSource::Variable(name.to_owned()),
            };
            self.add(&key, entry, errors);
        }
    }

    pub(super) fn add_flags(&mut self, flags: Vec<Flag>, errors: &mut Vec<ConfigError>) {
        for flag in flags {
            let entry =
                SourcedSetting { raw: text(&flag.value), location: SettingSource::Flag(flag.flag) };
            self.add(&path_of(flag.key), entry, errors);
        }
    }

    fn add(&mut self, key: &[String], entry: SourcedSetting, errors: &mut Vec<ConfigError>) {
        if let [section, name, field] = key
            && section == "tables"
            && let Some(setting) = table_setting(field)
        {
            put(self.tables.entry(name.clone()).or_default(), setting.key, entry);
            return;
        }
        if self.add_of_auth(key, &entry) {
            return;
        }
        let dotted = key.join(".");
        match SETTINGS.iter().find(|setting| setting.key == dotted) {
            Some(setting) => put(&mut self.scalars, setting.key, entry),
            None => errors.push(unknown(key, &dotted, entry.location)),
        }
    }

    /// Adds a key of `[auth]` that contains a name chosen by the operator; false if it is none.
    fn add_of_auth(&mut self, key: &[String], entry: &SourcedSetting) -> bool {
        let [section, rest @ ..] = key else { return false };
        let (token, rest) = match rest {
            [tokens, name, rest @ ..] if tokens == "tokens" => (Some(name.clone()), rest),
            [jwt, rest @ ..] if jwt == "jwt" => (None, rest),
            _ => return false,
        };
        if section != "auth" {
            return false;
        }
        match (&token, rest) {
            (Some(name), [field]) => {
                let key = format!("auth.tokens.NAME.{field}");
                let setting = AUTH_SETTINGS.iter().find(|setting| setting.key == key);
                if let Some(setting) = setting {
                    put(self.tokens.entry(name.clone()).or_default(), setting.key, entry.clone());
                }
                setting.is_some()
            }
            (_, [word, table, column]) if word == "where" => {
                self.add_condition(token, table, column, false, entry);
                true
            }
            (_, [word, table, column, claim]) if word == "where" && claim == "claim" => {
                self.add_condition(token, table, column, true, entry);
                true
            }
            _ => false,
        }
    }

    /// Like every key, a condition may be set by several sources.
    fn add_condition(
        &mut self,
        token: Option<String>,
        table: &str,
        column: &str,
        is_claim: bool,
        entry: &SourcedSetting,
    ) {
        let (table, column, entry) = (table.to_owned(), column.to_owned(), entry.clone());
        let added = GrantCondition { token, table, column, is_claim, entry };
        let same = |known: &GrantCondition| {
            (&known.token, &known.table, &known.column)
                == (&added.token, &added.table, &added.column)
        };
        match self.conditions.iter_mut().find(|known| same(known)) {
            Some(known) if known.entry.location.rank() > added.entry.location.rank() => {}
            Some(known) => *known = added,
            None => self.conditions.push(added),
        }
    }

    pub(super) fn entry(&self, setting: &SettingSpec) -> Option<&SourcedSetting> {
        self.scalars.get(setting.key)
    }
}

/// The key for `field` in a section `[tables.NAME]`.
fn table_setting(field: &str) -> Option<&'static SettingSpec> {
    TABLE_SETTINGS.iter().find(|setting| setting.key.ends_with(&format!(".{field}")))
}

fn put<K: Ord>(entries: &mut BTreeMap<K, SourcedSetting>, key: K, entry: SourcedSetting) {
    if entries.get(&key).is_none_or(|known| known.location.rank() <= entry.location.rank()) {
        entries.insert(key, entry);
    }
}

fn unknown(key: &[String], dotted: &str, location: SettingSource) -> ConfigError {
    let nearest = match key {
        [section, name, field @ ..] if section == "tables" => {
            nearest_of_table(&field.join(".")).replace("NAME", name)
        }
        [section, tokens, name, field @ ..] if section == "auth" && tokens == "tokens" => {
            nearest_of_token(&field.join(".")).replace("NAME", name)
        }
        _ => nearest(dotted).to_owned(),
    };
    match &location {
        SettingSource::Variable(name) => {
            let (key, nearest) = (name.clone(), variable_of(&nearest));
            ConfigError::UnknownKey { location, key, nearest }
        }
        _ => ConfigError::UnknownKey { location, key: dotted.to_owned(), nearest },
    }
}

/// True for a variable with the prefix that is not part of the configuration.
fn is_not_a_key(name: &str, value: Option<&str>) -> bool {
    OTHER_VARIABLES.contains(&name)
        || name.starts_with(TEST_PREFIX)
        || is_service_link(name, value.unwrap_or_default())
}

/// True for a variable that Kubernetes sets for a service called `highwater` (or `highwater-…`), such
/// as `HIGHWATER_SERVICE_HOST` or `HIGHWATER_PORT_8080_TCP_ADDR`. Treating these as unknown keys would
/// prevent startup in exactly the deployments that give the service its usual name. The one name
/// that an operator might also write (`HIGHWATER_HTTP_PORT`) is recognized by its value,
/// `tcp://10.0.0.1:8080`.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_port_of = |rest: &str| {
        let kind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        ["_TCP", "_UDP", "_SCTP"].iter().any(|known| kind.starts_with(known))
    };
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || (name.ends_with("_PORT") && value.contains("://"))
            || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port_of(rest)))
}

fn text(value: &str) -> RawSetting {
    RawSetting::Text(value.to_owned())
}

fn path_of(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

/// Reads a file that a setting names; `what` is its purpose, for the error.
pub(super) fn read_file(what: &str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        what: what.to_owned(),
        path: PathBuf::from(path),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_of_kubernetes_are_not_keys() {
        for (name, value) in [
            ("HIGHWATER_SERVICE_HOST", "10.0.0.1"),
            ("HIGHWATER_SERVICE_PORT", "8080"),
            ("HIGHWATER_SERVICE_PORT_HTTP", "8080"),
            ("HIGHWATER_PORT", "tcp://10.0.0.1:8080"),
            ("HIGHWATER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("HIGHWATER_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("HIGHWATER_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ] {
            assert!(is_not_a_key(name, Some(value)), "{name}");
        }
        for name in [
            "HIGHWATER_POSTGRES_URL",
            "HIGHWATER_HTTP__LISTEN",
            "HIGHWATER_PORTS",
            "HIGHWATER_HTTP_PORT",
            "HIGHWATER_HTTP_PORT_",
        ] {
            assert!(!is_not_a_key(name, Some("8080")), "{name}");
        }
    }
}
