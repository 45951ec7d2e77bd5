//! Errors while connecting ([`ConnectError`]) and afterwards ([`WireError`]).

use std::fmt;
use std::io;

use rustls::CertificateError;

use super::message::ProtocolError;
use super::server_error::ServerError;

/// A failure to open a session: the server and the reason.
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

    /// The server, as `host:port`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The reason, for callers that treat some of them differently.
    pub fn kind(&self) -> &ConnectErrorKind {
        &self.kind
    }

    /// The server's SQLSTATE, if the server rejected the session.
    pub fn sqlstate(&self) -> Option<&str> {
        self.kind.server_error().map(|error| error.sqlstate.as_str())
    }

    /// Whether retrying is pointless until the configuration changes. Such an error at startup ends the
    /// process. Later it is retried: a password may have been rotated on one side first.
    pub fn is_permanent(&self) -> bool {
        self.kind.is_permanent()
    }
}

/// The reason why no session could be opened. Each message is a sentence with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConnectErrorKind {
    /// The host name can't be resolved.
    #[error("the host name can't be resolved ({0}); check it for a typo, and the resolver")]
    Lookup(io::Error),
    /// The connection failed: refused, unreachable, no such socket.
    #[error(
        "can't connect ({0}); check that PostgreSQL runs there, that it listens on this address \
         (listen_addresses) and that no firewall is between"
    )]
    Unreachable(io::Error),
    /// The server did not respond within the limit.
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
    /// The port belongs to a service other than PostgreSQL.
    #[error(
        "this is not a PostgreSQL server: it answered \"{answer}\"; check host and port of the \
         connection URL"
    )]
    NotPostgres {
        /// The beginning of its response, printable.
        answer: String,
    },
    /// The server violated the protocol after it had requested authentication.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// `sslmode` requires TLS, and the server has none.
    #[error("the server offers no TLS; sslmode={mode} needs it: set ssl=on on the server")]
    NoTls {
        /// The `sslmode` in force.
        mode: &'static str,
    },
    /// The server's certificate does not satisfy `sslmode`.
    #[error("the server's certificate is rejected: {reason}")]
    Certificate {
        /// The defect, and what would be accepted.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The client's side of TLS is misconfigured: a file is missing or unusable.
    #[error("{0}")]
    TlsSetup(String),
    /// The server requests a password, and none is configured.
    #[error(
        "the server requests the password of role \"{user}\" and none is given; put it into the \
         connection URL, PGPASSWORD or ~/.pgpass"
    )]
    PasswordMissing {
        /// The role of the connection target.
        user: String,
    },
    /// The server requests the password in clear text over an unencrypted network connection.
    #[error(
        "the server requests the password in clear text over a connection without TLS; use \
         sslmode=require, or scram-sha-256 in pg_hba.conf"
    )]
    ClearTextRefused,
    /// An authentication method that is not supported.
    #[error(
        "the server requests {method} authentication, which is not supported; allow \
         scram-sha-256, a client certificate or a password for this role in pg_hba.conf"
    )]
    UnsupportedAuthentication {
        /// The method's name.
        method: String,
    },
    /// `channel_binding=require` can't be satisfied.
    #[error("channel_binding=require can't be satisfied: {0}")]
    ChannelBinding(&'static str),
    /// SCRAM failed on the server's side: the server doesn't know the password, or is an impostor.
    #[error("the server failed to authenticate itself ({0}); do not trust this server")]
    Scram(String),
    /// The password is wrong.
    #[error("authentication of role \"{user}\" failed: {error}; check the password")]
    WrongPassword {
        /// The role of the connection target.
        user: String,
        /// The server's error.
        error: Box<ServerError>,
    },
    /// `pg_hba.conf` has no line for the session, or one that rejects it.
    #[error(
        "the server does not let role \"{user}\" into database \"{database}\" from here: {error}; \
         add a line for it to pg_hba.conf and reload"
    )]
    HbaRejected {
        /// The role of the connection target.
        user: String,
        /// The database of the connection target.
        database: String,
        /// The server's error.
        error: Box<ServerError>,
    },
    /// The role does not exist or may not log in.
    #[error("role \"{user}\" can't log in: {error}; run CREATE ROLE or ALTER ROLE … LOGIN")]
    RoleRefused {
        /// The role of the connection target.
        user: String,
        /// The server's error.
        error: Box<ServerError>,
    },
    /// The database does not exist.
    #[error("{0}; check the database name of the connection URL")]
    NoSuchDatabase(Box<ServerError>),
    /// The role may not connect to the database.
    #[error("{error}; GRANT CONNECT ON DATABASE \"{database}\" TO \"{user}\"")]
    NoConnectPrivilege {
        /// The role of the connection target.
        user: String,
        /// The database of the connection target.
        database: String,
        /// The server's error.
        error: Box<ServerError>,
    },
    /// The role lacks the REPLICATION attribute.
    #[error("role \"{user}\" may not replicate: {error}; ALTER ROLE \"{user}\" REPLICATION")]
    NoReplicationPrivilege {
        /// The role of the connection target.
        user: String,
        /// The server's error.
        error: Box<ServerError>,
    },
    /// The connection limit of the server, the role or the database is reached.
    #[error("the server has no connection left for this session: {error}; {remedy}")]
    TooManyConnections {
        /// The server's error.
        error: Box<ServerError>,
        /// The setting to raise.
        remedy: &'static str,
    },
    /// The server is starting up, shutting down or recovering.
    #[error("the server accepts no connections now: {0}")]
    NotAccepting(Box<ServerError>),
    /// The server is a connection pooler, which can't carry replication.
    #[error(
        "the server appears to be a connection pooler, which can't carry replication ({0}); use the direct \
         address of the PostgreSQL server"
    )]
    Pooler(Box<ServerError>),
    /// The server does not satisfy `target_session_attrs`.
    #[error("the server does not satisfy target_session_attrs={wanted}")]
    WrongSessionAttrs {
        /// The value of `target_session_attrs`.
        wanted: &'static str,
    },
    /// The server rejected the session for another reason.
    #[error("the server rejects the session: {0}")]
    Rejected(Box<ServerError>),
    /// Several servers or addresses were tried, and each failed.
    #[error("none of these can be used: {}", joined(.0))]
    Everywhere(Vec<ConnectError>),
}

