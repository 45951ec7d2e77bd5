//! Certificates and keys from PEM files.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::wire::conn_options::RootCertificates;
use crate::wire::error::ConnectErrorKind;

/// The certificates that a server's certificate may be traced back to.
pub(super) struct Roots {
    /// The certificates that may sign others.
    pub(super) store: RootCertStore,
    /// The certificates of the file, unchanged: one may be the server's own, self-signed one.
    pub(super) listed: Vec<CertificateDer<'static>>,
}

impl Roots {
    pub(super) fn load(source: &RootCertificates) -> Result<Self, ConnectErrorKind> {
        let listed = match source {
            RootCertificates::Missing(_) => Vec::new(),
            RootCertificates::System => system_certificates()?,
            RootCertificates::File(path) => {
                certificates(path, "root certificate file", "sslrootcert")?
            }
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(listed.iter().cloned());
        Ok(Self { store, listed })
    }
}

fn system_certificates() -> Result<Vec<CertificateDer<'static>>, ConnectErrorKind> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(ConnectErrorKind::TlsSetup(format!(
            "sslrootcert=system: the operating system has no trusted certificates ({}); install \
             package ca-certificates",
            reasons.join(", ")
        )));
    }
    Ok(found.certs)
}

/// Reads the client's certificate and the intermediate ones that follow it.
pub(super) fn client_certificate(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConnectErrorKind> {
    certificates(path, "client certificate", "sslcert")
}

fn certificates(
    path: &Path,
    what: &str,
    parameter: &str,
) -> Result<Vec<CertificateDer<'static>>, ConnectErrorKind> {
    let unusable = |reason: String| {
        let path = path.display();
        ConnectErrorKind::TlsSetup(format!(
            "{what} \"{path}\" ({parameter}) can't be used: {reason}"
        ))
    };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("it contains no certificate in PEM format".into()));
    }
    Ok(certificates)
}

/// Reads the client's private key, which must not be readable by other users.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectErrorKind> {
    let unusable = |reason: String| {
        ConnectErrorKind::TlsSetup(format!(
            "private key \"{}\" (sslkey) can't be used: {reason}",
            path.display()
        ))
    };
    let metadata = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    // As in libpq: 0600 for a file of this user, 0640 for one of root.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.permissions().mode() & forbidden != 0 {
        return Err(unusable("others may read it; chmod 600 fixes this".into()));
    }
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| unusable(format!("{error} (expected an unencrypted key in PEM format)")))
}
