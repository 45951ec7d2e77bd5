//! Start-up and authentication: from a fresh transport to a session that is ready for queries
//! (manual: "Message Flow", "Start-up").

mod scram;
mod verdict;

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

/// What the session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionPurpose {
    /// A walsender: SQL and replication commands.
    Replication,
    /// Ordinary SQL.
    Sql,
}

/// A session that is ready for queries.
pub(crate) struct LoggedIn {
    pub(crate) channel: MessageChannel,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) backend_pid: i32,
    /// The server's messages from `AuthenticationOk` to `ReadyForQuery`, as they came: whoever takes
    /// the session over can read them again.
    pub(crate) greeting: Vec<u8>,
}

/// A login that failed.
pub(crate) struct LoginError {
    pub(crate) kind: ConnectErrorKind,
    /// Whether the server had agreed to talk: then another kind of encryption changes nothing.
    pub(crate) was_asked: bool,
}

/// No message of the start-up is as long; what claims to be is not PostgreSQL's.
const LOGIN_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// How values look, whatever role, database or server say: what the stream tells and what
/// `to_jsonb` tells must be the same text.
const PINNED: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
];

/// A walsender runs for months.
const PINNED_FOR_REPLICATION: [(&str, &str); 3] =
    [("replication", "database"), ("statement_timeout", "0"), ("lock_timeout", "0")];

/// Names of types come out qualified, whatever the role's own path is; and the queries of the catalog
/// look large to the planner, but compiling them takes longer than running them.
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
        was_asked: false,
    };
    match login.run().await {
        Ok(greeted) => Ok(login.into_session(greeted)),
        Err(kind) => Err(LoginError { kind, was_asked: login.was_asked }),
    }
}

struct LoginExchange<'a> {
    channel: MessageChannel,
    target: &'a ConnectOptions,
    host: &'a Host,
    purpose: SessionPurpose,
    was_asked: bool,
}

/// What the server tells between authentication and the first query.
#[derive(Default)]
struct StartupOutcome {
    parameters: BTreeMap<String, String>,
    backend_pid: i32,
    greeting: Vec<u8>,
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
        let greeted = self.read_greeting().await?;
        Ok(greeted)
    }

    fn into_session(self, greeted: StartupOutcome) -> LoggedIn {
        let StartupOutcome { parameters, backend_pid, greeting } = greeted;
        let mut channel = self.channel;
        channel.message_bytes_max = MESSAGE_BYTES_MAX;
        LoggedIn { channel, parameters, backend_pid, greeting }
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

    /// Proves who we are, the way the server asks for.
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
            other => return Err(other.refusal()),
        }
        self.expect_ok().await
    }

    async fn send_clear_text(&mut self) -> Result<(), ConnectErrorKind> {
        if self.channel.transport.is_readable_by_others() {
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
            other => Err(other.refusal()),
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
                        AuthRequest::parse(&message.body).ok_or_else(|| cut_short(&message))?
                    );
                }
                // NegotiateProtocolVersion: the server is older than our protocol; it isn't (3.0).
                b'N' | b'v' => {}
                _ => return Err(unexpected(&message).into()),
            }
        }
    }

    async fn read_greeting(&mut self) -> Result<StartupOutcome, ConnectErrorKind> {
        let mut greeted = StartupOutcome::default();
        greeted.add(b'R', &0_u32.to_be_bytes());
        loop {
            let message = self.next_message().await?;
            match message.tag {
                b'N' => continue,
                b'S' => greeted.set_parameter(&message.body).ok_or_else(|| cut_short(&message))?,
                b'K' => {
                    greeted.set_backend_pid(&message.body).ok_or_else(|| cut_short(&message))?;
                }
                b'Z' => {}
                _ => return Err(unexpected(&message).into()),
            }
            greeted.add(message.tag, &message.body);
            if message.tag == b'Z' {
                return Ok(greeted);
            }
        }
    }

    /// The next message, unless it is an error or not PostgreSQL's.
    async fn next_message(&mut self) -> Result<BackendMessage, ConnectErrorKind> {
        let message = match self.channel.next_message().await {
            Ok(message) => message,
            Err(WireError::Protocol(error)) => return Err(self.not_postgres(error)),
            Err(error) => return Err(error.into()),
        };
        match message.tag {
            b'E' => {
                let error = Box::new(ServerError::parse(&message.body));
                Err(verdict::verdict(error, self.target, self.purpose))
            }
            b'R' | b'N' | b'v' => {
                self.was_asked |= message.tag == b'R';
                Ok(message)
            }
            _ if self.was_asked => Ok(message),
            _ => Err(ConnectErrorKind::NotPostgres { answer: shown(&message) }),
        }
    }

    /// A length that makes no sense: at the very beginning it isn't a PostgreSQL at all.
    fn not_postgres(&self, error: ProtocolError) -> ConnectErrorKind {
        let answer = self.channel.received.unread();
        match answer.split_first() {
            _ if self.was_asked => ConnectErrorKind::Protocol(error),
            Some((b'E', text)) => {
                ConnectErrorKind::Refused(Box::new(ServerError::from_plain_text(text)))
            }
            _ => ConnectErrorKind::NotPostgres { answer: Excerpt(answer).to_string() },
        }
    }
}

fn shown(message: &BackendMessage) -> String {
    let bytes = [&[message.tag][..], &message.body].concat();
    Excerpt(&bytes).to_string()
}

fn unexpected(message: &BackendMessage) -> ProtocolError {
    ProtocolError::Unexpected { tag: message.tag, length: message.body.len() }
}

fn cut_short(message: &BackendMessage) -> ProtocolError {
    ProtocolError::CutShort { tag: message.tag, length: message.body.len() }
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

    /// Why we don't go along with it.
    fn refusal(&self) -> ConnectErrorKind {
        let method = match self {
            Self::Other(2) => "Kerberos V5".into(),
            Self::Other(7 | 8) => "GSSAPI".into(),
            Self::Other(9) => "SSPI".into(),
            Self::Other(number) => format!("an unknown kind of ({number})"),
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
    /// Keeps a message as it came.
    fn add(&mut self, tag: u8, body: &[u8]) {
        // A login message is never longer than its limit, which fits.
        let length = u32::try_from(4 + body.len()).unwrap_or(u32::MAX);
        self.greeting.push(tag);
        self.greeting.extend_from_slice(&length.to_be_bytes());
        self.greeting.extend_from_slice(body);
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

/// Name and value of a ParameterStatus.
pub(crate) fn parse_parameter(body: &[u8]) -> Option<(String, String)> {
    let (name, rest) = take_text(body)?;
    let (value, _) = take_text(rest)?;
    Some((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
}
