//! Where to connect and how: a connection URL or keyword string, resolved as libpq resolves it.
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

/// What libpq would take from the environment; handed in, because this layer never reads it.
#[derive(Clone, Default)]
pub struct LibpqEnvironment {
    /// The user's home directory: `~/.pgpass`, `~/.postgresql/root.crt`, ….
    pub home: Option<PathBuf>,
    /// `PGHOST`, `PGUSER`, `PGPASSWORD`, …; other variables are not looked at.
    pub vars: BTreeMap<String, String>,
}

impl LibpqEnvironment {
    /// Keeps the variables libpq might look at (those whose name starts with `PG`).
    pub fn new(home: Option<PathBuf>, vars: impl IntoIterator<Item = (String, String)>) -> Self {
        let vars = vars.into_iter().filter(|(name, _)| name.starts_with("PG")).collect();
        Self { home, vars }
    }
}

impl fmt::Debug for LibpqEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values stay unseen: one of them may be PGPASSWORD.
        let names: Vec<&String> = self.vars.keys().collect();
        f.debug_struct("LibpqEnvironment").field("home", &self.home).field("vars", &names).finish()
    }
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// `sslmode`: whether to encrypt, and what to demand of the server's certificate.
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

/// `target_session_attrs`: which server of several is wanted.
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

/// Where the certificates to trust come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    /// `sslrootcert=system`: those the operating system trusts.
    System,
    /// A PEM file.
    File(PathBuf),
    /// None given, and none in libpq's usual place (named here for the error message).
    Missing(Option<PathBuf>),
}

/// Everything about encryption.
#[derive(Clone, Debug)]
pub(crate) struct TlsOptions {
    pub(crate) mode: SslMode,
    /// TLS from the first byte (`sslnegotiation=direct`) instead of asking first.
    pub(crate) direct: bool,
    pub(crate) roots: RootCertificates,
    /// The client's certificate and key, both PEM files.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    pub(crate) channel_binding: ChannelBinding,
}

/// TCP's own watchfulness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpOptions {
    /// `None`: `keepalives=0`.
    pub(crate) keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged; `None`: the system's default.
    pub(crate) user_timeout: Option<Duration>,
}

/// When an idle connection is probed, and when given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) count: u32,
}

impl Keepalive {
    /// Half-open connections (a failover, a vanished host) are noticed within a minute or so, where
    /// the usual system default is over two hours.
    pub(crate) const DEFAULT: Self =
        Self { idle: Duration::from_secs(30), interval: Duration::from_secs(10), count: 3 };
}

/// A resolved connection target. `Debug` and [`ConnectOptions::display_name`] never show the password.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: String,
    pub(crate) database: String,
    password: Option<Password>,
    passfile: Passfile,
    pub(crate) tls: TlsOptions,
    pub(crate) session_attrs: SessionAttrs,
    /// For each address tried: until the session is ready.
    pub(crate) connect_timeout: Duration,
    pub(crate) application_name: String,
    /// `options`: command-line options for the server process.
    pub(crate) options: Option<String>,
    pub(crate) tcp: TcpOptions,
    /// `load_balance_hosts=random`: hosts and their addresses are tried in random order.
    pub(crate) shuffle: bool,
}

impl ConnectOptions {
    /// How long one address is given when `connect_timeout` is absent or 0.
    pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

    /// Reads a `postgres://` or `postgresql://` URL or a `host=… dbname=…` string; what it leaves
    /// open comes from `env`, then from libpq's defaults.
    pub fn parse(text: &str, env: &LibpqEnvironment) -> Result<Self, ConnectOptionsError> {
        let given = match url::split_scheme(text) {
            Some(rest) => url::parse(rest)?,
            None => keywords::parse(text)?,
        };
        resolve::resolve(&given, env)
    }

    /// `host:port/database` (several hosts with commas), without user or secrets.
    pub fn display_name(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        format!("{}/{}", hosts.join(","), self.database)
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The role.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The same target with this password, whatever the URL, environment or password file say.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Password(password.into()));
        self
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// The same target under another `application_name`.
    #[must_use]
    pub fn with_application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = name.into();
        self
    }

    /// The password to use with this host: the one given, else the password file's.
    pub(crate) fn password_for(&self, host: &Host) -> Option<&str> {
        let listed = || self.passfile.find(host, &self.database, &self.user);
        self.password.as_ref().or_else(listed).map(|secret| secret.0.as_str())
    }
}
