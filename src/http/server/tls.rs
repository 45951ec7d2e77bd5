//! TLS on a listener: a certificate and its key from files, read again when the files change.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_cert::der::Decode;

/// Bytes of a certificate or key file; a longer one is refused. Chains are a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The protocols offered, best first (ALPN).
const PROTOCOLS: [&[u8]; 2] = [b"h2", HTTP1];

/// The name of HTTP/1.1 among them.
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// Where a listener's certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with any intermediate ones behind it (PEM).
    pub certificate: PathBuf,
    /// Its private key, not encrypted (PEM).
    pub key: PathBuf,
}

/// Why files can't be used, and what would mend it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{key} \"{}\" can't be read: {error}; name a file that this process may read", path.display())]
    Unreadable {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{key} \"{}\" can't be used: {reason}", path.display())]
    Unusable {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// Each is fine, but they don't belong together.
    #[error(
        "http.tls_key_file \"{}\" is not the key of the first certificate in http.tls_cert_file \
         \"{}\": name the files of one pair, and in the latter the server's certificate before \
         those that signed it",
        files.key.display(), files.certificate.display()
    )]
    Mismatch {
        /// The files.
        files: TlsFiles,
    },
}

/// What the files hold: compared to see whether they changed.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl TlsFiles {
    const CERTIFICATE: &str = "http.tls_cert_file";
    const KEY: &str = "http.tls_key_file";

    /// Reads and checks the pair; answers until when the certificate is valid, in seconds of Unix time.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn check(&self) -> Result<i64, TlsError> {
        let pair = self.pair(&self.contents()?)?;
        Ok(valid_until(&pair))
    }

    fn contents(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            certificate: read(Self::CERTIFICATE, &self.certificate)?,
            key: read(Self::KEY, &self.key)?,
        })
    }

    fn pair(&self, contents: &Contents) -> Result<CertifiedKey, TlsError> {
        let chain = self.chain(&contents.certificate)?;
        let unusable =
            |reason| TlsError::Unusable { key: Self::KEY, path: self.key.clone(), reason };
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| {
            unusable(format!("{error} (expected a private key in PEM form, not encrypted)"))
        })?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { files: self.clone() }
            }
            error => unusable(format!("{error} (expected an RSA, ECDSA or Ed25519 key)")),
        })
    }

    fn chain(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let unusable = |reason| {
            let path = self.certificate.clone();
            Err(TlsError::Unusable { key: Self::CERTIFICATE, path, reason })
        };
        match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
            Ok(chain) if chain.is_empty() => {
                unusable("it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".into())
            }
            Ok(chain) => Ok(chain),
            Err(error) => unusable(format!("{error} (expected certificates in PEM form)")),
        }
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > FILE_BYTES_MAX => {
            let reason = format!("it is longer than {FILE_BYTES_MAX} bytes, so it is no such file");
            Err(TlsError::Unusable { key, path: path.to_owned(), reason })
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(TlsError::Unreadable { key, path: path.to_owned(), error }),
    }
}

/// In seconds of Unix time; for ever where the certificate is too odd to tell.
fn valid_until(pair: &CertifiedKey) -> i64 {
    let first = pair.cert.first();
    let parsed = first.and_then(|der| x509_cert::Certificate::from_der(der).ok());
    let until = parsed.map(|c| c.tbs_certificate.validity.not_after.to_unix_duration().as_secs());
    until.and_then(|seconds| seconds.try_into().ok()).unwrap_or(i64::MAX)
}

/// The pair that listeners show, replaced when its files change. Cloning shares it.
#[derive(Clone)]
pub struct Certificates {
    held: Arc<CertState>,
    acceptor: TlsAcceptor,
}

struct CertState {
    files: TlsFiles,
    /// Read at each handshake, so never held while files are read.
    used: RwLock<Arc<CertifiedKey>>,
    /// What the files held at the last look, good or bad, so that what is bad is told once; `None`
    /// when they could not be read.
    seen: Mutex<Option<Contents>>,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// They hold what they held.
    Same,
    /// A new pair, now in use.
    Replaced,
    /// What they hold can't be used: the pair from before stays in use.
    Refused(TlsError),
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// When they can't be used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let contents = files.contents()?;
        let pair = files.pair(&contents)?;
        let held = Arc::new(CertState {
            files: files.clone(),
            used: RwLock::new(Arc::new(pair)),
            seen: Mutex::new(Some(contents)),
        });
        let acceptor = acceptor(Arc::clone(&held)).map_err(|error| TlsError::Unusable {
            key: TlsFiles::CERTIFICATE,
            path: files.certificate.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self { held, acceptor })
    }

    /// Until when the certificate in use is valid, in seconds of Unix time.
    pub fn valid_until(&self) -> i64 {
        valid_until(&self.held.used.read())
    }

    /// Looks whether the files changed. Reads them: not for a thread that must not wait.
    pub fn look(&self) -> ReloadOutcome {
        let contents = match self.held.files.contents() {
            Ok(contents) => contents,
            Err(error) => {
                let known = self.held.seen.lock().take().is_none();
                return if known { ReloadOutcome::Same } else { ReloadOutcome::Refused(error) };
            }
        };
        let mut seen = self.held.seen.lock();
        if seen.as_ref() == Some(&contents) {
            return ReloadOutcome::Same;
        }
        let pair = self.held.files.pair(&contents);
        *seen = Some(contents);
        match pair {
            Err(error) => ReloadOutcome::Refused(error),
            Ok(pair) => {
                *self.held.used.write() = Arc::new(pair);
                ReloadOutcome::Replaced
            }
        }
    }

    /// Performs a handshake, with the pair of the moment.
    pub(crate) async fn accept<IO>(&self, stream: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(stream).await
    }
}

fn acceptor(held: Arc<CertState>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(held);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl ResolvesServerCert for CertState {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.used.read()))
    }
}

/// Never shows a key.
impl std::fmt::Debug for CertState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Held").field(&self.files).finish()
    }
}
