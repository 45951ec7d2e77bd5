//! What can go wrong: while connecting ([`ConnectError`]) and afterwards ([`WireError`]).

use std::fmt;
use std::io;

use rustls::CertificateError;

use super::message::ProtocolError;
use super::server_error::ServerError;

/// No session could be opened: which server, and what is the trouble with it.
#[derive(Debug, thiserror::Error)]
#[error("{server}: {kind}")]
pub struct ConnectError {
    server: String,
    kind: Box<ConnectErrorKind>,
}

impl ConnectError {
    pub(crate) fn new(server: impl Into<String>, kind: ConnectErrorKind) -> Self {
        Self { server: server.into(), kind: Box::new(kind) }
    }

    /// Which server, as `host:port`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What is wrong.
    pub fn kind(&self) -> &ConnectErrorKind {
        &self.kind
    }

    /// The server's SQLSTATE, when it was the server that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        self.kind.server_error().map(|error| error.sqlstate.as_str())
    }

    /// Whether trying again is pointless until someone changes something. At the first start that
    /// ends the process; later a password may have been rotated on one side first.
    pub fn is_permanent(&self) -> bool {
        self.kind.is_permanent()
    }
}

/// Why no session could be opened; each reads as a sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConnectErrorKind {
    /// The host name has no address.
    #[error("the host name can't be resolved ({0}); check it for a typo, and the resolver")]
    Lookup(io::Error),
    /// No connection: refused, unreachable, no such socket.
    #[error(
        "can't connect ({0}); check that PostgreSQL runs there, that it listens on this address \
         (listen_addresses) and that no firewall is between"
    )]
    Unreachable(io::Error),
    /// Silence.
    #[error(
        "no session within {seconds} s; is a firewall between, is the port right, is the server \
         overloaded? (connect_timeout sets this limit)"
    )]
    Timeout {
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The connection ended before the session began.
    #[error("the connection was lost before the session began ({0})")]
    Lost(io::Error),
    /// Something else listens there.
    #[error(
        "this is not a PostgreSQL server: it answered \"{answer}\"; check host and port of the \
         connection URL"
    )]
    NotPostgres {
        /// The beginning of what it said, printable.
        answer: String,
    },
    /// The protocol was violated later in the start-up.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// TLS is wanted, the server has none.
    #[error("the server offers no TLS; sslmode={mode} asks for it: set ssl=on on the server")]
    NoTls {
        /// The `sslmode` in force.
        mode: &'static str,
    },
    /// The server's certificate is not good enough.
    #[error("the server's certificate is refused: {reason}")]
    Certificate {
        /// What is wrong with it, and what would be accepted.
        reason: String,
    },
    /// TLS could not be agreed on.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Our side of TLS is not in order: a file is missing or unusable.
    #[error("{0}")]
    TlsSetup(String),
    /// The server wants a password, we have none.
    #[error(
        "the server asks for the password of role \"{user}\" and none is given; put it into the \
         connection URL, PGPASSWORD or ~/.pgpass"
    )]
    PasswordMissing {
        /// The role.
        user: String,
    },
    /// The server wants the password itself, and anyone could read along.
    #[error(
        "the server asks for the password in clear text over a connection without TLS; use \
         sslmode=require, or scram-sha-256 in pg_hba.conf"
    )]
    ClearTextRefused,
    /// An authentication method we don't speak.
    #[error(
        "the server asks for {method} authentication, which is not supported; allow \
         scram-sha-256, a client certificate or a password for this role in pg_hba.conf"
    )]
    UnsupportedAuthentication {
        /// The method's name.
        method: String,
    },
    /// `channel_binding=require` can't be satisfied.
    #[error("channel_binding=require can't be satisfied: {0}")]
    ChannelBinding(&'static str),
    /// The exchange of proofs failed: the server doesn't know the password either, or is an impostor.
    #[error("the server failed to authenticate itself ({0}); do not trust this server")]
    Scram(String),
    /// The password is wrong.
    #[error("authentication of role \"{user}\" failed: {error}; check the password")]
    WrongPassword {
        /// The role.
        user: String,
        /// As the server says it.
        error: Box<ServerError>,
    },
    /// `pg_hba.conf` has no line for us, or one that rejects.
    #[error(
        "the server does not let role \"{user}\" into database \"{database}\" from here: {error}; \
         add a line for it to pg_hba.conf and reload"
    )]
    HbaRejected {
        /// The role.
        user: String,
        /// The database.
        database: String,
        /// As the server says it.
        error: Box<ServerError>,
    },
    /// The role does not exist or may not log in.
    #[error("role \"{user}\" can't log in: {error}; CREATE ROLE or ALTER ROLE … LOGIN mends that")]
    RoleRefused {
        /// The role.
        user: String,
        /// As the server says it.
        error: Box<ServerError>,
    },
    /// No such database.
    #[error("{0}; check the database name of the connection URL")]
    NoSuchDatabase(Box<ServerError>),
    /// The role may not connect to the database.
    #[error("{error}; GRANT CONNECT ON DATABASE \"{database}\" TO \"{user}\"")]
    NoConnectPrivilege {
        /// The role.
        user: String,
        /// The database.
        database: String,
        /// As the server says it.
        error: Box<ServerError>,
    },
    /// The role may not replicate.
    #[error("role \"{user}\" may not replicate: {error}; ALTER ROLE \"{user}\" REPLICATION")]
    NoReplicationPrivilege {
        /// The role.
        user: String,
        /// As the server says it.
        error: Box<ServerError>,
    },
    /// The server has no connection left, for anyone or for this role or database.
    #[error("the server has no connection left for this session: {error}; {remedy}")]
    TooManyConnections {
        /// As the server says it.
        error: Box<ServerError>,
        /// Which setting to raise.
        remedy: &'static str,
    },
    /// Starting up, shutting down, recovering.
    #[error("the server accepts no connections now: {0}")]
    NotAccepting(Box<ServerError>),
    /// A connection pooler that can't carry replication.
    #[error(
        "this looks like a connection pooler, which can't carry replication ({0}); use the direct \
         address of the PostgreSQL server"
    )]
    Pooler(Box<ServerError>),
    /// Another role of server is wanted.
    #[error("the server is not what target_session_attrs={wanted} asks for")]
    WrongSessionAttrs {
        /// `target_session_attrs`.
        wanted: &'static str,
    },
    /// Any other refusal.
    #[error("the server refuses the session: {0}")]
    Refused(Box<ServerError>),
    /// Several servers or addresses were tried, each with its own trouble.
    #[error("none of these can be used: {}", joined(.0))]
    Everywhere(Vec<ConnectError>),
}

