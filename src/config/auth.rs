//! Section `[auth]`: tokens and what they grant.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, SettingSource};
use super::layers::{GrantCondition, read_file};
use super::raw::{RawSetting, SourcedSetting};
use super::reader::{self, SettingsReader, invalid};
use super::{settings, value};
use crate::auth::{
    AuthOptions, Grant, GrantedTables, JwtOptions, KeyFiles, RowRule, RuleValue, StaticToken,
    TokenHash, is_same_table,
};
use crate::table::ScopeConfig;

/// A longer leeway would accept tokens long after their issuer considers them expired.
const MAX_LEEWAY: Duration = Duration::from_hours(1);

/// Whether requests need a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthMode {
    None,
    Token,
}

/// `None` if the key is not set.
pub(super) fn mode(reader: &mut SettingsReader<'_>) -> Option<AuthMode> {
    reader.choice(&settings::AUTH_MODE, &[("none", AuthMode::None), ("token", AuthMode::Token)])
}

/// `None` if requests need no token, or if the reader's errors say what is wrong.
pub(super) fn read(reader: &mut SettingsReader<'_>, mode: Option<AuthMode>) -> Option<AuthOptions> {
    let tokens = reader.layers.tokens.iter().map(|(name, section)| (name.as_str(), section));
    let tokens: Vec<_> = tokens.collect();
    let jwt = jwt_location(reader);
    if mode != Some(AuthMode::Token) {
        refuse_unused(reader, &tokens, jwt);
        return None;
    }
    if tokens.is_empty() && jwt.is_none() {
        if let Some(entry) = reader.layers.entry(&settings::AUTH_MODE) {
            let problem = "every request would be rejected; add a section [auth.tokens.NAME], as \
                           `highwater token` prints it, or [auth.jwt]";
            reader.errors.push(invalid("auth.mode", entry, problem.to_owned()));
        }
        return None;
    }
    let tokens: Vec<_> =
        tokens.into_iter().filter_map(|(name, section)| token(reader, name, section)).collect();
    check_stray_conditions(reader);
    let jwt = jwt.and_then(|_| self::jwt(reader));
    Some(AuthOptions { tokens, jwt })
}

/// Rejects tokens without `auth.mode = "token"`: they would suggest a protection that does not exist.
fn refuse_unused(
    reader: &mut SettingsReader<'_>,
    tokens: &[(&str, &BTreeMap<&'static str, SourcedSetting>)],
    jwt: Option<SettingSource>,
) {
    let token = tokens.iter().find_map(|(name, section)| {
        let (_, entry) = section.first_key_value()?;
        Some((format!("auth.tokens.{name}"), entry.location.clone()))
    });
    let unused = token.or_else(|| jwt.map(|location| ("auth.jwt".to_owned(), location)));
    if let Some((key, location)) = unused {
        reader.errors.push(ConfigError::Invalid {
            location,
            key,
            given: None,
            problem: "has no effect without auth.mode = \"token\"".to_owned(),
        });
    }
}

/// Where `[auth.jwt]` is set; `None` if it is not.
fn jwt_location(reader: &SettingsReader<'_>) -> Option<SettingSource> {
    let scalars = reader.layers.scalars.iter();
    let scalar = scalars.filter(|(key, _)| key.starts_with("auth.jwt.")).map(|(_, entry)| entry);
    let conditions = reader.layers.conditions.iter();
    let condition = conditions.filter(|known| known.token.is_none()).map(|known| &known.entry);
    scalar.chain(condition).map(|entry| entry.location.clone()).next()
}

fn token(
    reader: &mut SettingsReader<'_>,
    name: &str,
    section: &BTreeMap<&'static str, SourcedSetting>,
) -> Option<StaticToken> {
    let location = section.values().next()?.location.clone();
    let errors_before = reader.errors.len();
    let hash = hash(reader, name, section);
    let tables = reader.of_named(name, &settings::TOKEN_TABLES, section, tables);
    let is_admin = reader.of_named(name, &settings::TOKEN_ADMIN, section, |raw| {
        reader::one(raw).and_then(value::boolean)
    });
    let is_admin = is_admin.unwrap_or(false);
    let tables = tables.unwrap_or_default();
    let rows = conditions(reader, Some(name), &tables);
    if reader.errors.len() > errors_before {
        return None;
    }
    let key = format!("auth.tokens.{name}");
    let Some(hash) = hash else {
        let problem = "has no hash; `highwater token` makes a token and prints its hash".to_owned();
        reader.errors.push(ConfigError::Invalid { location, key, given: None, problem });
        return None;
    };
    if !is_admin && tables == GrantedTables::default() {
        let problem = "grants nothing; add tables = [\"…\"] or admin = true".to_owned();
        reader.errors.push(ConfigError::Invalid { location, key, given: None, problem });
        return None;
    }
    // Infallible without conditions on claims, which `rule` rejects for static tokens.
    let grant = Grant { tables, tables_claim: None, rows };
    let access = grant.access(&serde_json::Map::new()).ok()?;
    Some(StaticToken { name: name.to_owned(), hash, access, is_admin })
}

fn hash(
    reader: &mut SettingsReader<'_>,
    name: &str,
    section: &BTreeMap<&'static str, SourcedSetting>,
) -> Option<TokenHash> {
    let (plain, file) = (&settings::TOKEN_HASH, &settings::TOKEN_HASH_FILE);
    if let (Some(first), Some(second)) = (section.get(plain.key), section.get(file.key)) {
        reader.errors.push(ConfigError::Either {
            first: plain.key,
            first_location: first.location.clone(),
            second: file.key,
            second_location: second.location.clone(),
        });
        return None;
    }
    let parse = |text: &str| text.trim().parse::<TokenHash>().map_err(|error| error.to_string());
    if section.contains_key(plain.key) {
        return reader.of_named(name, plain, section, |raw| reader::one(raw).and_then(parse));
    }
    let path = reader.of_named(name, file, section, |raw| reader::one(raw).map(PathBuf::from))?;
    let entry = section.get(file.key)?;
    let key = file.key.replace("NAME", name);
    let text = read_file(&format!("{}: {key}", entry.location), &path);
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
        short if short <= MAX_LEEWAY => Ok(short),
        _ => Err("must be at most 1h".to_owned()),
    });
    let tables_claim = reader.optional(&settings::JWT_TABLES_CLAIM, text);
    let tables = match reader.layers.entry(&settings::JWT_TABLES) {
        Some(entry) => {
            let key = settings::JWT_TABLES.key;
            let tables = tables(&entry.raw);
            tables.map_err(|problem| reader.errors.push(invalid(key, entry, problem))).ok()
        }
        None => None,
    };
    let location = jwt_location(reader)?;
    let mut missing = |problem: &str| {
        let (location, key) = (location.clone(), "auth.jwt".to_owned());
        let problem = problem.to_owned();
        reader.errors.push(ConfigError::Invalid { location, key, given: None, problem });
    };
    if keys == KeyFiles::default() {
        missing("has no keys; set secret_file, public_key_files or jwks_file");
    }
    if tables.is_none() {
        missing("grants no tables; add tables = [\"items\"], or tables = \"*\" for all");
    }
    let tables = tables?;
    let rows = conditions(reader, None, &tables);
    let grant = Grant { tables, tables_claim, rows };
    Some(JwtOptions { keys, issuer, audience, leeway: leeway?, grant })
}

