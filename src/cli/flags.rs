//! The flags that stand for keys of the configuration.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::failure::CommandFailure;
use crate::config::{Config, Environment, Flag, Sources};
use crate::secret::Secret;

/// Where the database is and what is ours in it.
#[derive(Debug, Args)]
pub(crate) struct DatabaseFlags {
    /// Configuration file (TOML) [env: HIGHWATER_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database to follow, postgres://user@host/database [env: DATABASE_URL]
    ///
    /// Its direct address, not a pooler's. Everyone on this machine can see the arguments of a
    /// process: give passwords by HIGHWATER_POSTGRES__PASSWORD_FILE, PGPASSWORD or ~/.pgpass.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Publication [default: highwater]
    #[arg(long, value_name = "NAME")]
    publication: Option<String>,
    /// Replication slot [default: highwater]
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
}

/// What only the service itself needs.
#[derive(Debug, Default, Args)]
pub(crate) struct ServiceFlags {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Another address for /livez, /readyz, /v1/status and /metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// Use a slot that ends with the connection
    #[arg(long)]
    temporary_slot: bool,
    /// What to log: off, error, warn, info, debug, trace [env: RUST_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// How to log: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Which running Highwater is asked.
#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// Where Highwater answers; what operators ask is at http.admin_listen, if that is set
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Trust the certificates of this file (PEM), too: those of a private authority
    ///
    /// The system's are trusted anyway, or those that SSL_CERT_FILE names.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// File with a token, where Highwater asks for one [env: HIGHWATER_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ServerFlags {
    /// The token, if there is one. The file wins over the environment.
    pub(crate) fn token(
        &self,
        environment: &Environment,
    ) -> Result<Option<Secret>, CommandFailure> {
        let Some(path) = &self.token_file else { return Ok(environment.token()) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            CommandFailure::Usage(format!("--token-file {}: {error}", path.display()))
        })?;
        Ok(Some(Secret::new(text.trim())))
    }
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Readable, in colour on a terminal.
    Text,
    /// JSON.
    Json,
}

impl DatabaseFlags {
    /// The configuration with these flags over it.
    pub(crate) fn load(
        self,
        service: ServiceFlags,
        environment: &Environment,
    ) -> Result<Config, CommandFailure> {
        let temporary = service.temporary_slot.then(|| "true".to_owned());
        let given = [
            ("--url", "postgres.url", self.url),
            ("--publication", "postgres.publication", self.publication),
            ("--slot", "postgres.slot", self.slot),
            ("--temporary-slot", "postgres.temporary_slot", temporary),
            ("--listen", "http.listen", service.listen),
            ("--admin-listen", "http.admin_listen", service.admin_listen),
            ("--log-level", "logging.level", service.log_level),
            ("--log-format", "logging.format", service.log_format),
        ];
        let flags = given
            .into_iter()
            .filter_map(|(flag, key, value)| Some(Flag { flag, key, value: value? }))
            .collect();
        let file = self.config.as_deref();
        Ok(Config::load(&Sources { file, flags, environment: environment.clone() })?)
    }
}
