//! The configuration: one TOML file, the environment and flags, read once into a typed tree.
//!
//! A flag wins over the environment, the environment over the file. This is the only module that
//! reads the environment, and it does so once ([`Environment::collect`]).

mod auth;
mod cache;
mod consistency;
mod entry;
mod environment;
mod error;
mod file;
mod http;
mod layers;
mod reader;
mod settings;
mod tables;
mod value;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub use cache::CacheConfig;
pub use consistency::ConsistencyConfig;
pub use environment::Environment;
pub use error::{ConfigError, ConfigErrors, SettingSource};
pub use layers::Flag;
pub use settings::{
    AUTH_SETTINGS, SETTINGS, SettingSpec, TABLE_SETTINGS, documentation, variable_of,
};

use layers::Layers;
use reader::SettingsReader;

use crate::auth::AuthOptions;
use crate::http::{HttpServerOptions, TlsFiles};
use crate::secret::Secret;
use crate::source::postgres::Streaming;
use crate::table::{RowsConfig, ScopeConfig};
use crate::wire::{ConnectOptions, LibpqEnvironment};

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database and what is left in it.
    pub postgres: PostgresConfig,
    /// The version log's limits.
    pub log: LogConfig,
    /// The limits of rows in memory.
    pub cache: CacheConfig,
    /// How rows in memory are compared with the database all the time.
    pub consistency: ConsistencyConfig,
    /// Who is answered where.
    pub http: HttpConfig,
    /// Section `[auth]`: which tokens are known; `None`: nobody is asked for one.
    pub auth: Option<AuthOptions>,
    /// Log lines.
    pub logging: LoggingConfig,
    /// `[tables.NAME]`, of tables whose rows are held.
    pub rows: Vec<RowsConfig>,
    /// `[tables.NAME]`, of tables whose rows callers see by scope.
    pub scopes: Vec<ScopeConfig>,
}

/// Section `[postgres]`.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// The database: the URL with the password file's password and libpq's variables.
    pub target: ConnectOptions,
    /// Name of the publication.
    pub publication: String,
    /// Name of the replication slot.
    pub slot: String,
    /// Whether the slot ends with the connection.
    pub temporary_slot: bool,
    /// Whether standbys may keep a copy of the slot.
    pub failover_slot: bool,
    /// Whether a missing publication is created at start.
    pub setup: SetupMode,
    /// Whether large transactions are sent while they run.
    pub streaming: Streaming,
    /// WAL kept for a restart, by time.
    pub resume_window: Duration,
    /// WAL kept for a restart, at most, in bytes.
    pub resume_max_wal: u64,
}

/// What happens at start when the publication is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupMode {
    /// Start-up is refused with the SQL to run.
    Manual,
    /// It is created.
    Auto,
}

/// Section `[log]`: limits of the version log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Ids remembered per table.
    pub max_changes: usize,
    /// How long a change is remembered.
    pub max_age: Duration,
    /// Bytes for the changes of all tables together.
    pub max_bytes: usize,
    /// Rows of one table in one commit beyond which the table is reset.
    pub max_transaction_changes: usize,
    /// Bytes for the ids and rows of one transaction while it arrives.
    pub max_transaction_bytes: usize,
    /// Bytes for all transactions that are sent while they run.
    pub max_streamed_bytes: usize,
}

/// Section `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where clients ask.
    pub listen: SocketAddr,
    /// Where operators ask; `None`: at `listen`, too.
    pub admin_listen: Option<SocketAddr>,
    /// Whether operators are asked for no token there: nobody else reaches it.
    pub admin_open: bool,
    /// The certificate to answer with; `None`: in clear text.
    pub tls: Option<TlsFiles>,
    /// What connections may do.
    pub server: HttpServerOptions,
    /// Origins whose web pages may ask; `*` stands for all.
    pub cors_origins: Vec<String>,
    /// Streams and sockets at once.
    pub max_push_clients: usize,
    /// Bytes of all answers that clients have not read yet.
    pub max_buffered_response_bytes: usize,
    /// How long whoever is woken waits for further commits.
    pub coalesce_interval: Duration,
}

/// Section `[logging]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the configuration comes from.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// `--config`; without it the file that `HIGHWATER_CONFIG` names, if any.
    pub file: Option<&'a Path>,
    /// What the command line says.
    pub flags: Vec<Flag>,
    /// What the environment says.
    pub environment: Environment,
}