fn joined(errors: &[ConnectError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ConnectErrorKind {
    /// The server's error, if the server rejected the session.
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
            | Self::Rejected(error) => Some(error),
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
            Self::Rejected(error) => is_permanent_sqlstate(&error.sqlstate),
            Self::Everywhere(errors) => errors.iter().all(ConnectError::is_permanent),
            _ => true,
        }
    }

    /// Whether to try the next host of the list. libpq's rule: the next host is tried when this one is not
    /// usable, not when it rejects the session.
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

    /// Classifies an error of the transport while the session is being set up.
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
        // The detail's own text is more specific than the enum's.
        CertificateError::Other(detail) => detail.to_string(),
        error => error.to_string(),
    }
}

/// Whether the SQLSTATE is of a class that only a change of the configuration resolves: protocol violations,
/// missing features, invalid data, authorization, names and syntax.
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
            WireError::Server(error) => Self::Rejected(error),
            WireError::Protocol(error) => Self::Protocol(error),
            WireError::Unexpected(what) => Self::Lost(io::Error::other(what)),
        }
    }
}

/// The end of a session, or the failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The transport failed, or TLS did.
    #[error("the connection to PostgreSQL was lost: {0}")]
    Lost(#[from] io::Error),
    /// The server closed the connection without an error message.
    #[error("the connection to PostgreSQL was closed by the server")]
    Closed,
    /// The server ended the stream in an orderly shutdown.
    #[error("PostgreSQL ended the replication stream (it is shutting down)")]
    Ended,
    /// The server reports an error.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// The server violated the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A response with other columns or rows than the command returns.
    #[error("PostgreSQL returned an unexpected response to {0}")]
    Unexpected(&'static str),
}

impl WireError {
    /// The server's SQLSTATE, if the server reported an error.
    pub fn sqlstate(&self) -> Option<&str> {
        self.server_error().map(|error| error.sqlstate.as_str())
    }

    /// The server's error, if it reported one.
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

/// The first line of a response that is not PostgreSQL's, made printable.
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
