//! libpq's `sslmode` as a policy on top of rustls' certificate verification.
//!
//! The chain, the dates and the host name are verified by [`WebPkiServerVerifier`]. What libpq adds to, or
//! takes from, the Web's rules:
//!
//! - `verify-ca` ignores the name, which rustls checks last: a name error means that the chain is valid.
//! - A certificate listed among the roots is trusted as it is, even if it is the server's own, self-signed
//!   one (the manual's recipe `openssl req -x509` makes such certificates).
//! - A certificate without alternative names may carry the host in its common name.
//! - A certificate of X.509 version 1, as `openssl x509 -req` makes them, is accepted where no chain is
//!   demanded.
//!
//! In every mode the server must prove that it holds the certificate's key: channel binding depends on it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::{Certificate, Version};

use super::files::Roots;

/// What is demanded of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameCheck {
    /// Nothing (`require` and weaker modes, without root certificates).
    Nothing,
    /// A chain to a trusted root.
    Chain,
    /// A chain to a trusted root, and the name of the host.
    ChainAndName,
}

/// The verifier of one connection target.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    check: NameCheck,
    /// rustls' verifier; `None` when no listed certificate can sign others.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates that are trusted as they are.
    listed: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(super) fn new(check: NameCheck, roots: Roots, provider: &Arc<CryptoProvider>) -> Self {
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots.store), provider.clone());
        Self {
            check,
            // Without revocation lists only an empty store is an error.
            webpki: builder.build().ok(),
            listed: roots.listed,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.check == NameCheck::Nothing {
            return Ok(());
        }
        let verified = if self.listed.iter().any(|root| root.as_ref() == certificate.as_ref()) {
            self.verify_listed(certificate, name, now)
        } else {
            self.verify_chain_and_name(certificate, intermediates, name, now)
        };
        match verified {
            Err(error) if is_name_error(&error) => match self.check {
                NameCheck::ChainAndName if !common_name_matches(certificate, name) => Err(error),
                _ => Ok(()),
            },
            verified => verified,
        }
    }

    /// Verifies a certificate that is trusted as it is: only its dates and its name are left to check.
    fn verify_listed(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        verify_dates(certificate, now)?;
        // rustls can't read the names of a certificate of version 1, which is accepted without them.
        if self.check == NameCheck::Chain {
            return Ok(());
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }

    fn verify_chain_and_name(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if version_1(certificate).is_some() {
            let error = CertificateError::Other(OtherError(Arc::new(Version1Error)));
            return Err(Error::InvalidCertificate(error));
        }
        let webpki = self.webpki.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        webpki.verify_server_cert(certificate, intermediates, name, &[], now).map(drop)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // rustls parses no certificate of version 1; its key is all that is needed here.
        match version_1(cert).and_then(|old| public_key(&old)) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms),
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn is_name_error(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

#[derive(Debug, thiserror::Error)]
#[error(
    "it is of X.509 version 1, which can't be traced to a root certificate; sign it again with \
     extensions (openssl x509 -req -extfile …, with subjectAltName=DNS:…)"
)]
struct Version1Error;

/// The parsed certificate, if it is of X.509 version 1, which rustls rejects.
fn version_1(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    parse(certificate).ok().filter(|parsed| parsed.tbs_certificate.version == Version::V1)
}

fn public_key(certificate: &Certificate) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let key = certificate.tbs_certificate.subject_public_key_info.to_der().ok()?;
    Some(SubjectPublicKeyInfoDer::from(key))
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    Certificate::from_der(certificate).map_err(bad)
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = parse(certificate)?.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// libpq's last resort: the common name, but only in a certificate without alternative names.
fn common_name_matches(certificate: &CertificateDer<'_>, wanted: &ServerName<'_>) -> bool {
    let Ok(certificate) = parse(certificate) else { return false };
    let names = certificate.tbs_certificate.get::<SubjectAltName>();
    let has_none = names.is_ok_and(|names| names.is_none());
    has_none && common_name(&certificate).is_some_and(|name| name_matches(&name, &wanted.to_str()))
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let attributes = certificate.tbs_certificate.subject.0.iter().flat_map(|name| name.0.iter());
    let value = &attributes.rev().find(|attribute| attribute.oid == COMMON_NAME)?.value;
    match value.tag() {
        Tag::Utf8String => Some(value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str().to_owned()),
        Tag::PrintableString => {
            Some(value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().to_owned())
        }
        _ => None,
    }
}

