//! Section `[postgres]`.

use super::environment::Environment;
use super::error::ConfigError;
use super::reader::SettingsReader;
use super::{settings, value};
use crate::secret::Secret;
use crate::source::postgres::{ReplicationOptions, ResumeWindow, Streaming, TransactionLimits};
use crate::table::{RowsConfig, ScopeConfig};
use crate::wire::{ConnectOptions, LibpqEnvironment};

/// Handling of a missing publication at startup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupMode {
    /// Startup fails with the SQL to run.
    Manual,
    /// The publication is created.
    Auto,
}

pub(super) fn setup(reader: &mut SettingsReader<'_>) -> Option<SetupMode> {
    let modes = [("manual", SetupMode::Manual), ("auto", SetupMode::Auto)];
    reader.choice(&settings::SETUP, &modes)
}

/// The options of the change stream. The arguments come from other sections.
pub(super) fn replication(
    reader: &mut SettingsReader<'_>,
    target: Option<ConnectOptions>,
    limits: Option<TransactionLimits>,
    rows: Vec<RowsConfig>,
    scopes: Vec<ScopeConfig>,
) -> Option<ReplicationOptions> {
    let publication = reader.value(&settings::PUBLICATION, value::identifier);
    let slot = reader.value(&settings::SLOT, value::slot);
    let temporary_slot = reader.value(&settings::TEMPORARY_SLOT, value::boolean);
    let failover_slot = reader.value(&settings::FAILOVER_SLOT, value::boolean);
    let streaming =
        [("off", Streaming::Off), ("on", Streaming::On), ("parallel", Streaming::Parallel)];
    let streaming = reader.choice(&settings::STREAMING, &streaming);
    let max_age = reader.value(&settings::RESUME_WINDOW, value::duration);
    let max_wal = reader.value(&settings::RESUME_MAX_WAL, value::size);
    Some(ReplicationOptions {
        target: target?,
        publication: publication?,
        slot: slot?,
        temporary_slot: temporary_slot?,
        failover_slot: failover_slot?,
        resume_window: ResumeWindow { max_age: max_age?, max_wal: max_wal? },
        streaming: streaming?,
        limits: limits?,
        rows,
        scopes,
    })
}

/// The database: the URL, with the password of the password file and libpq's variables applied.
pub(super) fn target(
    reader: &mut SettingsReader<'_>,
    environment: &Environment,
) -> Option<ConnectOptions> {
    let url = url(reader, environment);
    let password = reader.secret_file(&settings::PASSWORD_FILE);
    let timeout = reader.value(&settings::CONNECT_TIMEOUT, value::positive_duration)?;
    let mut libpq = LibpqEnvironment::new(environment.home(), environment.libpq());
    // Weaker than connect_timeout in the URL. libpq accepts whole seconds only.
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    libpq.vars.entry("PGCONNECT_TIMEOUT".into()).or_insert_with(|| seconds.to_string());
    match ConnectOptions::parse(url?.expose(), &libpq) {
        Ok(target) => Some(match password {
            Some(password) => target.with_password(password.expose()),
            None => target,
        }),
        Err(error) => {
            let location = reader.location_of(&[&settings::URL, &settings::URL_FILE]);
            reader.errors.push(ConfigError::Target { location, error });
            None
        }
    }
}

/// The connection string. As with psql, libpq's variables alone are sufficient to name a database.
fn url(reader: &mut SettingsReader<'_>, environment: &Environment) -> Option<Secret> {
    let errors_before = reader.errors.len();
    let url = reader.secret(&settings::URL, &settings::URL_FILE);
    if url.as_ref().is_some_and(|url| !url.expose().is_empty()) {
        return url;
    }
    if reader.errors.len() > errors_before {
        return None;
    }
    let libpq = ["PGHOST", "PGHOSTADDR", "PGDATABASE"];
    if libpq.iter().any(|name| environment.text(name).is_some()) {
        return Some(Secret::new("postgres://"));
    }
    // A file that cannot be read may contain the URL: reporting both errors would mislead.
    let unread = |error: &ConfigError| {
        matches!(error, ConfigError::Unreadable { .. } | ConfigError::Syntax { .. })
    };
    if !reader.errors.iter().any(unread) {
        reader.errors.push(ConfigError::NoDatabase);
    }
    None
}
