//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::failure::CommandFailure;
use crate::config::{Config, Environment, Flag, Sources};
use crate::secret::Secret;

/// The database and the objects of Highwater in it.
#[derive(Debug, Args)]
pub(crate) struct DatabaseFlags {
    /// Configuration file (TOML) [env: HIGHWATER_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database to follow, postgres://user@host/database [env: DATABASE_URL]
    ///
    /// Its direct address, not that of a pooler. Every user of this machine can read the arguments of
    /// a process: pass passwords in HIGHWATER_POSTGRES__PASSWORD_FILE, PGPASSWORD or ~/.pgpass.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Publication [default: highwater]
    #[arg(long, value_name = "NAME")]
    publication: Option<String>,
    /// Replication slot [default: highwater]
    #[arg(long, value_name = "NAME")]
    slot: Option<String>,
}

/// The flags of the service itself.
#[derive(Debug, Default, Args)]
pub(crate) struct ServiceFlags {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Separate address for /livez, /readyz, /v1/status, /metrics and /admin
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// Use a slot that the server drops when the connection ends
    #[arg(long)]
    temporary_slot: bool,
    /// Log level: off, error, warn, info, debug, trace [env: RUST_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// Log format: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// The running Highwater that receives the request.
#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// Address of a running Highwater; that of http.admin_listen for admin requests, if it is set
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Trust the certificates in this file (PEM) in addition, such as those of a private CA
    ///
    /// The certificates of the system, or of SSL_CERT_FILE, are always trusted.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// File with a token, for a Highwater that requires one [env: HIGHWATER_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ServerFlags {
    /// The token, if there is one. The file overrides the environment.
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

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Readable text, in colour on a terminal
    Text,
    /// One JSON document, for programs.
    Json,
}

impl DatabaseFlags {
    /// The configuration, overridden by these flags.
    pub(crate) fn load(
        self,
        service: ServiceFlags,
        environment: &Environment,
    ) -> Result<Config, CommandFailure> {
        let given = [
            ("postgres.url", self.url),
            ("postgres.publication", self.publication),
            ("postgres.slot", self.slot),
            ("postgres.temporary_slot", service.temporary_slot.then(|| "true".to_owned())),
            ("http.listen", service.listen),
            ("http.admin_listen", service.admin_listen),
            ("logging.level", service.log_level),
            ("logging.format", service.log_format),
        ];
        let flags = given.into_iter().filter_map(|(key, value)| Some(Flag::new(key, value?)));
        let flags = flags.collect();
        let file = self.config.as_deref();
        Ok(Config::load(&Sources { file, flags, environment: environment.clone() })?)
    }
}
