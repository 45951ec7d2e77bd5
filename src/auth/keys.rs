//! Keys that JWTs may be signed with, read from files.

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

/// Keys at once; files that hold more are refused.
const KEYS_MAX: usize = 100;

/// A secret must be as long as what it makes (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Bytes of the modulus of an RSA key of 2048 bits (RFC 7518, 3.3).
const RSA_BYTES_MIN: usize = 256;
/// An uncompressed point on P-256.
const P256_POINT_BYTES: usize = 65;
/// An Ed25519 public key.
const ED25519_BYTES: usize = 32;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Where keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// A secret for HS256.
    pub secret: Option<PathBuf>,
    /// Public keys in PEM.
    pub public: Vec<PathBuf>,
    /// A JSON Web Key Set (RFC 7517).
    pub jwks: Option<PathBuf>,
}

impl KeyFiles {
    /// Reads the files; answers how many keys for JWTs they hold.
    ///
    /// # Errors
    /// When one can't be read, or what it holds can't be used.
    pub fn check(&self) -> Result<usize, KeysError> {
        Ok(Texts::read(self)?.keys()?.len())
    }
}

/// Keys can't be had from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {}: {problem}", path.display())]
pub struct KeysError {
    setting: &'static str,
    path: PathBuf,
    problem: String,
}

/// The keys that hold now.
pub(super) struct VerificationKeys(Vec<VerificationKey>);

/// One key, for one algorithm: a token can't choose another one for it.
pub(super) struct VerificationKey {
    pub(super) algorithm: Algorithm,
    /// The name by which tokens call it.
    kid: Option<String>,
    pub(super) decoding: DecodingKey,
    pub(super) print: KeyFingerprint,
}

/// Names a key without telling it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyFingerprint([u8; 32]);

/// What the files held, to see whether they hold something else now.
pub(super) struct Texts(Vec<(KeySource, Vec<u8>)>);

/// A file, and what it is to hold.
#[derive(Clone, Debug)]
struct KeySource {
    form: FileForm,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum FileForm {
    Secret,
    Pem,
    Jwks,
}

impl FileForm {
    fn setting(self) -> &'static str {
        match self {
            Self::Secret => "auth.jwt.secret_file",
            Self::Pem => "auth.jwt.public_key_files",
            Self::Jwks => "auth.jwt.jwks_file",
        }
    }
}

impl KeySource {
    fn new(form: FileForm, path: &Path) -> Self {
        Self { form, path: path.to_owned() }
    }

    fn error(&self, problem: impl Into<String>) -> KeysError {
        let (setting, path) = (self.form.setting(), self.path.clone());
        KeysError { setting, path, problem: problem.into() }
    }
}

impl Texts {
    pub(super) fn read(files: &KeyFiles) -> Result<Self, KeysError> {
        let secret = files.secret.iter().map(|path| KeySource::new(FileForm::Secret, path));
        let public = files.public.iter().map(|path| KeySource::new(FileForm::Pem, path));
        let jwks = files.jwks.iter().map(|path| KeySource::new(FileForm::Jwks, path));
        let read = |origin: KeySource| {
            let text = std::fs::read(&origin.path).map_err(|e| origin.error(e.to_string()))?;
            Ok((origin, text))
        };
        Ok(Self(secret.chain(public).chain(jwks).map(read).collect::<Result<_, _>>()?))
    }

    /// Changes with any of them.
    pub(super) fn print(&self) -> KeyFingerprint {
        let mut hash = Sha256::new();
        for (_, text) in &self.0 {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        KeyFingerprint(hash.finalize().into())
    }

    pub(super) fn keys(&self) -> Result<VerificationKeys, KeysError> {
        let mut keys = Vec::new();
        for (origin, text) in &self.0 {
            let found = match origin.form {
                FileForm::Secret => secret(text).map(|key| vec![key]),
                FileForm::Pem => pem(text),
                FileForm::Jwks => jwks(text),
            };
            keys.extend(found.map_err(|problem| origin.error(problem))?);
            if keys.len() > KEYS_MAX {
                return Err(origin.error(format!("more than {KEYS_MAX} keys in all; remove some")));
            }
        }
        Ok(VerificationKeys(keys))
    }
}

impl VerificationKeys {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn prints(&self) -> Vec<KeyFingerprint> {
        self.0.iter().map(|key| key.print).collect()
    }

    pub(super) fn holds(&self, print: KeyFingerprint) -> bool {
        self.0.iter().any(|key| key.print == print)
    }

