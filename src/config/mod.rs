//! The configuration: one TOML file, environment variables and flags, read once into the options that the
//! other modules declare.
//!
//! Flags override the environment, the environment overrides the file. Only this module reads the
//! environment, and it does so once ([`Environment::collect`]).

mod auth;
mod environment;
mod error;
mod file;
mod http;
mod layers;
mod postgres;
mod raw;
mod reader;
mod settings;
mod store;
mod tables;
mod value;

use std::path::Path;

pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors, SettingSource};
pub use http::HttpConfig;
pub use layers::Flag;
pub use postgres::SetupMode;
pub use settings::{
    AUTH_SETTINGS, SETTINGS, SettingSpec, TABLE_SETTINGS, documentation, flag_of, variable_of,
};

use layers::Layers;
use reader::SettingsReader;

use crate::auth::AuthOptions;
use crate::database::loader::LoaderOptions;
use crate::source::postgres::ReplicationOptions;
use crate::store::{CheckPace, Limits};

/// The whole configuration. Except for the listeners and the log it consists of other modules' options.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sections `[postgres]` and `[tables.NAME]`, and the bounds of transactions in `[log]`.
    pub postgres: ReplicationOptions,
    /// `postgres.setup`.
    pub setup: SetupMode,
    /// Bounds of the version log (`[log]`) and of the row cache (`[cache]`).
    pub store: Limits,
    /// Queries for rows (`[cache]`).
    pub loader: LoaderOptions,
    /// Section `[consistency]`; `None` disables the periodic comparison.
    pub consistency: Option<CheckPace>,
    /// Section `[http]`.
    pub http: HttpConfig,
    /// Section `[auth]`; `None` if requests need no token.
    pub auth: Option<AuthOptions>,
    /// Section `[logging]`.
    pub logging: LoggingConfig,
}

/// Section `[logging]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// `logging.format`.
    pub format: LogFormat,
    /// A filter in the syntax of `RUST_LOG`.
    pub level: String,
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// Inputs of the configuration, weakest first.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// `--config`. Without it the file named by `HIGHWATER_CONFIG`, if any.
    pub file: Option<&'a Path>,
    /// Flags of the command line.
    pub flags: Vec<Flag>,
    /// Environment variables, weaker than flags and stronger than the file.
    pub environment: Environment,
}

impl Config {
    /// Reads and validates everything.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first problem.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let layers = collect_layers(sources, &mut errors);
        let mut reader = SettingsReader { layers: &layers, errors };
        let config = build(&mut reader, &sources.environment);
        match config {
            Some(config) if reader.errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

fn collect_layers(sources: &Sources<'_>, errors: &mut Vec<ConfigError>) -> Layers {
    let mut layers = Layers::default();
    let from_variable = sources.environment.path(layers::CONFIG_VARIABLE);
    if let Some(path) = sources.file.map(Path::to_owned).or(from_variable) {
        match layers::read_file("configuration file", &path) {
            Ok(text) => layers.add_file(&path, &text, errors),
            Err(error) => errors.push(error),
        }
    }
    layers.add_environment(&sources.environment, errors);
    layers.add_flags(sources.flags.clone(), errors);
    layers
}

/// `None` only if the reader's errors say why.
fn build(reader: &mut SettingsReader<'_>, environment: &Environment) -> Option<Config> {
    // All sections are read before the first `?`, so that one run reports the errors of all of them.
    let target = postgres::target(reader, environment);
    let setup = postgres::setup(reader);
    let transactions = store::transaction_limits(reader);
    let (rows, scopes) = tables::read(reader);
    auth::require_scopes(reader, &scopes);
    let postgres = postgres::replication(reader, target.clone(), transactions, rows, scopes);
    let limits = store::limits(reader);
    let loader = store::loader(reader, target);
    let consistency = consistency(reader);
    let mode = auth::mode(reader);
    let http = http::read(reader, mode);
    let auth = auth::read(reader, mode);
    let logging = logging(reader);
    Some(Config {
        postgres: postgres?,
        setup: setup?,
        store: limits?,
        loader: loader?,
        consistency,
        http: http?,
        auth,
        logging: logging?,
    })
}

fn consistency(reader: &mut SettingsReader<'_>) -> Option<CheckPace> {
    let max_rows = u32::try_from(CheckPace::ROWS_MAX).unwrap_or(u32::MAX);
    let interval = reader.optional(&settings::CHECK_INTERVAL, value::pause);
    let rows = reader.value(&settings::CHECK_ROWS, |text| value::count(text, max_rows));
    Some(CheckPace { interval: interval?, rows: rows? as usize })
}

fn logging(reader: &mut SettingsReader<'_>) -> Option<LoggingConfig> {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = reader.choice(&settings::LOGGING_FORMAT, &formats);
    let level = reader.value(&settings::LOGGING_LEVEL, value::log_filter);
    Some(LoggingConfig { format: format?, level: level? })
}

#[cfg(test)]
mod tests;
