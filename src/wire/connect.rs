//! From a target to a session: hosts in order, their addresses, the kinds of encryption allowed.

use tokio::time::timeout;

use super::conn_options::{ConnectOptions, Host, SessionAttrs, SslMode};
use super::error::{ConnectError, ConnectErrorKind};
use super::login::{LoggedIn, LoginError, SessionPurpose, log_in};
use super::socket::{Address, addresses, open, shuffle};
use super::tls::{self, SslResponse, TlsMode};
use super::transport::Transport;

/// One way to talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsAttempt {
    /// Without TLS.
    Plain,
    /// With TLS if the server is willing, else without.
    TlsIfOffered,
    /// With TLS or not at all.
    Tls,
    /// With TLS from the first byte.
    DirectTls,
}

/// Opens a session with the first of the target's servers that will do.
///
/// A server that refuses us (wrong password, no such database) ends the search, as in libpq; one
/// that can't be reached or is of the wrong kind does not. Each address has the whole of
/// `connect_timeout`.
pub(crate) async fn connect(
    target: &ConnectOptions,
    purpose: SessionPurpose,
) -> Result<LoggedIn, ConnectError> {
    let encryption = prepare_encryption(target)
        .map_err(|kind| ConnectError::new(target.display_name(), kind))?;
    let search = Search { target, purpose, encryption };
    if target.session_attrs != SessionAttrs::PreferStandby {
        return Box::pin(search.try_hosts(target.session_attrs)).await;
    }
    match Box::pin(search.try_hosts(SessionAttrs::Standby)).await {
        Ok(session) => Ok(session),
        Err(_) => Box::pin(search.try_hosts(SessionAttrs::Any)).await,
    }
}

/// Reads the certificates, when any connection could need them.
fn prepare_encryption(target: &ConnectOptions) -> Result<Option<TlsMode>, ConnectErrorKind> {
    let all_local = target.hosts.iter().all(|host| host.socket_path().is_some());
    if target.tls.mode == SslMode::Disable || all_local {
        return Ok(None);
    }
    tls::refuse_missing_roots(&target.tls)?;
    TlsMode::new(&target.tls).map(Some)
}

struct Search<'a> {
    target: &'a ConnectOptions,
    purpose: SessionPurpose,
    encryption: Option<TlsMode>,
}

/// An attempt over one way that failed.
struct AttemptError {
    kind: ConnectErrorKind,
    /// Whether another kind of encryption might do better.
    is_worth_another_way: bool,
}

impl AttemptError {
    fn of_encryption(kind: ConnectErrorKind) -> Self {
        Self { kind, is_worth_another_way: true }
    }

    fn of_socket(error: std::io::Error) -> Self {
        Self { kind: ConnectErrorKind::Unreachable(error), is_worth_another_way: false }
    }

    fn of_login(LoginError { kind, was_asked }: LoginError) -> Self {
        let refused = kind.server_error().is_some() || matches!(kind, ConnectErrorKind::Tls(_));
        Self { is_worth_another_way: refused && !was_asked, kind }
    }
}

