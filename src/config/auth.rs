//! Section `[auth]`: who may read what.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::entry::{RawSetting, SourcedSetting};
use super::error::{ConfigError, SettingSource};
use super::layers::{GrantCondition, read};
use super::reader::{self, SettingsReader, invalid};
use super::{settings, value};
use crate::auth::{
    AuthOptions, Grant, GrantedTables, JwtOptions, KeyFiles, RowRule, RuleValue, StaticToken,
    TokenHash, is_same_table,
};
use crate::table::ScopeConfig;

/// A longer leeway would keep tokens alive that nobody thinks of any more.
const LEEWAY_MAX: Duration = Duration::from_hours(1);

/// Whether anybody is asked who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMode {
    None,
    Token,
}

/// `None`: nothing is written.
pub(super) fn mode(reader: &mut SettingsReader<'_>) -> Option<AuthMode> {
    reader.choice(&settings::AUTH_MODE, &[("none", AuthMode::None), ("token", AuthMode::Token)])
}

/// What tokens are known; `None`: nobody is asked for one, or something is among the errors.
pub(super) fn rules(
    reader: &mut SettingsReader<'_>,
    mode: Option<AuthMode>,
) -> Option<AuthOptions> {
    let tokens = reader.layers.tokens.iter().map(|(name, written)| (name.as_str(), written));
    let tokens: Vec<_> = tokens.collect();
    let jwt = jwt_place(reader);
    if mode != Some(AuthMode::Token) {
        refuse_unused(reader, &tokens, jwt);
        return None;
    }
    if tokens.is_empty() && jwt.is_none() {
        if let Some(entry) = reader.layers.entry(&settings::AUTH_MODE) {
            let problem = "nobody would be let in; add a section [auth.tokens.NAME], as `highwater \
                           token` prints it, or [auth.jwt]";
            reader.errors.push(invalid("auth.mode", entry, problem.to_owned()));
        }
        return None;
    }
    let tokens: Vec<_> =
        tokens.into_iter().filter_map(|(name, written)| token(reader, name, written)).collect();
    stray_conditions(reader);
    let jwt = jwt.and_then(|_| self::jwt(reader));
    Some(AuthOptions { tokens, jwt })
}

