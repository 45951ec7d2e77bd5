//! What can be wrong with a configuration, each as a sentence that says what, where and what is allowed.

use std::fmt;
use std::path::PathBuf;

use crate::wire::ConnectOptionsError;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingSource {
    /// A line of the configuration file.
    File {
        /// The file as named on the command line.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// A variable that is honoured although it is not one of ours, such as `DATABASE_URL`.
    Alias(&'static str),
    /// An environment variable of ours.
    Variable(String),
    /// A flag on the command line.
    Flag(&'static str),
}

impl SettingSource {
    /// Who wins: a higher rank replaces a lower one.
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

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("{what} {}: {reason}", path.display())]
    Unreadable {
        /// What the file is to us, with the place that names it.
        what: String,
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The configuration file is not TOML. Its text is not quoted: it may hold a password.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// A key nobody knows.
    #[error("{place}: unknown key {key}; the nearest known one is {nearest}")]
    UnknownKey {
        /// Where it stands.
        place: SettingSource,
        /// The key as it was written there.
        key: String,
        /// The known key most like it, written the same way.
        nearest: String,
    },
    /// A value that does not mean anything to its key.
    #[error("{place}: {key}{}: {problem}", shown(given.as_ref()))]
    Invalid {
        /// Where it stands.
        place: SettingSource,
        /// The key.
        key: String,
        /// What was written; `None` where it may be a secret.
        given: Option<String>,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// Two keys that exclude each other, written at the same level.
    #[error("{first_place} and {second_place}: give either {first} or {second}, not both")]
    Either {
        /// One key.
        first: &'static str,
        /// Where it stands.
        first_place: SettingSource,
        /// The other key.
        second: &'static str,
        /// Where it stands.
        second_place: SettingSource,
    },
    /// A key that means something only with another.
    #[error("{place}: {given} is given, but {missing} is not: give both, or leave it out")]
    Alone {
        /// Where it stands.
        place: SettingSource,
        /// The key.
        given: &'static str,
        /// The key that must stand beside it.
        missing: &'static str,
    },
    /// Clients that are pushed to could take every connection.
    #[error(
        "http.push_clients_max = {push_clients_max} must be less than http.connections_max = \
         {connections_max}, so that polls find a connection, too: lower the one or raise the other"
    )]
    NoRoomForPolls {
        /// Streams and sockets at once.
        push_clients_max: usize,
        /// Connections at once.
        connections_max: usize,
    },
    /// No database is named anywhere.
    #[error(
        "no database given: set postgres.url in the configuration file, HIGHWATER_POSTGRES__URL or \
         DATABASE_URL in the environment, or pass --url postgres://user@host/database"
    )]
    NoDatabase,
    /// The connection string cannot be used.
    #[error("{}{error}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Target {
        /// Where it stands; `None` where libpq's variables alone name the database.
        place: Option<SettingSource>,
        /// What is wrong with it. Holds no secret.
        error: ConnectOptionsError,
    },
    /// Everyone on the network could read which rows change.
    #[error(
        "{listener} = {address} can be reached from other machines and nobody is asked who they \
         are: listen on a loopback address such as 127.0.0.1:{port}, ask for tokens by auth.mode = \
         \"token\", or write auth.mode = \"none\" to allow it"
    )]
    OpenToAll {
        /// `http.listen` or `http.admin_listen`.
        listener: &'static str,
        /// Its address.
        address: String,
        /// Its port.
        port: u16,
    },
    /// Two listeners on one address.
    #[error(
        "http.listen and http.admin_listen are both {address}: give the second listener a port of \
         its own, or leave http.admin_listen out to share the first"
    )]
    SameListener {
        /// The address.
        address: String,
    },
    /// An environment variable of ours that is not UTF-8.
    #[error("environment variable {name}: its value is not UTF-8")]
    NotUnicode {
        /// The variable.
        name: String,
    },
}

fn shown(given: Option<&String>) -> String {
    given.map_or_else(String::new, |given| format!(" = {given:?}"))
}

/// Everything that is wrong with the configuration, one sentence a line.
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
