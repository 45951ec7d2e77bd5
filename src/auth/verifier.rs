//! The verifier of bearer tokens.

use std::fmt;
use std::sync::Arc;

use super::identity::TokenIdentity;
use super::jwt::{JwtAuthenticator, JwtOptions};
use super::keys::KeysError;
use super::rejected::TokenRejected;
use super::token::{StaticToken, TokenHash};

/// Longer tokens are rejected without parsing.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The accepted tokens and the permissions of their bearers.
#[derive(Clone, Debug, Default)]
pub struct AuthOptions {
    /// Tokens of the configuration, by the hash of their text.
    pub tokens: Vec<StaticToken>,
    /// The options for JWTs; `None` rejects all of them.
    pub jwt: Option<JwtOptions>,
}

/// Verifies bearer tokens. Clones share their state.
#[derive(Clone)]
pub struct TokenVerifier(Arc<KnownTokens>);

struct KnownTokens {
    tokens: Vec<(TokenHash, Arc<TokenIdentity>)>,
    jwt: Option<JwtAuthenticator>,
}

impl TokenVerifier {
    /// Creates a verifier and reads the keys for JWTs.
    ///
    /// # Errors
    /// A key file can't be read, or its content can't be used.
    pub fn new(options: AuthOptions) -> Result<Self, KeysError> {
        let identity = |token: StaticToken| {
            let StaticToken { hash, access, is_admin, .. } = token;
            (hash, Arc::new(TokenIdentity { access, is_admin, validity: None }))
        };
        let tokens = options.tokens.into_iter().map(identity).collect();
        let jwt = options.jwt.map(JwtAuthenticator::new).transpose()?;
        Ok(Self(Arc::new(KnownTokens { tokens, jwt })))
    }

    /// Reloads the keys for JWTs whenever their files change. Unusable files are logged, and the previous
    /// keys stay in use. Never returns.
    pub async fn follow_files(&self) {
        match &self.0.jwt {
            Some(jwt) => jwt.follow_files().await,
            None => std::future::pending().await,
        }
    }

    /// The identity of the token's bearer, or the reason of the rejection.
    pub fn identify(&self, token: &str) -> Result<Arc<TokenIdentity>, TokenRejected> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRejected::because("the token is too long"));
        }
        // Static tokens contain no dot, JWTs contain two.
        match &self.0.jwt {
            Some(jwt) if token.contains('.') => jwt.identify(token),
            _ => {
                let known = self.0.of_static(token);
                known.ok_or_else(|| TokenRejected::because("no such token is configured"))
            }
        }
    }
}

impl KnownTokens {
    /// Compares with every token, so that the time does not reveal which one matched.
    fn of_static(&self, token: &str) -> Option<Arc<TokenIdentity>> {
        let hash = TokenHash::of(token);
        let mut found = None;
        for (known, identity) in &self.tokens {
            if bool::from(known.equals(&hash)) {
                found = Some(identity);
            }
        }
        found.cloned()
    }
}

/// Opaque, because it contains secrets.
impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(token verifier)")
    }
}

/// Identity: clones of one verifier are equal.
impl PartialEq for TokenVerifier {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TokenVerifier {}