/// Tokens that are written and not asked for would make believe that something is closed.
fn refuse_unused(
    reader: &mut SettingsReader<'_>,
    tokens: &[(&str, &BTreeMap<&'static str, SourcedSetting>)],
    jwt: Option<SettingSource>,
) {
    let token = tokens.iter().find_map(|(name, written)| {
        let (_, entry) = written.first_key_value()?;
        Some((format!("auth.tokens.{name}"), entry.place.clone()))
    });
    let unused = token.or_else(|| jwt.map(|place| ("auth.jwt".to_owned(), place)));
    if let Some((key, place)) = unused {
        reader.errors.push(ConfigError::Invalid {
            place,
            key,
            given: None,
            problem: "means nothing unless auth.mode = \"token\" is written".to_owned(),
        });
    }
}

/// Where `[auth.jwt]` is written, if it is.
fn jwt_place(reader: &SettingsReader<'_>) -> Option<SettingSource> {
    let scalars = reader.layers.scalars.iter();
    let scalar = scalars.filter(|(key, _)| key.starts_with("auth.jwt.")).map(|(_, entry)| entry);
    let conditions = reader.layers.conditions.iter();
    let condition = conditions.filter(|known| known.token.is_none()).map(|known| &known.entry);
    scalar.chain(condition).map(|entry| entry.place.clone()).next()
}

fn token(
    reader: &mut SettingsReader<'_>,
    name: &str,
    written: &BTreeMap<&'static str, SourcedSetting>,
) -> Option<StaticToken> {
    let place = written.values().next()?.place.clone();
    let errors_before = reader.errors.len();
    let hash = hash(reader, name, written);
    let tables = reader.of_named(name, &settings::TOKEN_TABLES, written, tables);
    let operator = reader.of_named(name, &settings::TOKEN_ADMIN, written, |written| {
        reader::one(written).and_then(value::boolean)
    });
    let operator = operator.unwrap_or(false);
    let tables = tables.unwrap_or_default();
    let rows = conditions(reader, Some(name), &tables);
    if reader.errors.len() > errors_before {
        return None;
    }
    let key = format!("auth.tokens.{name}");
    let Some(hash) = hash else {
        let problem = "has no hash; `highwater token` makes a token and prints its hash".to_owned();
        reader.errors.push(ConfigError::Invalid { place, key, given: None, problem });
        return None;
    };
    if !operator && tables == GrantedTables::default() {
        let problem = "may do nothing; give it tables = [\"…\"], or admin = true".to_owned();
        reader.errors.push(ConfigError::Invalid { place, key, given: None, problem });
        return None;
    }
    // Without claims there is nothing to miss.
    let grant = Grant { tables, tables_claim: None, rows };
    let access = grant.access(&serde_json::Map::new()).ok()?;
    Some(StaticToken { name: name.to_owned(), hash, access, operator })
}

fn hash(
    reader: &mut SettingsReader<'_>,
    name: &str,
    written: &BTreeMap<&'static str, SourcedSetting>,
) -> Option<TokenHash> {
    let (plain, file) = (&settings::TOKEN_HASH, &settings::TOKEN_HASH_FILE);
    if let (Some(first), Some(second)) = (written.get(plain.key), written.get(file.key)) {
        reader.errors.push(ConfigError::Either {
            first: plain.key,
            first_place: first.place.clone(),
            second: file.key,
            second_place: second.place.clone(),
        });
        return None;
    }
    let parse = |text: &str| text.trim().parse::<TokenHash>().map_err(|error| error.to_string());
    if written.contains_key(plain.key) {
        return reader
            .of_named(name, plain, written, |written| reader::one(written).and_then(parse));
    }
    let path =
        reader.of_named(name, file, written, |written| reader::one(written).map(PathBuf::from))?;
    let entry = written.get(file.key)?;
    let key = file.key.replace("NAME", name);
    let text = read(&format!("{}: {key}", entry.place), &path);
    let hash = text.and_then(|text| parse(&text).map_err(|problem| invalid(&key, entry, problem)));
    hash.map_err(|error| reader.errors.push(error)).ok()
}

fn jwt(reader: &mut SettingsReader<'_>) -> Option<JwtOptions> {
    let path = |text: &str| Ok(PathBuf::from(text));
    let text = |text: &str| Ok(text.to_owned());
    let keys = KeyFiles {
        secret: reader.optional(&settings::JWT_SECRET_FILE, path),
        public: reader.list(&settings::JWT_PUBLIC_KEY_FILES, path),
        jwks: reader.optional(&settings::JWT_JWKS_FILE, path),
    };
    let issuer = reader.optional(&settings::JWT_ISSUER, text);
    let audience = reader.optional(&settings::JWT_AUDIENCE, text);
    let leeway = reader.value(&settings::JWT_LEEWAY, |text| match value::duration(text)? {
        short if short <= LEEWAY_MAX => Ok(short),
        _ => Err("must be at most 1h".to_owned()),
    });
    let tables_claim = reader.optional(&settings::JWT_TABLES_CLAIM, text);
    let tables = match reader.layers.entry(&settings::JWT_TABLES) {
        Some(entry) => {
            let read = tables(&entry.written);
            let key = settings::JWT_TABLES.key;
            read.map_err(|problem| reader.errors.push(invalid(key, entry, problem))).ok()
        }
        None => None,
    };
    let place = jwt_place(reader)?;
    let mut missing = |problem: &str| {
        let (place, key) = (place.clone(), "auth.jwt".to_owned());
        let problem = problem.to_owned();
        reader.errors.push(ConfigError::Invalid { place, key, given: None, problem });
    };
    if keys == KeyFiles::default() {
        missing("has no keys; name a file by secret_file, public_key_files or jwks_file");
    }
    if tables.is_none() {
        missing("must say what JWTs may read: tables = [\"items\"], or tables = \"*\" for all");
    }
    let tables = tables?;
    let rows = conditions(reader, None, &tables);
    let grant = Grant { tables, tables_claim, rows };
    Some(JwtOptions { keys, issuer, audience, leeway: leeway?, grant })
}

fn tables(written: &RawSetting) -> Result<GrantedTables, value::ValueError> {
    let names: Result<Vec<String>, _> =
        reader::several(written).into_iter().map(value::table).collect();
    let names = names?;
    match names.as_slice() {
        [] => Err("must name at least one table, or be \"*\" for all".to_owned()),
        [all] if all == "*" => Ok(GrantedTables::All),
        names if names.iter().any(|name| name == "*") => {
            Err("\"*\" is every table: name others beside it nowhere".to_owned())
        }
        _ => Ok(GrantedTables::Named(names)),
    }
}

/// The conditions of a token (or of JWTs), each of a table that is granted by name: one of another
/// table would make believe that it narrows something.
fn conditions(
    reader: &mut SettingsReader<'_>,
    token: Option<&str>,
    tables: &GrantedTables,
) -> Vec<RowRule> {
    let all = reader.layers.conditions.iter();
    let all: Vec<&GrantCondition> = all.filter(|known| known.token.as_deref() == token).collect();
    all.into_iter().filter_map(|condition| rule(reader, condition, tables)).collect()
}

fn rule(
    reader: &mut SettingsReader<'_>,
    condition: &GrantCondition,
    tables: &GrantedTables,
) -> Option<RowRule> {
    let GrantCondition { token, table, column, is_claim, entry } = condition;
    let mut refuse = |problem: String| {
        let error = invalid(&key_of(condition), entry, problem);
        reader.errors.push(error);
        None
    };
    let RawSetting::Text(text) = &entry.written else {
        return refuse("must be one value, not a list".to_owned());
    };
    if *is_claim && token.is_some() {
        return refuse("a static token has no claims; write the value itself".to_owned());
    }
    let granted = match tables {
        GrantedTables::All => {
            return refuse("with tables = \"*\" nothing is narrowed; name the tables".to_owned());
        }
        GrantedTables::Named(names) => names.iter().any(|name| is_same_table(name, table)),
    };
    if !granted {
        return refuse(format!("{table} is not among the tables that may be read"));
    }
    let value = match is_claim {
        true => RuleValue::Claim(text.clone()),
        false => RuleValue::Text(text.clone()),
    };
    Some(RowRule { table: table.clone(), column: column.clone(), value })
}

/// Callers are told apart by scope columns only: by any other column nobody would see anything.
pub(super) fn require_scopes(reader: &mut SettingsReader<'_>, scopes: &[ScopeConfig]) {
    for condition in &reader.layers.conditions {
        let GrantCondition { table, column, entry, .. } = condition;
        let mut of_table = scopes.iter().filter(|scope| is_same_table(&scope.table, table));
        if !of_table.any(|scope| scope.columns.contains(column)) {
            let problem = format!("needs {column} among the scope columns: tables.{table}.scope");
            reader.errors.push(invalid(&key_of(condition), entry, problem));
        }
    }
}

fn key_of(condition: &GrantCondition) -> String {
    let GrantCondition { token, table, column, .. } = condition;
    match token {
        Some(name) => format!("auth.tokens.{name}.where.{table}.{column}"),
        None => format!("auth.jwt.where.{table}.{column}"),
    }
}

/// Conditions of a token of which nothing else is written.
fn stray_conditions(reader: &mut SettingsReader<'_>) {
    for condition in &reader.layers.conditions {
        let Some(name) = &condition.token else { continue };
        if !reader.layers.tokens.contains_key(name) {
            let problem = format!("there is no token [auth.tokens.{name}] with a hash");
            reader.errors.push(invalid(&key_of(condition), &condition.entry, problem));
        }
    }
}
