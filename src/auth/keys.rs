//! The keys that verify JWTs, read from files.

use std::fmt;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use rustls::pki_types::pem::{PemObject, SectionKind};
use sha2::{Digest, Sha256};
use x509_cert::der::{Decode, asn1::ObjectIdentifier};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// Upper bound of keys in all files together.
const MAX_KEYS: usize = 100;

/// A secret must be at least as long as the hash (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Bytes of the modulus of the smallest permitted RSA key, 2048 bits (RFC 7518, 3.3).
const MIN_RSA_BYTES: usize = 256;
/// Bytes of an uncompressed point on P-256.
const P256_POINT_BYTES: usize = 65;
/// Bytes of an Ed25519 public key.
const ED25519_BYTES: usize = 32;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The files that contain keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// A file with a secret for HS256.
    pub secret: Option<PathBuf>,
    /// Files with public keys in PEM.
    pub public: Vec<PathBuf>,
    /// A file with a JSON Web Key Set (RFC 7517).
    pub jwks: Option<PathBuf>,
}

impl KeyFiles {
    /// Reads the files and returns the number of usable keys in them.
    ///
    /// # Errors
    /// A file can't be read, or its content can't be used.
    pub fn check(&self) -> Result<usize, KeysError> {
        Ok(KeyFileContents::read(self)?.keys()?.len())
    }
}

/// The reason why a file of keys can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {}: {problem}", path.display())]
pub struct KeysError {
    setting: &'static str,
    path: PathBuf,
    problem: String,
}

/// The current keys.
pub(super) struct VerificationKeys(Vec<VerificationKey>);

/// A key for one fixed algorithm, which a token's header can't override.
pub(super) struct VerificationKey {
    pub(super) algorithm: Algorithm,
    /// Its `kid` in a JWK set; `None` for keys from other files.
    kid: Option<String>,
    pub(super) decoding: DecodingKey,
    pub(super) fingerprint: KeyFingerprint,
}

/// A hash that identifies a key without revealing it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyFingerprint([u8; 32]);

/// The content of the key files, as last read.
pub(super) struct KeyFileContents(Vec<(KeySource, Vec<u8>)>);

/// A key file and its format.
#[derive(Clone, Debug)]
struct KeySource {
    format: KeyFormat,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum KeyFormat {
    Secret,
    Pem,
    Jwks,
}

impl KeyFormat {
    fn setting(self) -> &'static str {
        match self {
            Self::Secret => "auth.jwt.secret_file",
            Self::Pem => "auth.jwt.public_key_files",
            Self::Jwks => "auth.jwt.jwks_file",
        }
    }
}

impl KeySource {
    fn new(format: KeyFormat, path: &Path) -> Self {
        Self { format, path: path.to_owned() }
    }

    fn error(&self, problem: impl Into<String>) -> KeysError {
        let (setting, path) = (self.format.setting(), self.path.clone());
        KeysError { setting, path, problem: problem.into() }
    }
}

impl KeyFileContents {
    pub(super) fn read(files: &KeyFiles) -> Result<Self, KeysError> {
        let secret = files.secret.iter().map(|path| KeySource::new(KeyFormat::Secret, path));
        let public = files.public.iter().map(|path| KeySource::new(KeyFormat::Pem, path));
        let jwks = files.jwks.iter().map(|path| KeySource::new(KeyFormat::Jwks, path));
        let read = |source: KeySource| {
            let text = std::fs::read(&source.path).map_err(|e| source.error(e.to_string()))?;
            Ok((source, text))
        };
        Ok(Self(secret.chain(public).chain(jwks).map(read).collect::<Result<_, _>>()?))
    }

    /// A hash of all files, which changes with any of them.
    pub(super) fn fingerprint(&self) -> KeyFingerprint {
        let mut hash = Sha256::new();
        for (_, text) in &self.0 {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        KeyFingerprint(hash.finalize().into())
    }

    pub(super) fn keys(&self) -> Result<VerificationKeys, KeysError> {
        let mut keys = Vec::new();
        for (source, text) in &self.0 {
            let found = match source.format {
                KeyFormat::Secret => secret(text).map(|key| vec![key]),
                KeyFormat::Pem => pem(text),
                KeyFormat::Jwks => jwks(text),
            };
            keys.extend(found.map_err(|problem| source.error(problem))?);
            if keys.len() > MAX_KEYS {
                return Err(source.error(format!("more than {MAX_KEYS} keys in all; remove some")));
            }
        }
        Ok(VerificationKeys(keys))
    }
}

impl VerificationKeys {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn fingerprints(&self) -> Vec<KeyFingerprint> {
        self.0.iter().map(|key| key.fingerprint).collect()
    }

    pub(super) fn contains(&self, fingerprint: KeyFingerprint) -> bool {
        self.0.iter().any(|key| key.fingerprint == fingerprint)
    }

