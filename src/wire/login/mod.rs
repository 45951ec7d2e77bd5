//! Startup and authentication: from a new transport to a session that is ready for queries
//! (manual: "Message Flow", "Start-up").

mod rejection;
mod scram;

use std::collections::BTreeMap;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::message::frontend;

use super::channel::{BackendMessage, MessageChannel};
use super::conn_options::{ChannelBinding, ConnectOptions, Host};
use super::error::{ConnectErrorKind, Excerpt, WireError};
use super::message::{MESSAGE_BYTES_MAX, ProtocolError, take_text};
use super::server_error::ServerError;
use super::transport::Transport;

/// The kind of session to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionPurpose {
    /// A walsender, which accepts SQL and replication commands.
    Replication,
    /// An ordinary session, which accepts SQL only.
    Sql,
}

/// A session that is ready for queries.
pub(crate) struct LoggedIn {
    pub(crate) channel: MessageChannel,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) backend_pid: i32,
    /// The server's messages from `AuthenticationOk` to `ReadyForQuery`, unchanged, for a client library
    /// that takes the session over and expects to read them.
    pub(crate) startup_messages: Vec<u8>,
}

/// A failed login.
pub(crate) struct LoginError {
    pub(crate) kind: ConnectErrorKind,
    /// Whether the server had requested authentication: then `pg_hba.conf` has accepted the connection's
    /// encryption, and another one changes nothing.
    pub(crate) auth_requested: bool,
}

/// Longest message accepted during startup, in bytes; a longer one is not PostgreSQL's.
const LOGIN_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Settings that change the text of values. They override those of the role, the database and the server,
/// because the texts of the stream and of `to_jsonb` must be equal.
const PINNED: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
];

/// No time limits: a walsender runs for months.
const PINNED_FOR_REPLICATION: [(&str, &str); 3] =
    [("replication", "database"), ("statement_timeout", "0"), ("lock_timeout", "0")];

/// `search_path` makes type names come out qualified whatever the role's own path is. `jit` is off because
/// the planner's estimates for catalog queries are high, and compiling them takes longer than running them.
const PINNED_FOR_SQL: [(&str, &str); 2] = [("search_path", "pg_catalog"), ("jit", "off")];

/// Starts a session over `transport`.
pub(crate) async fn log_in(
    transport: Transport,
    target: &ConnectOptions,
    host: &Host,
    purpose: SessionPurpose,
) -> Result<LoggedIn, LoginError> {
    let mut login = LoginExchange {
        channel: MessageChannel::new(transport, LOGIN_MESSAGE_BYTES_MAX),
        target,
        host,
        purpose,
        auth_requested: false,
    };
    match login.run().await {
        Ok(outcome) => Ok(login.into_session(outcome)),
        Err(kind) => Err(LoginError { kind, auth_requested: login.auth_requested }),
    }
}

struct LoginExchange<'a> {
    channel: MessageChannel,
    target: &'a ConnectOptions,
    host: &'a Host,
    purpose: SessionPurpose,
    auth_requested: bool,
}

/// What the server reports between authentication and the first query.
#[derive(Default)]
struct StartupOutcome {
    parameters: BTreeMap<String, String>,
    backend_pid: i32,
    messages: Vec<u8>,
}

/// An authentication request (manual: "Message Formats", messages `R`).
enum AuthRequest {
    Ok,
    ClearText,
    Md5([u8; 4]),
    Sasl(Vec<String>),
    SaslContinue(Vec<u8>),
    SaslFinal(Vec<u8>),
    Other(u32),
}

