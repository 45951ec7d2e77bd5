//! TLS with libpq's meanings of `sslmode` and related parameters (manual: "SSL Support").

mod binding;
mod files;
mod verifier;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{IpAddr, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) use binding::server_end_point;
use files::Roots;
use verifier::{NameCheck, ServerVerifier};

use super::conn_options::{Host, RootCertificates, SslMode, TlsOptions};
use super::error::{ConnectErrorKind, Excerpt};
use super::transport::Transport;

/// The protocol's name in ALPN, which direct negotiation requires.
const ALPN: &[u8] = b"postgresql";

/// `SSLRequest`: length 8 and a code that is no protocol version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The server's response to the request for TLS.
pub(crate) enum SslResponse {
    /// The TLS handshake may start.
    Accepted(TcpStream),
    /// The server has no TLS; the connection may continue without it.
    Refused(TcpStream),
}

/// Asks the server whether it supports TLS.
///
/// Exactly one byte is read: what an attacker appends in the clear becomes part of the handshake,
/// which then fails (CVE-2021-23222).
pub(crate) async fn request_ssl(mut stream: TcpStream) -> Result<SslResponse, ConnectErrorKind> {
    stream.write_all(&SSL_REQUEST).await.map_err(ConnectErrorKind::Lost)?;
    match stream.read_u8().await.map_err(ConnectErrorKind::Lost)? {
        b'S' => Ok(SslResponse::Accepted(stream)),
        b'N' => Ok(SslResponse::Refused(stream)),
        // An error message. It is not shown, because the server is not authenticated yet (CVE-2024-10977).
        b'E' => Err(ConnectErrorKind::Tls(
            "the server answered the request for TLS with an error".into(),
        )),
        first => {
            let mut answer = vec![first];
            let _ = stream.try_read_buf(&mut answer);
            Err(ConnectErrorKind::NotPostgres { answer: Excerpt(&answer).to_string() })
        }
    }
}

/// The TLS configuration of a connection target.
pub(crate) struct TlsMode {
    connector: TlsConnector,
    direct: bool,
}

impl TlsMode {
    /// Reads the certificates that the options name.
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, ConnectErrorKind> {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            ServerVerifier::new(name_check(options), Roots::load(&options.roots)?, &provider);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectErrorKind::TlsSetup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &options.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = files::client_certificate(certificate)?;
                let private = files::private_key(key)?;
                builder.with_client_auth_cert(chain, private).map_err(|error| {
                    ConnectErrorKind::TlsSetup(format!(
                        "client certificate \"{}\" and private key \"{}\" can't be used: {error}",
                        certificate.display(),
                        key.display()
                    ))
                })?
            }
        };
        // PostgreSQL does not resume TLS sessions.
        config.resumption = Resumption::disabled();
        if options.direct {
            config.alpn_protocols = vec![ALPN.to_vec()];
        }
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), direct: options.direct })
    }

    /// Performs the handshake.
    pub(crate) async fn encrypt(
        &self,
        stream: TcpStream,
        host: &Host,
    ) -> Result<Transport, ConnectErrorKind> {
        let name = server_name(host)?;
        let stream = self.connector.connect(name, stream).await.map_err(ConnectErrorKind::of_io)?;
        if self.direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            let reason = "the server did not agree on protocol \"postgresql\" (ALPN); before \
                          PostgreSQL 17 use sslnegotiation=postgres";
            return Err(ConnectErrorKind::Tls(reason.into()));
        }
        Ok(Transport::Tls(Box::new(stream)))
    }
}

/// What is demanded of the server's certificate. Modes below `verify-ca` demand a chain, too, if root
/// certificates are given: libpq's compatibility rule.
fn name_check(options: &TlsOptions) -> NameCheck {
    match (options.mode, &options.roots) {
        (SslMode::VerifyFull, _) => NameCheck::ChainAndName,
        (SslMode::VerifyCa, _) | (_, RootCertificates::File(_) | RootCertificates::System) => {
            NameCheck::Chain
        }
        (_, RootCertificates::Missing(_)) => NameCheck::Nothing,
    }
}

/// Fails if the `sslmode` needs root certificates and there are none.
pub(crate) fn require_roots(options: &TlsOptions) -> Result<(), ConnectErrorKind> {
    let RootCertificates::Missing(usual) = &options.roots else { return Ok(()) };
    if options.mode < SslMode::VerifyCa {
        return Ok(());
    }
    let searched = usual.as_ref().map(|path| format!(" and \"{}\" does not exist", path.display()));
    Err(ConnectErrorKind::TlsSetup(format!(
        "sslmode={} needs root certificates: none are named{}; write sslrootcert=system or \
         sslrootcert=/path/to/root.crt",
        options.mode.as_str(),
        searched.unwrap_or_default()
    )))
}

fn server_name(host: &Host) -> Result<ServerName<'static>, ConnectErrorKind> {
    let name = host.certificate_name();
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return Ok(ServerName::IpAddress(IpAddr::from(address)));
    }
    let invalid =
        || ConnectErrorKind::TlsSetup(format!("\"{name}\" is not a valid host name for TLS"));
    ServerName::try_from(name.clone()).map_err(|_| invalid())
}
