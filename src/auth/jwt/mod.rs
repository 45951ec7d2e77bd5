//! JSON Web Tokens (RFC 7519): whose signature holds, and what they claim.
//!
//! Which algorithms are allowed follows from the keys that are configured, each of which is for one;
//! what a token's header says only chooses among them. So `none` is nothing, and a public key can't
//! be taken for a secret.

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
use super::keys::{KeyFiles, KeyFingerprint, KeysError, Texts, VerificationKey, VerificationKeys};
use super::rejected::TokenRejected;

/// The files are looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What is asked of JWTs, and what they may read.
#[derive(Clone, Debug)]
pub struct JwtOptions {
    /// Whose signatures hold.
    pub keys: KeyFiles,
    /// Who must have issued them (`iss`), if that matters.
    pub issuer: Option<String>,
    /// For whom they must be (`aud`). Without it a token that is for somebody is refused.
    pub audience: Option<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// What they may read.
    pub grant: Grant,
}

/// Knows JWTs.
pub(super) struct Jwt {
    rules: JwtOptions,
    validations: Vec<Validation>,
    keys: watch::Sender<Arc<VerificationKeys>>,
}

impl Jwt {
    /// Reads the keys.
    pub(super) fn new(rules: JwtOptions) -> Result<Self, KeysError> {
        crypto::install();
        let keys = Texts::read(&rules.keys)?.keys()?;
        let algorithms = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
        let validations = algorithms.map(|algorithm| validation(&rules, algorithm)).to_vec();
        Ok(Self { rules, validations, keys: watch::Sender::new(Arc::new(keys)) })
    }

    /// Who brings this token.
    pub(super) fn identify(&self, token: &str) -> Result<Arc<TokenIdentity>, TokenRejected> {
        let header = decode_header(token).map_err(|error| refused(&error))?;
        if header.crit.is_some() {
            return Err(TokenRejected::because(
                "its header has extensions that must be understood",
            ));
        }
        let keys = self.keys.borrow().clone();
        for key in keys.candidates(header.alg, header.kid.as_deref()) {
            match self.claims(token, key) {
                Ok(claims) => return self.bearer(&claims, key.print),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(error) => return Err(refused(&error)),
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
        let access = self.rules.grant.access(claims)?;
        let expires = claims.get("exp").and_then(serde_json::Value::as_f64);
        let expires =
            expires.ok_or_else(|| TokenRejected::because("it doesn't say when it expires"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = expires + self.rules.leeway.as_secs_f64() - now.as_secs_f64();
        // More than can be counted is for ever.
        let left = Duration::try_from_secs_f64(left.max(0.0)).ok();
        let until = left.and_then(|left| Instant::now().checked_add(left));
        let lease = Validity { until, key, keys: self.keys.subscribe() };
        Ok(Arc::new(TokenIdentity { access, operator: false, lease: Some(lease) }))
    }

    /// Reads the keys again whenever the files hold something else. Never ends.
    pub(super) async fn follow_files(&self) {
        let mut seen = None;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let files = self.rules.keys.clone();
            let read = tokio::task::spawn_blocking(move || Texts::read(&files)).await;
            let Ok(read) = read else { continue };
            let print = read.as_ref().map(Texts::print).map_err(ToString::to_string);
            if seen.as_ref() == Some(&print) {
                continue;
            }
            match read.and_then(|texts| texts.keys()) {
                Ok(keys) => self.take(keys),
                Err(error) => {
                    tracing::error!(%error, "keys can't be read again; those from before still hold");
                }
            }
            seen = Some(print);
        }
    }

    /// Whoever is let in by a key that is gone is told so by the channel.
    fn take(&self, keys: VerificationKeys) {
        if keys.prints() == self.keys.borrow().prints() {
            return;
        }
        tracing::info!(keys = keys.len(), "keys of JWTs read again");
        self.keys.send_replace(Arc::new(keys));
    }
}

fn validation(rules: &JwtOptions, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = rules.leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = HashSet::from(["exp".to_owned()]);
    if let Some(issuer) = &rules.issuer {
        validation.set_issuer(&[issuer]);
        required.insert("iss".to_owned());
    }
    if let Some(audience) = &rules.audience {
        validation.set_audience(&[audience]);
        required.insert("aud".to_owned());
    }
    validation.required_spec_claims = required;
    validation
}

/// The crate's words say nothing of the token but names of claims.
fn refused(error: &jsonwebtoken::errors::Error) -> TokenRejected {
    match error.kind() {
        ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => {
            TokenRejected::because("it is no JWT, or of an algorithm that isn't allowed")
        }
        _ => TokenRejected::because(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