/// Compares without regard to letter case; a leading `*.` stands for one label.
fn name_matches(pattern: &str, wanted: &str) -> bool {
    if pattern.eq_ignore_ascii_case(wanted) {
        return true;
    }
    let Some(suffix) = pattern.strip_prefix("*.") else { return false };
    wanted.split_once('.').is_some_and(|(label, rest)| {
        !label.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(suffix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::RootCertStore;
    use rustls::crypto::ring;

    struct SignedCertificates {
        authority: CertificateDer<'static>,
        server: CertificateDer<'static>,
    }

    fn signed(alternative_names: &[&str], common_name: &str) -> SignedCertificates {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "the authority");
        let authority = params.self_signed(&key).unwrap().der().clone();
        let issuer = rcgen::Issuer::new(params, key);

        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(names(alternative_names)).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
        let server = params.signed_by(&key, &issuer).unwrap().der().clone();
        SignedCertificates { authority, server }
    }

    fn accepts(
        check: NameCheck,
        root: &CertificateDer<'static>,
        server: &CertificateDer<'static>,
        name: &str,
    ) -> bool {
        let mut store = RootCertStore::empty();
        store.add(root.clone()).unwrap();
        let roots = Roots { store, listed: vec![root.clone()] };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verifier = ServerVerifier::new(check, roots, &Arc::new(ring::default_provider()));
        verifier.verify_server_cert(server, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn each_check_demands_a_chain_or_a_name() {
        let signed_by_root = signed(&["db.example"], "x");
        let other = signed(&["db.example"], "x");
        for (check, wrong_authority, wrong_name) in [
            (NameCheck::Nothing, true, true),
            (NameCheck::Chain, false, true),
            (NameCheck::ChainAndName, false, false),
        ] {
            assert!(accepts(
                check,
                &signed_by_root.authority,
                &signed_by_root.server,
                "db.example"
            ));
            assert_eq!(
                accepts(check, &other.authority, &signed_by_root.server, "db.example"),
                wrong_authority
            );
            assert_eq!(
                accepts(check, &signed_by_root.authority, &signed_by_root.server, "other.example"),
                wrong_name
            );
        }
    }

    #[test]
    fn the_common_name_counts_only_without_alternative_names() {
        let named = signed(&[], "db.example");
        assert!(accepts(NameCheck::ChainAndName, &named.authority, &named.server, "db.example"));
        assert!(!accepts(NameCheck::ChainAndName, &named.authority, &named.server, "x.example"));
        let both = signed(&["other.example"], "db.example");
        assert!(!accepts(NameCheck::ChainAndName, &both.authority, &both.server, "db.example"));
    }

    #[test]
    fn a_servers_own_certificate_may_be_listed_as_root() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["db.example".into()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap().der().clone();
        assert!(accepts(NameCheck::ChainAndName, &own, &own, "db.example"));
        assert!(!accepts(NameCheck::ChainAndName, &own, &own, "other.example"));
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let expired = params.self_signed(&key).unwrap().der().clone();
        assert!(!accepts(NameCheck::Chain, &expired, &expired, "db.example"));
    }

    #[test]
    fn a_star_is_one_label() {
        for (pattern, wanted, expected) in [
            ("*.db.example", "a.db.example", true),
            ("*.db.example", "A.DB.example", true),
            ("*.db.example", "a.b.db.example", false),
            ("*.db.example", ".db.example", false),
            ("*.example", "db.example", false),
            ("db.*", "db.example", false),
        ] {
            assert_eq!(name_matches(pattern, wanted), expected, "{pattern} {wanted}");
        }
    }
}