impl Search<'_> {
    async fn try_hosts(&self, wanted: SessionAttrs) -> Result<LoggedIn, ConnectError> {
        let mut errors = Vec::new();
        for host in self.in_order(self.target.hosts.iter().collect()) {
            match self.try_host(host, wanted, &mut errors).await {
                Some(session) => return Ok(session),
                None if is_final(&errors) => break,
                None => {}
            }
        }
        Err(self.summary(errors))
    }

    fn in_order<T>(&self, items: Vec<T>) -> Vec<T> {
        if self.target.shuffle { shuffle(items) } else { items }
    }

    async fn try_host(
        &self,
        host: &Host,
        wanted: SessionAttrs,
        errors: &mut Vec<ConnectError>,
    ) -> Option<LoggedIn> {
        let limit = self.target.connect_timeout;
        let too_late = ConnectErrorKind::Timeout { seconds: limit.as_secs() };
        let found = match timeout(limit, addresses(host)).await {
            Ok(Ok(found)) => self.in_order(found),
            Ok(Err(kind)) => {
                errors.push(ConnectError::new(host.to_string(), kind));
                return None;
            }
            Err(_) => {
                errors.push(ConnectError::new(host.to_string(), too_late));
                return None;
            }
        };
        for address in found {
            let attempt = timeout(limit, self.try_address(host, &address, wanted)).await;
            let late = || Err(ConnectErrorKind::Timeout { seconds: limit.as_secs() });
            match attempt.unwrap_or_else(|_| late()) {
                Ok(session) => return Some(session),
                Err(kind) => errors.push(ConnectError::new(shown(host, &address), kind)),
            }
            if is_final(errors) {
                return None;
            }
        }
        None
    }

    async fn try_address(
        &self,
        host: &Host,
        address: &Address,
        wanted: SessionAttrs,
    ) -> Result<LoggedIn, ConnectErrorKind> {
        let mut session = self.try_ways(host, address).await?;
        if session.satisfies(wanted).await? {
            return Ok(session);
        }
        session.leave().await;
        Err(ConnectErrorKind::WrongSessionAttrs { wanted: self.target.session_attrs.as_str() })
    }

    /// libpq's fall-backs of `allow` and `prefer`. When both ways fail, the one that got further tells
    /// more; else the preferred one does.
    async fn try_ways(&self, host: &Host, address: &Address) -> Result<LoggedIn, ConnectErrorKind> {
        let (first, second) = self.ways(address);
        let failure = match Box::pin(self.try_way(host, address, first)).await {
            Ok(session) => return Ok(session),
            Err(failure) => failure,
        };
        let Some(second) = second.filter(|_| failure.is_worth_another_way) else {
            return Err(failure.kind);
        };
        match Box::pin(self.try_way(host, address, second)).await {
            Ok(session) => Ok(session),
            Err(other) if other.is_worth_another_way => Err(failure.kind),
            Err(other) => Err(other.kind),
        }
    }

    fn ways(&self, address: &Address) -> (TlsAttempt, Option<TlsAttempt>) {
        match (address, self.target.tls.mode) {
            (Address::Unix(_), _) | (_, SslMode::Disable) => (TlsAttempt::Plain, None),
            (_, SslMode::Allow) => (TlsAttempt::Plain, Some(TlsAttempt::Tls)),
            (_, SslMode::Prefer) => (TlsAttempt::TlsIfOffered, Some(TlsAttempt::Plain)),
            _ if self.target.tls.direct => (TlsAttempt::DirectTls, None),
            _ => (TlsAttempt::Tls, None),
        }
    }

    async fn try_way(
        &self,
        host: &Host,
        address: &Address,
        way: TlsAttempt,
    ) -> Result<LoggedIn, AttemptError> {
        let transport = open(address, &self.target.tcp).await.map_err(AttemptError::of_socket)?;
        let transport =
            self.encrypt(transport, host, way).await.map_err(AttemptError::of_encryption)?;
        log_in(transport, self.target, host, self.purpose).await.map_err(AttemptError::of_login)
    }

    async fn encrypt(
        &self,
        transport: Transport,
        host: &Host,
        way: TlsAttempt,
    ) -> Result<Transport, ConnectErrorKind> {
        let (stream, encryption) = match (transport, &self.encryption) {
            (Transport::Tcp(stream), Some(encryption)) if way != TlsAttempt::Plain => {
                (stream, encryption)
            }
            (transport, _) => return Ok(transport),
        };
        if way == TlsAttempt::DirectTls {
            return encryption.encrypt(stream, host).await;
        }
        match tls::request_ssl(stream).await? {
            SslResponse::Accepted(stream) => encryption.encrypt(stream, host).await,
            SslResponse::Refused(stream) if way == TlsAttempt::TlsIfOffered => {
                Ok(Transport::Tcp(stream))
            }
            SslResponse::Refused(_) => {
                Err(ConnectErrorKind::NoTls { mode: self.target.tls.mode.as_str() })
            }
        }
    }

    /// The error that decides; of several servers that can't be used, all.
    fn summary(&self, mut errors: Vec<ConnectError>) -> ConnectError {
        if let Some(last) = errors.pop_if(|last| !last.kind().is_worth_another_host()) {
            return last;
        }
        match errors.pop() {
            Some(only) if errors.is_empty() => only,
            last => {
                errors.extend(last);
                ConnectError::new(self.target.display_name(), ConnectErrorKind::Everywhere(errors))
            }
        }
    }
}

fn is_final(errors: &[ConnectError]) -> bool {
    errors.last().is_some_and(|last| !last.kind().is_worth_another_host())
}

/// A host, and its address where the name alone does not tell.
fn shown(host: &Host, address: &Address) -> String {
    match address {
        Address::Tcp(address) if host.to_string() != address.to_string() => {
            format!("{host} ({})", address.ip())
        }
        _ => host.to_string(),
    }
}
