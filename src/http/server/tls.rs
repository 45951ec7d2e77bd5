//! TLS of a listener: a certificate and its key from files, reloaded when the files change.

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

/// Size of a certificate or key file at most; a chain takes a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The protocols offered (ALPN), in order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", HTTP1];

/// The ALPN name of HTTP/1.1.
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// Paths of a listener's certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by any intermediate ones (PEM).
    pub certificate: PathBuf,
    /// Its private key, not encrypted (PEM).
    pub key: PathBuf,
}

/// The reason why certificate files can't be used, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{key} \"{}\" can't be read: {error}; name a file that this process may read", path.display())]
    Unreadable {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A file does not contain what it should.
    #[error("{key} \"{}\" can't be used: {reason}", path.display())]
    Unusable {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// The key is not that of the certificate.
    #[error(
        "http.tls_key_file \"{}\" is not the key of the first certificate in http.tls_cert_file \
         \"{}\": name the files of one pair, and in the latter the server's certificate before \
         those that signed it",
        files.key.display(), files.certificate.display()
    )]
    Mismatch {
        /// Certificate and key, as configured.
        files: TlsFiles,
    },
}

/// The contents of the files, compared to detect a change.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl TlsFiles {
    const CERTIFICATE: &str = "http.tls_cert_file";
    const KEY: &str = "http.tls_key_file";

    /// Reads and checks the pair. Returns the certificate's expiry, in seconds of Unix time.
    ///
    /// # Errors
    /// If the pair can't be used.
    pub fn check(&self) -> Result<i64, TlsError> {
        let pair = self.pair(&self.contents()?)?;
        Ok(expiry(&pair))
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
            Ok(chain) if chain.is_empty() => unusable(
                "it contains no certificate in PEM form (-----BEGIN CERTIFICATE-----)".into(),
            ),
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

/// Expiry of the first certificate, in seconds of Unix time; the maximum if it can't be parsed.
fn expiry(pair: &CertifiedKey) -> i64 {
    let first = pair.cert.first();
    let parsed = first.and_then(|der| x509_cert::Certificate::from_der(der).ok());
    let expiry = parsed.map(|c| c.tbs_certificate.validity.not_after.to_unix_duration().as_secs());
    expiry.and_then(|seconds| seconds.try_into().ok()).unwrap_or(i64::MAX)
}

/// The pair that a listener presents, replaced when its files change. Cloning shares it.
#[derive(Clone)]
pub struct Certificates {
    state: Arc<CertState>,
    acceptor: TlsAcceptor,
}

struct CertState {
    files: TlsFiles,
    /// The pair in use. Read at each handshake, so never locked while files are read.
    current: RwLock<Arc<CertifiedKey>>,
    /// The contents at the last reload, usable or not, so that unusable ones are reported once; `None`
    /// if they could not be read.
    last_read: Mutex<Option<Contents>>,
}

/// The result of a reload.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The files are unchanged.
    Same,
    /// A new pair is in use.
    Replaced,
    /// The new contents can't be used: the previous pair stays in use.
    Refused(TlsError),
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// If they can't be used.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let contents = files.contents()?;
        let pair = files.pair(&contents)?;
        let state = Arc::new(CertState {
            files: files.clone(),
            current: RwLock::new(Arc::new(pair)),
            last_read: Mutex::new(Some(contents)),
        });
        let acceptor = acceptor(Arc::clone(&state)).map_err(|error| TlsError::Unusable {
            key: TlsFiles::CERTIFICATE,
            path: files.certificate.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self { state, acceptor })
    }

    /// Expiry of the certificate in use, in seconds of Unix time.
    pub fn expiry(&self) -> i64 {
        expiry(&self.state.current.read())
    }

    /// Replaces the pair if the files changed. Blocks on reading them.
    pub fn reload(&self) -> ReloadOutcome {
        let contents = match self.state.files.contents() {
            Ok(contents) => contents,
            Err(error) => {
                let is_reported = self.state.last_read.lock().take().is_none();
                return if is_reported {
                    ReloadOutcome::Same
                } else {
                    ReloadOutcome::Refused(error)
                };
            }
        };
        let mut last_read = self.state.last_read.lock();
        if last_read.as_ref() == Some(&contents) {
            return ReloadOutcome::Same;
        }
        let pair = self.state.files.pair(&contents);
        *last_read = Some(contents);
        match pair {
            Err(error) => ReloadOutcome::Refused(error),
            Ok(pair) => {
                *self.state.current.write() = Arc::new(pair);
                ReloadOutcome::Replaced
            }
        }
    }

    /// Performs a handshake with the current pair.
    pub(crate) async fn accept<IO>(&self, stream: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(stream).await
    }
}

fn acceptor(state: Arc<CertState>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(state);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl ResolvesServerCert for CertState {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

/// Without the key.
impl std::fmt::Debug for CertState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CertState").field(&self.files).finish()
    }
}
