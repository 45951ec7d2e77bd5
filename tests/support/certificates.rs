//! Certificates generated for a test.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

static AUTHORITIES: AtomicU32 = AtomicU32::new(1);

pub(crate) struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM form.
pub(crate) struct SignedPair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A unique name, so that no other authority's signature is even checked.
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("Authority {number}"));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its root certificate in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn sign(&self, common_name: &str, alternative_names: &[&str]) -> SignedPair {
        self.sign_with(&rcgen::PKCS_ECDSA_P256_SHA256, common_name, alternative_names)
    }

    pub(crate) fn sign_with(
        &self,
        algorithm: &'static rcgen::SignatureAlgorithm,
        common_name: &str,
        alternative_names: &[&str],
    ) -> SignedPair {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = alternative_names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        SignedPair { certificate, key: key.serialize_pem() }
    }
}

/// A temporary folder for files that only their owner can read.
pub(crate) struct CertificateFiles(TempDir);

impl CertificateFiles {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A certificate of X.509 version 1, as `openssl x509 -req` created them for decades, and its key.
pub(crate) fn of_version_1() -> SignedPair {
    let certificate = "-----BEGIN CERTIFICATE-----
MIIBKTCB0AIUOZauE9R84AHx+OwgFD/CYW67KQkwCgYIKoZIzj0EAwIwGDEWMBQG
A1UEAwwNT2xkIGF1dGhvcml0eTAgFw0yNjExMjExMDUxNDZaGA8yMTI2MTAyODEw
NTE0NlowFTETMBEGA1UEAwwKZGIuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABHi3PB/i7p+tMy+Bk+7hWUXnNX+zLN8/UzbWoVSitBDjsB+6pGS/p4Zi
vjBFRzyRBeyRFqQfPShL2/GWU7vkzZYwCgYIKoZIzj0EAwIDSAAwRQIgcXIp9VCO
xIHx6xXkmaDI78974UEPgc8XwG04+we2wq4CIQDOTImy93nJHy5sKyBIt8+rIqo1
TBr+Q0pB5BMvi2+TAA==
-----END CERTIFICATE-----
";
    let key = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQBzMYU9UWP4UOj3D
AVcpvrSzvsSONMHHOgEl/nN8WHihRANCAAR4tzwf4u6frTMvgZPu4VlF5zV/syzf
P1M21qFUorQQ47AfuqRkv6eGYr4wRUc8kQXskRakHz0oS9vxllO75M2W
-----END PRIVATE KEY-----
";
    SignedPair { certificate: certificate.into(), key: key.into() }
}