impl LoginExchange<'_> {
    async fn run(&mut self) -> Result<StartupOutcome, ConnectErrorKind> {
        self.send_startup().await?;
        self.authenticate().await?;
        self.read_startup().await
    }

    fn into_session(self, outcome: StartupOutcome) -> LoggedIn {
        let StartupOutcome { parameters, backend_pid, messages } = outcome;
        let mut channel = self.channel;
        channel.message_bytes_max = MESSAGE_BYTES_MAX;
        LoggedIn { channel, parameters, backend_pid, startup_messages: messages }
    }

    async fn send_startup(&mut self) -> Result<(), ConnectErrorKind> {
        let mut parameters = vec![
            ("user", self.target.user.as_str()),
            ("database", self.target.database.as_str()),
            ("application_name", self.target.application_name.as_str()),
        ];
        parameters.extend(self.target.options.as_deref().map(|options| ("options", options)));
        parameters.extend(PINNED);
        match self.purpose {
            SessionPurpose::Replication => parameters.extend(PINNED_FOR_REPLICATION),
            SessionPurpose::Sql => parameters.extend(PINNED_FOR_SQL),
        }
        self.send(|out| frontend::startup_message(parameters, out)).await
    }

    async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
    ) -> Result<(), ConnectErrorKind> {
        let mut out = BytesMut::new();
        write(&mut out).map_err(ConnectErrorKind::Lost)?;
        self.channel.unsent.extend_from_slice(&out);
        self.channel.flush().await.map_err(ConnectErrorKind::of_io)
    }

    /// Authenticates with the method that the server requests.
    async fn authenticate(&mut self) -> Result<(), ConnectErrorKind> {
        let request = self.next_request().await?;
        if let AuthRequest::Sasl(mechanisms) = &request {
            return self.scram(mechanisms).await;
        }
        if self.target.tls.channel_binding == ChannelBinding::Require {
            return Err(ConnectErrorKind::ChannelBinding(
                "the server does not ask for SCRAM authentication",
            ));
        }
        match request {
            AuthRequest::Ok => return Ok(()),
            AuthRequest::ClearText => self.send_clear_text().await?,
            AuthRequest::Md5(salt) => self.send_md5(salt).await?,
            other => return Err(other.as_error()),
        }
        self.expect_ok().await
    }

    async fn send_clear_text(&mut self) -> Result<(), ConnectErrorKind> {
        if self.channel.transport.is_unencrypted_network() {
            return Err(ConnectErrorKind::ClearTextRefused);
        }
        let password = self.password()?.to_owned();
        self.send(|out| frontend::password_message(password.as_bytes(), out)).await
    }

    async fn send_md5(&mut self, salt: [u8; 4]) -> Result<(), ConnectErrorKind> {
        let hash = md5_hash(self.target.user.as_bytes(), self.password()?.as_bytes(), salt);
        self.send(|out| frontend::password_message(hash.as_bytes(), out)).await
    }

    async fn expect_ok(&mut self) -> Result<(), ConnectErrorKind> {
        match self.next_request().await? {
            AuthRequest::Ok => Ok(()),
            other => Err(other.as_error()),
        }
    }

    fn password(&self) -> Result<&str, ConnectErrorKind> {
        let missing = || ConnectErrorKind::PasswordMissing { user: self.target.user.clone() };
        self.target.password_for(self.host).ok_or_else(missing)
    }

    async fn next_request(&mut self) -> Result<AuthRequest, ConnectErrorKind> {
        loop {
            let message = self.next_message().await?;
            match message.tag {
                b'R' => {
                    return Ok(
                        AuthRequest::parse(&message.body).ok_or_else(|| truncated(&message))?
                    );
                }
                // Notices; and NegotiateProtocolVersion, which no server sends for protocol 3.0.
                b'N' | b'v' => {}
                _ => return Err(unexpected(&message).into()),
            }
        }
    }

    async fn read_startup(&mut self) -> Result<StartupOutcome, ConnectErrorKind> {
        let mut outcome = StartupOutcome::default();
        outcome.record(b'R', &0_u32.to_be_bytes());
        loop {
            let message = self.next_message().await?;
            match message.tag {
                b'N' => continue,
                b'S' => outcome.set_parameter(&message.body).ok_or_else(|| truncated(&message))?,
                b'K' => {
                    outcome.set_backend_pid(&message.body).ok_or_else(|| truncated(&message))?;
                }
                b'Z' => {}
                _ => return Err(unexpected(&message).into()),
            }
            outcome.record(message.tag, &message.body);
            if message.tag == b'Z' {
                return Ok(outcome);
            }
        }
    }

    /// The next message; an error if the server reports one, or is not a PostgreSQL server.
    async fn next_message(&mut self) -> Result<BackendMessage, ConnectErrorKind> {
        let message = match self.channel.next_message().await {
            Ok(message) => message,
            Err(WireError::Protocol(error)) => return Err(self.not_postgres(error)),
            Err(error) => return Err(error.into()),
        };
        match message.tag {
            b'E' => {
                let error = Box::new(ServerError::parse(&message.body));
                Err(rejection::classify(error, self.target, self.purpose))
            }
            b'R' | b'N' | b'v' => {
                self.auth_requested |= message.tag == b'R';
                Ok(message)
            }
            _ if self.auth_requested => Ok(message),
            _ => Err(ConnectErrorKind::NotPostgres { answer: excerpt(&message) }),
        }
    }

    /// The meaning of an invalid message length: before the first request for authentication the server is
    /// not PostgreSQL at all, or a postmaster that can't start a process.
    fn not_postgres(&self, error: ProtocolError) -> ConnectErrorKind {
        let answer = self.channel.received.unread();
        match answer.split_first() {
            _ if self.auth_requested => ConnectErrorKind::Protocol(error),
            Some((b'E', text)) => {
                ConnectErrorKind::Rejected(Box::new(ServerError::from_plain_text(text)))
            }
            _ => ConnectErrorKind::NotPostgres { answer: Excerpt(answer).to_string() },
        }
    }
}