fn tables(raw: &RawSetting) -> Result<GrantedTables, value::ValueError> {
    let names: Result<Vec<String>, _> =
        reader::several(raw).into_iter().map(value::table).collect();
    let names = names?;
    match names.as_slice() {
        [] => Err("must name at least one table, or be \"*\" for all".to_owned()),
        [all] if all == "*" => Ok(GrantedTables::All),
        names if names.iter().any(|name| name == "*") => {
            Err("\"*\" stands for all tables; give no other names beside it".to_owned())
        }
        _ => Ok(GrantedTables::Named(names)),
    }
}

/// The conditions of a token (or of JWTs). Each must be of a table that is granted by name: one of
/// another table has no effect, and would suggest a restriction that does not exist.
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
    let RawSetting::Text(text) = &entry.raw else {
        return refuse("must be one value, not a list".to_owned());
    };
    if *is_claim && token.is_some() {
        return refuse("a static token has no claims; give the value itself".to_owned());
    }
    let granted = match tables {
        GrantedTables::All => {
            return refuse("has no effect with tables = \"*\"; list the tables".to_owned());
        }
        GrantedTables::Named(names) => names.iter().any(|name| is_same_table(name, table)),
    };
    if !granted {
        return refuse(format!("{table} is not among the granted tables"));
    }
    let value = match is_claim {
        true => RuleValue::Claim(text.clone()),
        false => RuleValue::Text(text.clone()),
    };
    Some(RowRule { table: table.clone(), column: column.clone(), value })
}

/// Rejects conditions on columns that are not scope columns: they could not match any row.
pub(super) fn require_scopes(reader: &mut SettingsReader<'_>, scopes: &[ScopeConfig]) {
    for condition in &reader.layers.conditions {
        let GrantCondition { table, column, entry, .. } = condition;
        let mut of_table = scopes.iter().filter(|scope| is_same_table(&scope.table, table));
        if !of_table.any(|scope| scope.columns.contains(column)) {
            let problem = format!("{column} is not a scope column; add it to tables.{table}.scope");
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

/// Rejects conditions of a token without any other key.
fn check_stray_conditions(reader: &mut SettingsReader<'_>) {
    for condition in &reader.layers.conditions {
        let Some(name) = &condition.token else { continue };
        if !reader.layers.tokens.contains_key(name) {
            let problem = format!("there is no token [auth.tokens.{name}] with a hash");
            reader.errors.push(invalid(&key_of(condition), &condition.entry, problem));
        }
    }
}