fn joined(errors: &[ConnectError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ConnectErrorKind {
    /// What the server said, when it was the server that refused.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::WrongPassword { error, .. }
            | Self::HbaRejected { error, .. }
            | Self::RoleRefused { error, .. }
            | Self::NoConnectPrivilege { error, .. }
            | Self::NoReplicationPrivilege { error, .. }
            | Self::TooManyConnections { error, .. }
            | Self::NoSuchDatabase(error)
            | Self::NotAccepting(error)
            | Self::Pooler(error)
            | Self::Refused(error) => Some(error),
            _ => None,
        }
    }

    fn is_permanent(&self) -> bool {
        match self {
            Self::Lookup(_)
            | Self::Unreachable(_)
            | Self::Timeout { .. }
            | Self::Lost(_)
            | Self::Tls(_)
            | Self::TooManyConnections { .. }
            | Self::NotAccepting(_)
            | Self::WrongSessionAttrs { .. } => false,
            Self::Refused(error) => is_permanent_sqlstate(&error.sqlstate),
            Self::Everywhere(errors) => errors.iter().all(ConnectError::is_permanent),
            _ => true,
        }
    }

    /// Whether another host of the list may do better, by libpq's rule: the next host is tried when
    /// there is no session to be had, not when this one refuses us.
    pub(crate) fn is_worth_another_host(&self) -> bool {
        matches!(
            self,
            Self::Lookup(_)
                | Self::Unreachable(_)
                | Self::Timeout { .. }
                | Self::Lost(_)
                | Self::NotPostgres { .. }
                | Self::Protocol(_)
                | Self::NoTls { .. }
                | Self::Certificate { .. }
                | Self::Tls(_)
                | Self::NotAccepting(_)
                | Self::WrongSessionAttrs { .. }
        )
    }

    /// Of an error of the transport while the session is being set up.
    pub(crate) fn of_io(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Self::of_tls(tls),
            None => Self::Lost(error),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => {
                Self::Certificate { reason: certificate_reason(error) }
            }
            rustls::Error::AlertReceived(alert) => {
                Self::Tls(format!("the server ended it with alert {alert:?}"))
            }
            other => Self::Tls(other.to_string()),
        }
    }
}

fn certificate_reason(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "none of the trusted root certificates has signed it (sslrootcert names them)".into()
        }
        // Of our own making, or a detail whose own words are better than the enum's.
        CertificateError::Other(detail) => detail.to_string(),
        error => error.to_string(),
    }
}

/// Data exceptions, missing features, wrong syntax or names, wrong settings: nothing heals by itself.
fn is_permanent_sqlstate(sqlstate: &str) -> bool {
    ["08P", "0A", "22", "28", "3D", "42"].iter().any(|class| sqlstate.starts_with(class))
}

impl From<WireError> for ConnectErrorKind {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Lost(error) => Self::of_io(error),
            WireError::Closed | WireError::Ended => {
                Self::Lost(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it"))
            }
            WireError::Server(error) => Self::Refused(error),
            WireError::Protocol(error) => Self::Protocol(error),
            WireError::Unexpected(what) => Self::Lost(io::Error::other(what)),
        }
    }
}

/// A session came to an end, or a command failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The transport failed.
    #[error("the connection to PostgreSQL was lost: {0}")]
    Lost(#[from] io::Error),
    /// The server closed the connection without a word.
    #[error("the connection to PostgreSQL was closed by the server")]
    Closed,
    /// The server ended the stream in order: it is shutting down.
    #[error("PostgreSQL ended the replication stream (it is shutting down)")]
    Ended,
    /// The server reports an error.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// Bytes that make no sense.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// An answer of another shape than the command has.
    #[error("PostgreSQL gave an unexpected answer to {0}")]
    Unexpected(&'static str),
}

impl WireError {
    /// The server's SQLSTATE, when the server reported an error.
    pub fn sqlstate(&self) -> Option<&str> {
        self.server_error().map(|error| error.sqlstate.as_str())
    }

    /// The server's full report.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ServerError> for WireError {
    fn from(error: ServerError) -> Self {
        Self::Server(Box::new(error))
    }
}

/// The beginning of an answer that is not PostgreSQL's, made printable.
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

impl Excerpt<'_> {
    const BYTES_MAX: usize = 40;
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..Self::BYTES_MAX).unwrap_or(self.0);
        let line = shown.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        write!(f, "{}", line.escape_ascii())
    }
}