impl Config {
    /// Reads and checks everything; the error lists everything that is wrong.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let layers = lay(sources, &mut errors);
        let mut reader = SettingsReader { layers: &layers, errors };
        let config = build(&mut reader, &sources.environment);
        match config {
            Some(config) if reader.errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(reader.errors)),
        }
    }
}

fn lay(sources: &Sources<'_>, errors: &mut Vec<ConfigError>) -> Layers {
    let mut layers = Layers::default();
    let named = sources.environment.path(layers::CONFIG_VARIABLE);
    if let Some(path) = sources.file.map(Path::to_owned).or(named) {
        match layers::read("configuration file", &path) {
            Ok(text) => layers.add_file(&path, &text, errors),
            Err(error) => errors.push(error),
        }
    }
    layers.add_environment(&sources.environment, errors);
    layers.add_flags(sources.flags.clone(), errors);
    layers
}

/// `None` only when something is among the reader's errors.
fn build(reader: &mut SettingsReader<'_>, environment: &Environment) -> Option<Config> {
    // Every section is read before any is given up, so that all errors are told at once.
    let postgres = postgres(reader, environment);
    let log = log(reader);
    let cache = CacheConfig::read(reader);
    let consistency = ConsistencyConfig::read(reader);
    let mode = auth::mode(reader);
    let http = http(reader, mode);
    let auth = auth::rules(reader, mode);
    let logging = logging(reader);
    let (rows, scopes) = tables::wanted(reader);
    auth::require_scopes(reader, &scopes);
    Some(Config {
        postgres: postgres?,
        log: log?,
        cache: cache?,
        consistency: consistency?,
        http: http?,
        auth,
        logging: logging?,
        rows,
        scopes,
    })
}

fn postgres(reader: &mut SettingsReader<'_>, environment: &Environment) -> Option<PostgresConfig> {
    let target = target(reader, environment);
    let publication = reader.value(&settings::PUBLICATION, value::identifier);
    let slot = reader.value(&settings::SLOT, value::slot);
    let temporary_slot = reader.value(&settings::TEMPORARY_SLOT, value::boolean);
    let failover_slot = reader.value(&settings::FAILOVER_SLOT, value::boolean);
    let modes = [("manual", SetupMode::Manual), ("auto", SetupMode::Auto)];
    let setup = reader.choice(&settings::SETUP, &modes);
    let streaming =
        [("off", Streaming::Off), ("on", Streaming::On), ("parallel", Streaming::Parallel)];
    let streaming = reader.choice(&settings::STREAMING, &streaming);
    let resume_window = reader.value(&settings::RESUME_WINDOW, value::duration);
    let resume_max_wal = reader.value(&settings::RESUME_MAX_WAL, value::size);
    Some(PostgresConfig {
        target: target?,
        publication: publication?,
        slot: slot?,
        temporary_slot: temporary_slot?,
        failover_slot: failover_slot?,
        setup: setup?,
        streaming: streaming?,
        resume_window: resume_window?,
        resume_max_wal: resume_max_wal?,
    })
}

fn target(reader: &mut SettingsReader<'_>, environment: &Environment) -> Option<ConnectOptions> {
    let url = url(reader, environment);
    let password = reader.secret_file(&settings::PASSWORD_FILE);
    let timeout = reader.value(&settings::CONNECT_TIMEOUT, value::positive_duration)?;
    let mut libpq = LibpqEnvironment::new(environment.home(), environment.libpq());
    // Weaker than the URL's own connect_timeout, and in whole seconds, as libpq has it.
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    libpq.vars.entry("PGCONNECT_TIMEOUT".into()).or_insert_with(|| seconds.to_string());
    match ConnectOptions::parse(url?.expose(), &libpq) {
        Ok(target) => Some(match password {
            Some(password) => target.with_password(password.expose()),
            None => target,
        }),
        Err(error) => {
            let place = reader.place_of(&[&settings::URL, &settings::URL_FILE]);
            reader.errors.push(ConfigError::Target { place, error });
            None
        }
    }
}

