//! TLS with libpq's meanings of `sslmode` and its neighbours (manual: "SSL Support").

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

/// How the server answers the request for TLS.
pub(crate) enum SslResponse {
    /// Go on with TLS.
    Accepted(TcpStream),
    /// No TLS here; the connection may go on without.
    Refused(TcpStream),
}

/// Asks the server whether it speaks TLS.
///
/// Exactly one byte is read: what an attacker appends in the clear becomes part of the handshake,
/// which then fails (CVE-2021-23222).
pub(crate) async fn request_ssl(mut stream: TcpStream) -> Result<SslResponse, ConnectErrorKind> {
    stream.write_all(&SSL_REQUEST).await.map_err(ConnectErrorKind::Lost)?;
    match stream.read_u8().await.map_err(ConnectErrorKind::Lost)? {
        b'S' => Ok(SslResponse::Accepted(stream)),
        b'N' => Ok(SslResponse::Refused(stream)),
        // An error message; not shown, because nobody vouches for it yet (CVE-2024-10977).
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

/// Encrypts connections as a target asks for it.
pub(crate) struct TlsMode {
    connector: TlsConnector,
    direct: bool,
}

impl TlsMode {
    /// Reads the certificates the options name.
    pub(crate) fn new(options: &TlsOptions) -> Result<Self, ConnectErrorKind> {
        let provider = Arc::new(ring::default_provider());
        let verifier = ServerVerifier::new(
            check(options),
            Roots::load(&options.roots)?,
            provider.signature_verification_algorithms,
        );
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
        // PostgreSQL keeps no sessions to resume.
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

/// What to demand of the server's certificate. Weaker modes demand a chain, too, where there is
/// something to check it against: libpq's compatibility rule.
fn check(options: &TlsOptions) -> NameCheck {
    match (options.mode, &options.roots) {
        (SslMode::VerifyFull, _) => NameCheck::ChainAndName,
        (SslMode::VerifyCa, _) | (_, RootCertificates::File(_) | RootCertificates::System) => {
            NameCheck::Chain
        }
        (_, RootCertificates::Missing(_)) => NameCheck::Nothing,
    }
}

/// Whether these options can't do without certificates to trust.
pub(crate) fn refuse_missing_roots(options: &TlsOptions) -> Result<(), ConnectErrorKind> {
    let RootCertificates::Missing(usual) = &options.roots else { return Ok(()) };
    if options.mode < SslMode::VerifyCa {
        return Ok(());
    }
    let place = usual.as_ref().map(|path| format!(" and \"{}\" does not exist", path.display()));
    Err(ConnectErrorKind::TlsSetup(format!(
        "sslmode={} needs root certificates: none are named{}; write sslrootcert=system or \
         sslrootcert=/path/to/root.crt",
        options.mode.as_str(),
        place.unwrap_or_default()
    )))
}

fn server_name(host: &Host) -> Result<ServerName<'static>, ConnectErrorKind> {
    let name = host.certificate_name();
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return Ok(ServerName::IpAddress(IpAddr::from(address)));
    }
    let invalid =
        || ConnectErrorKind::TlsSetup(format!("\"{name}\" is no host name TLS can work with"));
    ServerName::try_from(name.clone()).map_err(|_| invalid())
}
