//! Signs JWTs and exports the keys that verify them. Also used by the unit tests of `src/auth`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use ring::{hmac, rsa::PublicKeyComponents};
use serde_json::{Value, json};

/// A private key of 2048 bits for tests only: generating one takes too long for a test.
const RSA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt/rsa.pem");

/// Signs tokens with one key.
pub(crate) enum Signer {
    Secret(String),
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The unsigned parts of a JWT. The header's algorithm may differ from that of the signature.
pub(crate) fn parts(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

/// A value for `exp`: this many seconds from now.
pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

impl Signer {
    pub(crate) fn secret() -> Self {
        let random: [u8; 32] = ring::rand::generate(&SystemRandom::new()).unwrap().expose();
        Self::Secret(STANDARD.encode(random))
    }

    /// The same key at each call.
    pub(crate) fn rsa() -> Self {
        let pem = std::fs::read_to_string(RSA).unwrap();
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
        Self::Rsa(Box::new(pair))
    }

    pub(crate) fn p256() -> Self {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&parts(&json!({"alg": self.algorithm(), "typ": "JWT"}), claims))
    }

    /// A token with these claims whose header has this `kid`.
    pub(crate) fn token_by(&self, kid: &str, claims: &Value) -> String {
        self.sign(&parts(&json!({"alg": self.algorithm(), "kid": kid}), claims))
    }

    /// The parts followed by their signature.
    pub(crate) fn sign(&self, parts: &str) -> String {
        let (random, message) = (SystemRandom::new(), parts.as_bytes());
        let signature = match self {
            Self::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        };
        format!("{parts}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The content of a key file: the public key in PEM, or the secret.
    pub(crate) fn key_file(&self) -> String {
        // The bytes before the key in a SubjectPublicKeyInfo.
        let (before, key): (&[u8], &[u8]) = match self {
            Self::Secret(secret) => return secret.clone(),
            Self::Rsa(pair) => (
                b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\
                  \x03\x82\x01\x0f\x00",
                pair.public_key().as_ref(),
            ),
            Self::P256(pair) => (
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\
                  \x3d\x03\x01\x07\x03\x42\x00",
                pair.public_key().as_ref(),
            ),
            Self::Ed25519(pair) => {
                (b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", pair.public_key().as_ref())
            }
        };
        let text = STANDARD.encode([before, key].concat());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// The public key as a member of a JSON Web Key Set.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Secret(secret) => json!({"kty": "oct", "kid": kid, "k": text(secret.as_bytes())}),
            Self::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({"kty": "RSA", "use": "sig", "kid": kid, "n": text(&n), "e": text(&e)})
            }
            Self::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text(x), "y": text(y)})
            }
            Self::Ed25519(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
            }
        }
    }
}
