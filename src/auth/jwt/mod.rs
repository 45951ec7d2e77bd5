//! The verification of JSON Web Tokens (RFC 7519).
//!
//! The configured keys determine the permitted algorithms, as each key is for one algorithm; a token's
//! header only selects among them. Therefore `none` is never accepted, and a public key can't be used as
//! a secret.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use tokio::sync::watch;
use tokio::time::Instant;

use super::crypto;
use super::grant::{Claims, Grant};
use super::identity::{TokenIdentity, Validity};
use super::keys::{
    KeyFileContents, KeyFiles, KeyFingerprint, KeysError, VerificationKey, VerificationKeys,
};
use super::rejected::TokenRejected;

/// Interval between checks of the key files.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The requirements on JWTs, and the permissions of their bearers.
#[derive(Clone, Debug)]
pub struct JwtOptions {
    /// The files of the keys that verify signatures.
    pub keys: KeyFiles,
    /// The required issuer (`iss`); `None` accepts any.
    pub issuer: Option<String>,
    /// The required audience (`aud`). Without it, a token with an audience is rejected.
    pub audience: Option<String>,
    /// The tolerated difference between clocks.
    pub leeway: Duration,
    /// The tables that bearers may read.
    pub grant: Grant,
}

/// Verifies JWTs with keys that may change at run time.
pub(super) struct JwtAuthenticator {
    options: JwtOptions,
    validations: Vec<Validation>,
    keys: watch::Sender<Arc<VerificationKeys>>,
}

impl JwtAuthenticator {
    /// Reads the keys from their files.
    pub(super) fn new(options: JwtOptions) -> Result<Self, KeysError> {
        crypto::install();
        let keys = KeyFileContents::read(&options.keys)?.keys()?;
        let algorithms = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
        let validations = algorithms.map(|algorithm| validation(&options, algorithm)).to_vec();
        Ok(Self { options, validations, keys: watch::Sender::new(Arc::new(keys)) })
    }

    /// The identity of the token's bearer, or the reason of the rejection.
    pub(super) fn identify(&self, token: &str) -> Result<Arc<TokenIdentity>, TokenRejected> {
        let header = decode_header(token).map_err(|error| rejected(&error))?;
        if header.crit.is_some() {
            return Err(TokenRejected::because(
                "its header requires extensions (crit) that are not supported",
            ));
        }
        let keys = self.keys.borrow().clone();
        for key in keys.candidates(header.alg, header.kid.as_deref()) {
            match self.claims(token, key) {
                Ok(claims) => return self.bearer(&claims, key.fingerprint),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(error) => return Err(rejected(&error)),
            }
        }
        Err(TokenRejected::because("none of the keys has signed it"))
    }

    fn claims(
        &self,
        token: &str,
        key: &VerificationKey,
    ) -> Result<Claims, jsonwebtoken::errors::Error> {
        let fits = |known: &&Validation| known.algorithms.contains(&key.algorithm);
        let Some(validation) = self.validations.iter().find(fits) else {
            return Err(ErrorKind::InvalidAlgorithm.into());
        };
        Ok(decode(token, &key.decoding, validation)?.claims)
    }

    fn bearer(
        &self,
        claims: &Claims,
        key: KeyFingerprint,
    ) -> Result<Arc<TokenIdentity>, TokenRejected> {
        let access = self.options.grant.access(claims)?;
        let expires = claims.get("exp").and_then(serde_json::Value::as_f64);
        let expires = expires.ok_or_else(|| TokenRejected::because("it has no expiry (exp)"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = expires + self.options.leeway.as_secs_f64() - now.as_secs_f64();
        // An expiry too far in the future to be represented means no expiry.
        let left = Duration::try_from_secs_f64(left.max(0.0)).ok();
        let until = left.and_then(|left| Instant::now().checked_add(left));
        let validity = Validity { until, key, keys: self.keys.subscribe() };
        Ok(Arc::new(TokenIdentity { access, is_admin: false, validity: Some(validity) }))
    }

    /// Reloads the keys whenever the content of the files changes. Never returns.
    pub(super) async fn follow_files(&self) {
        let mut seen = None;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let files = self.options.keys.clone();
            let read = tokio::task::spawn_blocking(move || KeyFileContents::read(&files)).await;
            let Ok(read) = read else { continue };
            let fingerprint =
                read.as_ref().map(KeyFileContents::fingerprint).map_err(ToString::to_string);
            if seen.as_ref() == Some(&fingerprint) {
                continue;
            }
            match read.and_then(|texts| texts.keys()) {
                Ok(keys) => self.replace_keys(keys),
                Err(error) => {
                    tracing::error!(%error, "reloading the keys for JWTs failed; the previous keys stay in use");
                }
            }
            seen = Some(fingerprint);
        }
    }

    /// Identities that depend on a removed key learn of it through the channel.
    fn replace_keys(&self, keys: VerificationKeys) {
        if keys.fingerprints() == self.keys.borrow().fingerprints() {
            return;
        }
        tracing::info!(keys = keys.len(), "reloaded the keys for JWTs");
        self.keys.send_replace(Arc::new(keys));
    }
}

fn validation(options: &JwtOptions, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = options.leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = HashSet::from(["exp".to_owned()]);
    if let Some(issuer) = &options.issuer {
        validation.set_issuer(&[issuer]);
        required.insert("iss".to_owned());
    }
    if let Some(audience) = &options.audience {
        validation.set_audience(&[audience]);
        required.insert("aud".to_owned());
    }
    validation.required_spec_claims = required;
    validation
}

/// The crate's messages contain nothing of the token but names of claims.
fn rejected(error: &jsonwebtoken::errors::Error) -> TokenRejected {
    match error.kind() {
        ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => {
            TokenRejected::because("it is not a JWT, or its algorithm is not permitted")
        }
        _ => TokenRejected::because(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
