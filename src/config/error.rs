//! Errors of the configuration. Each is a sentence with the location, the reason and what is allowed.

use std::fmt;
use std::path::PathBuf;

use crate::wire::ConnectOptionsError;

/// The source of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// A line of the configuration file.
    File {
        /// The file, as given on the command line.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// A variable without the prefix `HIGHWATER_` that is accepted, too, such as `DATABASE_URL`.
    Alias(&'static str),
    /// An environment variable with the prefix `HIGHWATER_`.
    Variable(String),
    /// A flag on the command line.
    Flag(&'static str),
}

impl SettingSource {
    /// Precedence: a higher rank overrides a lower one.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::File { .. } => 0,
            Self::Alias(_) => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Alias(name) => write!(f, "environment variable {name}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One error of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("{what} {}: {reason}", path.display())]
    Unreadable {
        /// The purpose of the file, with the location that names it.
        what: String,
        /// The file.
        path: PathBuf,
        /// The operating system's message.
        reason: String,
    },
    /// The configuration file is not TOML. Its text is not quoted: it may contain a password.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The parser's message.
        message: String,
    },
    /// A key that does not exist.
    #[error("{location}: unknown key {key}; the nearest known one is {nearest}")]
    UnknownKey {
        /// Where it is set.
        location: SettingSource,
        /// The key, in the notation of the location.
        key: String,
        /// The most similar known key, in the same notation.
        nearest: String,
    },
    /// A value that its key does not accept.
    #[error("{location}: {key}{}: {problem}", shown(given.as_ref()))]
    Invalid {
        /// Where it is set.
        location: SettingSource,
        /// The key in dotted form.
        key: String,
        /// The value; `None` if it may be a secret.
        given: Option<String>,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// Two keys that exclude each other, set by equally strong sources.
    #[error("{first_location} and {second_location}: give either {first} or {second}, not both")]
    Either {
        /// One key.
        first: &'static str,
        /// Where it is set.
        first_location: SettingSource,
        /// The other key.
        second: &'static str,
        /// Where it is set.
        second_location: SettingSource,
    },
    /// A key that is useless without another.
    #[error("{location}: {given} is given, but {missing} is not: give both or omit both")]
    Alone {
        /// Where it is set.
        location: SettingSource,
        /// The key.
        given: &'static str,
        /// The missing key.
        missing: &'static str,
    },
    /// Push clients could take every connection.
    #[error(
        "http.max_push_clients = {max_push_clients} must be less than http.max_connections = \
         {max_connections}, so that connections remain for polls: lower the one or raise the other"
    )]
    NoRoomForPolls {
        /// Concurrent event streams and WebSockets.
        max_push_clients: usize,
        /// Concurrent connections.
        max_connections: usize,
    },
    /// No source names a database.
    #[error(
        "no database given: set postgres.url in the configuration file, HIGHWATER_POSTGRES__URL or \
         DATABASE_URL in the environment, or pass --url postgres://user@host/database"
    )]
    NoDatabase,
    /// The connection string is not usable.
    #[error("{}{error}", location.as_ref().map(|at| format!("{at}: ")).unwrap_or_default())]
    Target {
        /// Where it is set; `None` if libpq's variables alone name the database.
        location: Option<SettingSource>,
        /// What is wrong with it. Contains no secret.
        error: ConnectOptionsError,
    },
    /// Every machine on the network could read which rows change.
    #[error(
        "{listener} = {address} is reachable from other machines without authentication: listen on \
         a loopback address such as 127.0.0.1:{port}, require tokens with auth.mode = \"token\", or \
         set auth.mode = \"none\" to allow it"
    )]
    OpenToAll {
        /// `http.listen` or `http.admin_listen`.
        listener: &'static str,
        /// The address as configured.
        address: String,
        /// The port, 1 to 65535.
        port: u16,
    },
    /// Two listeners on one address.
    #[error(
        "http.listen and http.admin_listen are both {address}: give http.admin_listen another port, \
         or omit it to serve everything on http.listen"
    )]
    SameListener {
        /// `address:port` of both.
        address: String,
    },
    /// A variable with the prefix `HIGHWATER_` that is not UTF-8.
    #[error("environment variable {name}: its value is not UTF-8")]
    NotUnicode {
        /// The variable.
        name: String,
    },
}

fn shown(given: Option<&String>) -> String {
    given.map_or_else(String::new, |given| format!(" = {given:?}"))
}

/// All errors of a configuration. Displayed as one sentence per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