/// The connection string. libpq's variables alone name a database, too, as they do for psql.
fn url(reader: &mut SettingsReader<'_>, environment: &Environment) -> Option<Secret> {
    let errors_before = reader.errors.len();
    let url = reader.secret(&settings::URL, &settings::URL_FILE);
    if url.as_ref().is_some_and(|url| !url.expose().is_empty()) {
        return url;
    }
    if reader.errors.len() > errors_before {
        return None;
    }
    let named = ["PGHOST", "PGHOSTADDR", "PGDATABASE"];
    if named.iter().any(|name| environment.text(name).is_some()) {
        return Some(Secret::new("postgres://"));
    }
    // A file that can't be read may well name one.
    let unread = |error: &ConfigError| {
        matches!(error, ConfigError::Unreadable { .. } | ConfigError::Syntax { .. })
    };
    if !reader.errors.iter().any(unread) {
        reader.errors.push(ConfigError::NoDatabase);
    }
    None
}

fn log(reader: &mut SettingsReader<'_>) -> Option<LogConfig> {
    /// Slots of the log are numbered with 32 bits; a limit that no memory reaches anyway.
    const MOST: u32 = 2_000_000_000;
    let count = |text: &str| value::count(text, MOST).map(|count| count as usize);
    let bytes = value::memory;
    let max_changes = reader.value(&settings::MAX_CHANGES, count);
    let max_age = reader.value(&settings::MAX_AGE, value::positive_duration);
    let max_bytes = reader.value(&settings::MAX_BYTES, bytes);
    let max_transaction_changes = reader.value(&settings::MAX_TRANSACTION_CHANGES, count);
    let max_transaction_bytes = reader.value(&settings::MAX_TRANSACTION_BYTES, bytes);
    let max_streamed_bytes = reader.value(&settings::MAX_STREAMED_BYTES, bytes);
    Some(LogConfig {
        max_changes: max_changes?,
        max_age: max_age?,
        max_bytes: max_bytes?,
        max_transaction_changes: max_transaction_changes?,
        max_transaction_bytes: max_transaction_bytes?,
        max_streamed_bytes: max_streamed_bytes?,
    })
}

fn http(reader: &mut SettingsReader<'_>, auth: Option<auth::AuthMode>) -> Option<HttpConfig> {
    const PUSH_CLIENTS_MOST: u32 = 15_000;
    let listen = reader.value(&settings::LISTEN, value::listener);
    let admin_listen = reader.value(&settings::ADMIN_LISTEN, value::listener);
    let cors_origins = reader.list(&settings::CORS_ORIGINS, value::origin);
    let clients = |text: &str| value::count_or_none(text, PUSH_CLIENTS_MOST).map(|n| n as usize);
    let push_clients_max = reader.value(&settings::PUSH_CLIENTS_MAX, clients);
    let answers_max_bytes = reader.value(&settings::ANSWERS_MAX_BYTES, value::answers_size);
    let notify_interval = reader.value(&settings::NOTIFY_INTERVAL, value::short_duration);
    let tls = http::tls(reader);
    let server = http::server(reader);
    let listen = listen?;
    if admin_listen == Some(listen) && listen.port() != 0 {
        reader.errors.push(ConfigError::SameListener { address: listen.to_string() });
    }
    let listeners = [(&settings::LISTEN, Some(listen)), (&settings::ADMIN_LISTEN, admin_listen)];
    for (setting, address) in listeners {
        let Some(address) = address.filter(|address| auth.is_none() && !is_loopback(address))
        else {
            continue;
        };
        reader.errors.push(ConfigError::OpenToAll {
            listener: setting.key,
            address: address.to_string(),
            port: address.port(),
        });
    }
    let server = server?;
    let push_clients_max = push_clients_max?;
    http::leave_room_for_polls(reader, push_clients_max, server.max_connections);
    Some(HttpConfig {
        listen,
        admin_listen,
        admin_open: admin_listen.is_none_or(|address| is_loopback(&address)),
        tls,
        server,
        cors_origins,
        max_push_clients: push_clients_max,
        max_buffered_response_bytes: answers_max_bytes?,
        coalesce_interval: notify_interval?,
    })
}

/// Also for `::ffff:127.0.0.1`, which reaches no further than 127.0.0.1.
fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn logging(reader: &mut SettingsReader<'_>) -> Option<LoggingConfig> {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = reader.choice(&settings::LOGGING_FORMAT, &formats);
    let level = reader.value(&settings::LOGGING_LEVEL, value::log_filter);
    Some(LoggingConfig { format: format?, level: level? })
}

#[cfg(test)]
mod tests;