fn excerpt(message: &BackendMessage) -> String {
    let bytes = [&[message.tag][..], &message.body].concat();
    Excerpt(&bytes).to_string()
}

fn unexpected(message: &BackendMessage) -> ProtocolError {
    ProtocolError::Unexpected { tag: message.tag, length: message.body.len() }
}

fn truncated(message: &BackendMessage) -> ProtocolError {
    ProtocolError::Truncated { tag: message.tag, length: message.body.len() }
}

impl AuthRequest {
    fn parse(body: &[u8]) -> Option<Self> {
        let (kind, rest) = body.split_first_chunk()?;
        Some(match u32::from_be_bytes(*kind) {
            0 => Self::Ok,
            3 => Self::ClearText,
            5 => Self::Md5(*rest.first_chunk()?),
            10 => Self::Sasl(parse_mechanisms(rest)),
            11 => Self::SaslContinue(rest.to_vec()),
            12 => Self::SaslFinal(rest.to_vec()),
            other => Self::Other(other),
        })
    }

    /// The error for a request that is not supported, or comes out of order.
    fn as_error(&self) -> ConnectErrorKind {
        let method = match self {
            Self::Other(2) => "Kerberos V5".into(),
            Self::Other(7 | 8) => "GSSAPI".into(),
            Self::Other(9) => "SSPI".into(),
            Self::Other(number) => format!("an unknown method of ({number})"),
            _ => return ConnectErrorKind::Scram("messages out of order".into()),
        };
        ConnectErrorKind::UnsupportedAuthentication { method }
    }
}

fn parse_mechanisms(mut rest: &[u8]) -> Vec<String> {
    let mut mechanisms = Vec::new();
    while let Some((name, after)) = take_text(rest).filter(|(name, _)| !name.is_empty()) {
        mechanisms.push(String::from_utf8_lossy(name).into_owned());
        rest = after;
    }
    mechanisms
}

impl StartupOutcome {
    /// Stores a message unchanged.
    fn record(&mut self, tag: u8, body: &[u8]) {
        // A login message is never longer than its limit, which fits.
        let length = u32::try_from(4 + body.len()).unwrap_or(u32::MAX);
        self.messages.push(tag);
        self.messages.extend_from_slice(&length.to_be_bytes());
        self.messages.extend_from_slice(body);
    }

    fn set_parameter(&mut self, body: &[u8]) -> Option<()> {
        let (name, value) = parse_parameter(body)?;
        self.parameters.insert(name, value);
        Some(())
    }

    fn set_backend_pid(&mut self, body: &[u8]) -> Option<()> {
        self.backend_pid = i32::from_be_bytes(*body.first_chunk()?);
        Some(())
    }
}

/// Parses a ParameterStatus into name and value.
pub(crate) fn parse_parameter(body: &[u8]) -> Option<(String, String)> {
    let (name, rest) = take_text(body)?;
    let (value, _) = take_text(rest)?;
    Some((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
}
