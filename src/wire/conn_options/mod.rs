//! The connection target: a connection URL or keyword string, resolved as libpq resolves it.
//!
//! Meaning and defaults are those of the manual, "Database Connection Control Functions"
//! (libpq-connect), except that waiting always has a limit and keepalives start sooner.

mod error;
mod host;
mod keywords;
mod parameters;
mod passfile;
mod resolve;
#[cfg(test)]
mod tests;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use error::ConnectOptionsError;
pub(crate) use host::{Host, HostAddr};
use passfile::Passfile;

use crate::secret::Secret;

/// The part of the environment that libpq reads. It is passed in, because this layer never reads it itself.
#[derive(Clone, Default)]
pub struct LibpqEnvironment {
    /// The user's home directory: `~/.pgpass`, `~/.postgresql/root.crt`, ….
    pub home: Option<PathBuf>,
    /// `PGHOST`, `PGUSER`, `PGPASSWORD`, …; other variables are ignored.
    pub vars: BTreeMap<String, String>,
}

impl LibpqEnvironment {
    /// Keeps the variables whose name starts with `PG`, the only ones that libpq reads.
    pub fn new(home: Option<PathBuf>, vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let vars = vars.into_iter().filter(|(name, _)| name.starts_with("PG")).collect();
        Self { home, vars }
    }
}

impl fmt::Debug for LibpqEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: one of the values may be that of PGPASSWORD.
        let names: Vec<&String> = self.vars.keys().collect();
        f.debug_struct("LibpqEnvironment").field("home", &self.home).field("vars", &names).finish()
    }
}

/// `sslmode`: whether to encrypt, and what to demand of the server's certificate; from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub(crate) const WORDS: [(&'static str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    /// As written in a connection URL.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, mode)| *mode == self).map_or("", |(word, _)| word)
    }
}

/// `channel_binding`: whether SCRAM must be bound to the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// `target_session_attrs`: the kind of server to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl SessionAttrs {
    pub(crate) const WORDS: [(&'static str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    /// As written in a connection URL.
    pub(crate) fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, attrs)| *attrs == self).map_or("", |(word, _)| word)
    }
}

/// The source of the trusted certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    /// `sslrootcert=system`: the certificates that the operating system trusts.
    System,
    /// `sslrootcert=PATH`, or libpq's default path: a PEM file.
    File(PathBuf),
    /// No file configured, and none at libpq's default path (kept here for the error message).
    Missing(Option<PathBuf>),
}

/// The parameters that concern encryption.
#[derive(Clone, Debug)]
pub(crate) struct TlsOptions {
    pub(crate) mode: SslMode,
    /// TLS from the first byte (`sslnegotiation=direct`) instead of a request first.
    pub(crate) direct: bool,
    pub(crate) roots: RootCertificates,
    /// The client's certificate and key, both PEM files.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    pub(crate) channel_binding: ChannelBinding,
}

/// TCP options that detect dead connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpOptions {
    /// TCP keepalives; `None` with `keepalives=0`.
    pub(crate) keepalive: Option<Keepalive>,
    /// Time for which sent bytes may stay unacknowledged; `None`: the system's default.
    pub(crate) user_timeout: Option<Duration>,
}

/// When an idle connection is probed, and after how many probes it is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) count: u32,
}

impl Keepalive {
    /// Detects half-open connections (after a failover or the loss of a host) within about a minute; the
    /// usual system default is more than two hours.
    pub(crate) const DEFAULT: Self =
        Self { idle: Duration::from_secs(30), interval: Duration::from_secs(10), count: 3 };
}

/// A resolved connection target. `Debug` and [`ConnectOptions::display_name`] never show the password.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: String,
    pub(crate) database: String,
    password: Option<Secret>,
    passfile: Passfile,
    pub(crate) tls: TlsOptions,
    pub(crate) session_attrs: SessionAttrs,
    /// Time limit for one address, until the session is ready.
    pub(crate) connect_timeout: Duration,
    pub(crate) application_name: String,
    /// `options`: command-line options for the server process.
    pub(crate) options: Option<String>,
    pub(crate) tcp: TcpOptions,
    /// `load_balance_hosts=random`: hosts and their addresses are tried in random order.
    pub(crate) shuffle: bool,
}

impl ConnectOptions {
    /// Time limit for one address when `connect_timeout` is absent or 0.
    pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

    /// Parses a `postgres://` or `postgresql://` URL or a `host=… dbname=…` string. Parameters that it does
    /// not set come from `env`, then from libpq's defaults.
    pub fn parse(text: &str, env: &LibpqEnvironment) -> Result<Self, ConnectOptionsError> {
        let params = match url::split_scheme(text) {
            Some(rest) => url::parse(rest)?,
            None => keywords::parse(text)?,
        };
        resolve::resolve(&params, env)
    }

    /// `host:port/database` (several hosts with commas), without user or secrets.
    pub fn display_name(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        format!("{}/{}", hosts.join(","), self.database)
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The role to connect as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The same target with this password, which overrides those of the URL, the environment and the
    /// password file.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password));
        self
    }

    /// The same server with another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// The same target with another `application_name`.
    #[must_use]
    pub fn with_application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = name.into();
        self
    }

    /// The password for a host: the configured one, else that of the password file.
    pub(crate) fn password_for(&self, host: &Host) -> Option<&str> {
        let listed = || self.passfile.find(host, &self.database, &self.user);
        self.password.as_ref().or_else(listed).map(Secret::expose)
    }
}
