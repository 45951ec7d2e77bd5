//! From a target to a session: hosts in order, their addresses, and the allowed kinds of encryption.

use tokio::time::timeout;

use super::conn_options::{ConnectOptions, Host, SessionAttrs, SslMode};
use super::error::{ConnectError, ConnectErrorKind};
use super::login::{LoggedIn, LoginError, SessionPurpose, log_in};
use super::socket::{Address, addresses, open, shuffle};
use super::tls::{SslResponse, TlsMode, request_ssl, require_roots};
use super::transport::Transport;

/// How one connection attempt uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsAttempt {
    /// Without TLS.
    Plain,
    /// With TLS if the server accepts it, else without.
    TlsIfOffered,
    /// With TLS, negotiated first; else the attempt fails.
    Tls,
    /// With TLS from the first byte.
    DirectTls,
}

/// Opens a session with the first suitable server of the target.
///
/// A server that rejects the session (wrong password, no such database) ends the search, as in libpq; one
/// that can't be reached or is of the wrong kind does not. Each address is given the full
/// `connect_timeout`.
pub(crate) async fn connect(
    target: &ConnectOptions,
    purpose: SessionPurpose,
) -> Result<LoggedIn, ConnectError> {
    let tls = prepare_tls(target).map_err(|kind| ConnectError::new(target.display_name(), kind))?;
    let search = Search { target, purpose, tls };
    if target.session_attrs != SessionAttrs::PreferStandby {
        return Box::pin(search.try_hosts(target.session_attrs)).await;
    }
    match Box::pin(search.try_hosts(SessionAttrs::Standby)).await {
        Ok(session) => Ok(session),
        Err(_) => Box::pin(search.try_hosts(SessionAttrs::Any)).await,
    }
}

/// Reads the certificates, if any connection could need them.
fn prepare_tls(target: &ConnectOptions) -> Result<Option<TlsMode>, ConnectErrorKind> {
    let all_local = target.hosts.iter().all(|host| host.socket_path().is_some());
    if target.tls.mode == SslMode::Disable || all_local {
        return Ok(None);
    }
    require_roots(&target.tls)?;
    TlsMode::new(&target.tls).map(Some)
}

struct Search<'a> {
    target: &'a ConnectOptions,
    purpose: SessionPurpose,
    tls: Option<TlsMode>,
}

/// A failed attempt.
struct AttemptError {
    kind: ConnectErrorKind,
    /// Whether an attempt with another kind of encryption might succeed.
    may_retry: bool,
}

impl AttemptError {
    fn of_encryption(kind: ConnectErrorKind) -> Self {
        Self { kind, may_retry: true }
    }

    fn of_socket(error: std::io::Error) -> Self {
        Self { kind: ConnectErrorKind::Unreachable(error), may_retry: false }
    }

    fn of_login(LoginError { kind, auth_requested }: LoginError) -> Self {
        let rejected = kind.server_error().is_some() || matches!(kind, ConnectErrorKind::Tls(_));
        Self { may_retry: rejected && !auth_requested, kind }
    }
}