    /// Keys that a token of this algorithm may be signed with: the one it names, or those without a
    /// name.
    pub(super) fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerificationKey> {
        let fits = move |key: &&VerificationKey| match (kid, &key.kid) {
            (Some(asked), Some(known)) => asked == known,
            _ => true,
        };
        self.0.iter().filter(move |key| key.algorithm == algorithm).filter(fits)
    }
}

impl VerificationKey {
    fn new(algorithm: Algorithm, kid: Option<&str>, decoding: DecodingKey) -> Self {
        let mut hash = Sha256::new();
        // No part holds a zero but the last.
        hash.update(format!("{algorithm:?}\0{}\0", kid.unwrap_or_default()));
        match decoding.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => hash.update(bytes),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                hash.update(n.len().to_le_bytes());
                hash.update(n);
                hash.update(e);
            }
        }
        let print = KeyFingerprint(hash.finalize().into());
        Self { algorithm, kid: kid.map(str::to_owned), decoding, print }
    }
}

/// How many there are, and nothing of them.
impl fmt::Debug for VerificationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} keys)", self.0.len())
    }
}

/// Nothing of it: of a short secret even the hash would tell.
impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(key)")
    }
}

/// The line end that editors add is no part of a secret.
fn secret(text: &[u8]) -> Result<VerificationKey, String> {
    let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    let secret = text.get(..end).unwrap_or_default();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "a secret for HS256 must have at least {SECRET_BYTES_MIN} bytes, as `openssl rand -hex 32` \
             makes; this one has {}",
            secret.len()
        ));
    }
    Ok(VerificationKey::new(Algorithm::HS256, None, DecodingKey::from_secret(secret)))
}

fn pem(text: &[u8]) -> Result<Vec<VerificationKey>, String> {
    let wanted = "a public key in PEM (-----BEGIN PUBLIC KEY-----)";
    let sections: Result<Vec<(SectionKind, Vec<u8>)>, _> =
        <(SectionKind, Vec<u8>)>::pem_slice_iter(text).collect();
    let sections = sections.map_err(|_| format!("not {wanted}"))?;
    let keys = sections.iter().map(|(kind, der)| match kind {
        SectionKind::PublicKey => public(der),
        SectionKind::Certificate => Err(format!(
            "a certificate, not {wanted}; `openssl x509 -in FILE -pubkey -noout` prints its key"
        )),
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
            Err(format!(
                "a private key, which must not be here, not {wanted}; `openssl pkey -in FILE -pubout` \
                 prints the public one"
            ))
        }
        _ => Err(format!("something else, not {wanted}")),
    });
    let keys: Vec<VerificationKey> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(format!("holds no key; it must be {wanted}")) } else { Ok(keys) }
}

/// The algorithm follows from the kind of key.
fn public(der: &[u8]) -> Result<VerificationKey, String> {
    let damaged = "the key is damaged";
    let key = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| damaged)?;
    let bytes = key.subject_public_key.as_bytes().ok_or(damaged)?;
    let curve = key.algorithm.parameters.and_then(|any| any.decode_as().ok());
    match (key.algorithm.oid, curve) {
        (RSA, _) if bytes.len() > RSA_BYTES_MIN => {
            Ok(VerificationKey::new(Algorithm::RS256, None, DecodingKey::from_rsa_der(bytes)))
        }
        (RSA, _) => Err("an RSA key must have at least 2048 bits".to_owned()),
        (ELLIPTIC_CURVE, Some(P256)) if bytes.len() == P256_POINT_BYTES => {
            Ok(VerificationKey::new(Algorithm::ES256, None, DecodingKey::from_ec_der(bytes)))
        }
        (ED25519, _) if bytes.len() == ED25519_BYTES => {
            Ok(VerificationKey::new(Algorithm::EdDSA, None, DecodingKey::from_ed_der(bytes)))
        }
        _ => Err("the key must be RSA, an elliptic curve's of P-256, or Ed25519".to_owned()),
    }
}

/// Keys for other uses and algorithms are passed over: providers publish theirs, too.
fn jwks(text: &[u8]) -> Result<Vec<VerificationKey>, String> {
    let set: JwkSet =
        serde_json::from_slice(text).map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
    let secret = |key: &Jwk| matches!(key.algorithm, AlgorithmParameters::OctetKey(_));
    if set.keys.iter().any(secret) {
        return Err("holds a secret (kty oct); that belongs into auth.jwt.secret_file".to_owned());
    }
    let keys: Vec<VerificationKey> = set.keys.iter().filter_map(of_set).collect();
    if keys.is_empty() && !set.keys.is_empty() {
        return Err("none of its keys is for signatures by RS256, ES256 or EdDSA".to_owned());
    }
    Ok(keys)
}

fn of_set(jwk: &Jwk) -> Option<VerificationKey> {
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
    let is_whole = match decoding.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.len() >= RSA_BYTES_MIN,
        DecodingKeyKind::SecretOrDer(bytes) => {
            bytes.len()
                == if algorithm == Algorithm::ES256 { P256_POINT_BYTES } else { ED25519_BYTES }
        }
    };
    is_whole.then(|| VerificationKey::new(algorithm, common.key_id.as_deref(), decoding))
}