    /// The keys that may have signed a token of this algorithm. If both the token and a key have a `kid`,
    /// they must be equal.
    pub(super) fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerificationKey> {
        let fits = move |key: &&VerificationKey| match (kid, &key.kid) {
            (Some(requested), Some(known)) => requested == known,
            _ => true,
        };
        self.0.iter().filter(move |key| key.algorithm == algorithm).filter(fits)
    }
}

impl VerificationKey {
    fn new(algorithm: Algorithm, kid: Option<&str>, decoding: DecodingKey) -> Self {
        let mut hash = Sha256::new();
        // A separator of zero is unambiguous: only the last part can contain one.
        hash.update(format!("{algorithm:?}\0{}\0", kid.unwrap_or_default()));
        match decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => hash.update(bytes),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                hash.update(n.len().to_le_bytes());
                hash.update(n);
                hash.update(e);
            }
        }
        let fingerprint = KeyFingerprint(hash.finalize().into());
        Self { algorithm, kid: kid.map(str::to_owned), decoding, fingerprint }
    }
}

/// The number of keys, without their content.
impl fmt::Debug for VerificationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} keys)", self.0.len())
    }
}

/// Opaque: even the hash of a short secret would reveal it.
impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(key)")
    }
}

/// A trailing line end, which editors add, is not part of the secret.
fn secret(text: &[u8]) -> Result<VerificationKey, String> {
    let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    let secret = text.get(..end).unwrap_or_default();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(format!(
            "a secret for HS256 must have at least {MIN_SECRET_BYTES} bytes, as `openssl rand -hex 32` \
             makes; this one has {}",
            secret.len()
        ));
    }
    Ok(VerificationKey::new(Algorithm::HS256, None, DecodingKey::from_secret(secret)))
}

fn pem(text: &[u8]) -> Result<Vec<VerificationKey>, String> {
    let expected = "a public key in PEM (-----BEGIN PUBLIC KEY-----)";
    let sections: Result<Vec<(SectionKind, Vec<u8>)>, _> =
        <(SectionKind, Vec<u8>)>::pem_slice_iter(text).collect();
    let sections = sections.map_err(|_| format!("not {expected}"))?;
    let keys = sections.iter().map(|(kind, der)| match kind {
        SectionKind::PublicKey => public(der),
        SectionKind::Certificate => Err(format!(
            "a certificate, not {expected}; `openssl x509 -in FILE -pubkey -noout` prints its key"
        )),
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
            Err(format!(
                "a private key, which must not be here, not {expected}; `openssl pkey -in FILE -pubout` \
                 prints the public one"
            ))
        }
        _ => Err(format!("an unknown PEM section, not {expected}")),
    });
    let keys: Vec<VerificationKey> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(format!("contains no key; it must be {expected}")) } else { Ok(keys) }
}

/// Reads a SubjectPublicKeyInfo; the type of the key determines the algorithm.
fn public(der: &[u8]) -> Result<VerificationKey, String> {
    let damaged = "the key is damaged";
    let key = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| damaged)?;
    let bytes = key.subject_public_key.as_bytes().ok_or(damaged)?;
    let curve = key.algorithm.parameters.and_then(|any| any.decode_as().ok());
    match (key.algorithm.oid, curve) {
        (RSA, _) if bytes.len() > MIN_RSA_BYTES => {
            Ok(VerificationKey::new(Algorithm::RS256, None, DecodingKey::from_rsa_der(bytes)))
        }
        (RSA, _) => Err("an RSA key must have at least 2048 bits".to_owned()),
        (ELLIPTIC_CURVE, Some(P256)) if bytes.len() == P256_POINT_BYTES => {
            Ok(VerificationKey::new(Algorithm::ES256, None, DecodingKey::from_ec_der(bytes)))
        }
        (ED25519, _) if bytes.len() == ED25519_BYTES => {
            Ok(VerificationKey::new(Algorithm::EdDSA, None, DecodingKey::from_ed_der(bytes)))
        }
        _ => Err("the key must be of type RSA, EC on the curve P-256, or Ed25519".to_owned()),
    }
}

/// Skips keys for other uses and algorithms, which providers publish in the same set.
fn jwks(text: &[u8]) -> Result<Vec<VerificationKey>, String> {
    let set: JwkSet =
        serde_json::from_slice(text).map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
    let secret = |key: &Jwk| matches!(key.algorithm, AlgorithmParameters::OctetKey(_));
    if set.keys.iter().any(secret) {
        return Err("contains a secret (kty oct), which belongs in auth.jwt.secret_file".to_owned());
    }
    let keys: Vec<VerificationKey> = set.keys.iter().filter_map(key_of_jwk).collect();
    if keys.is_empty() && !set.keys.is_empty() {
        return Err("none of its keys is for RS256, ES256 or EdDSA signatures".to_owned());
    }
    Ok(keys)
}

fn key_of_jwk(jwk: &Jwk) -> Option<VerificationKey> {
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|only| *only != PublicKeyUse::Signature) {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    if common.key_algorithm.is_some_and(|only| only != named) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    let is_complete = match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.len() >= MIN_RSA_BYTES,
        DecodingKeyKind::SecretOrDer(bytes) => {
            bytes.len()
                == if algorithm == Algorithm::ES256 { P256_POINT_BYTES } else { ED25519_BYTES }
        }
    };
    is_complete.then(|| VerificationKey::new(algorithm, common.key_id.as_deref(), decoding))
}