impl Search<'_> {
    async fn try_hosts(&self, attrs: SessionAttrs) -> Result<LoggedIn, ConnectError> {
        let mut errors = Vec::new();
        for host in self.in_order(self.target.hosts.iter().collect()) {
            match self.try_host(host, attrs, &mut errors).await {
                Some(session) => return Ok(session),
                None if is_final(&errors) => break,
                None => {}
            }
        }
        Err(self.summary(errors))
    }

    /// Hosts or addresses in the order in which to try them.
    fn in_order<T>(&self, items: Vec<T>) -> Vec<T> {
        if self.target.shuffle { shuffle(items) } else { items }
    }

    async fn try_host(
        &self,
        host: &Host,
        attrs: SessionAttrs,
        errors: &mut Vec<ConnectError>,
    ) -> Option<LoggedIn> {
        let limit = self.target.connect_timeout;
        let timed_out = || ConnectErrorKind::Timeout { seconds: limit.as_secs() };
        let found = match timeout(limit, addresses(host)).await {
            Ok(Ok(found)) => self.in_order(found),
            Ok(Err(kind)) => {
                errors.push(ConnectError::new(host.to_string(), kind));
                return None;
            }
            Err(_) => {
                errors.push(ConnectError::new(host.to_string(), timed_out()));
                return None;
            }
        };
        for address in found {
            let attempt = timeout(limit, self.try_address(host, &address, attrs)).await;
            match attempt.unwrap_or_else(|_| Err(timed_out())) {
                Ok(session) => return Some(session),
                Err(kind) => errors.push(ConnectError::new(label(host, &address), kind)),
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
        attrs: SessionAttrs,
    ) -> Result<LoggedIn, ConnectErrorKind> {
        let mut session = self.try_with_fallback(host, address).await?;
        if session.satisfies(attrs).await? {
            return Ok(session);
        }
        session.terminate().await;
        Err(ConnectErrorKind::WrongSessionAttrs { wanted: self.target.session_attrs.as_str() })
    }

    /// libpq's fallbacks of `allow` and `prefer`. When both attempts fail, the error of the one that got
    /// further is returned, else that of the preferred one.
    async fn try_with_fallback(
        &self,
        host: &Host,
        address: &Address,
    ) -> Result<LoggedIn, ConnectErrorKind> {
        let (first, second) = self.tls_attempts(address);
        let failure = match Box::pin(self.try_once(host, address, first)).await {
            Ok(session) => return Ok(session),
            Err(failure) => failure,
        };
        let Some(second) = second.filter(|_| failure.may_retry) else {
            return Err(failure.kind);
        };
        match Box::pin(self.try_once(host, address, second)).await {
            Ok(session) => Ok(session),
            Err(other) if other.may_retry => Err(failure.kind),
            Err(other) => Err(other.kind),
        }
    }

    fn tls_attempts(&self, address: &Address) -> (TlsAttempt, Option<TlsAttempt>) {
        match (address, self.target.tls.mode) {
            (Address::Unix(_), _) | (_, SslMode::Disable) => (TlsAttempt::Plain, None),
            (_, SslMode::Allow) => (TlsAttempt::Plain, Some(TlsAttempt::Tls)),
            (_, SslMode::Prefer) => (TlsAttempt::TlsIfOffered, Some(TlsAttempt::Plain)),
            _ if self.target.tls.direct => (TlsAttempt::DirectTls, None),
            _ => (TlsAttempt::Tls, None),
        }
    }

    async fn try_once(
        &self,
        host: &Host,
        address: &Address,
        attempt: TlsAttempt,
    ) -> Result<LoggedIn, AttemptError> {
        let transport = open(address, &self.target.tcp).await.map_err(AttemptError::of_socket)?;
        let transport =
            self.encrypt(transport, host, attempt).await.map_err(AttemptError::of_encryption)?;
        log_in(transport, self.target, host, self.purpose).await.map_err(AttemptError::of_login)
    }

    async fn encrypt(
        &self,
        transport: Transport,
        host: &Host,
        attempt: TlsAttempt,
    ) -> Result<Transport, ConnectErrorKind> {
        let (stream, tls) = match (transport, &self.tls) {
            (Transport::Tcp(stream), Some(tls)) if attempt != TlsAttempt::Plain => (stream, tls),
            (transport, _) => return Ok(transport),
        };
        if attempt == TlsAttempt::DirectTls {
            return tls.encrypt(stream, host).await;
        }
        match request_ssl(stream).await? {
            SslResponse::Accepted(stream) => tls.encrypt(stream, host).await,
            SslResponse::Refused(stream) if attempt == TlsAttempt::TlsIfOffered => {
                Ok(Transport::Tcp(stream))
            }
            SslResponse::Refused(_) => {
                Err(ConnectErrorKind::NoTls { mode: self.target.tls.mode.as_str() })
            }
        }
    }

    /// The error that ended the search, or else the errors of every server.
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

/// The host, with its address where that differs from the name.
fn label(host: &Host, address: &Address) -> String {
    match address {
        Address::Tcp(address) if host.to_string() != address.to_string() => {
            format!("{host} ({})", address.ip())
        }
        _ => host.to_string(),
    }
}
