//! The one that knows tokens.

use std::fmt;
use std::sync::Arc;

use super::identity::TokenIdentity;
use super::jwt::{Jwt, JwtOptions};
use super::keys::KeysError;
use super::rejected::TokenRejected;
use super::token::{StaticToken, TokenHash};

/// A longer token is refused unread.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Which tokens are known, and what their bearers may do.
#[derive(Clone, Debug, Default)]
pub struct AuthOptions {
    /// Static tokens.
    pub tokens: Vec<StaticToken>,
    /// JWTs, if there are any.
    pub jwt: Option<JwtOptions>,
}

/// Knows tokens. Cloning shares it.
#[derive(Clone)]
pub struct TokenVerifier(Arc<KnownTokens>);

struct KnownTokens {
    tokens: Vec<(TokenHash, Arc<TokenIdentity>)>,
    jwt: Option<Jwt>,
}

impl TokenVerifier {
    /// An authority of these rules; the keys of JWTs are read now.
    ///
    /// # Errors
    /// When a file of keys can't be read, or what it holds can't be used.
    pub fn new(rules: AuthOptions) -> Result<Self, KeysError> {
        let identity = |token: StaticToken| {
            let StaticToken { hash, access, operator, .. } = token;
            (hash, Arc::new(TokenIdentity { access, operator, lease: None }))
        };
        let tokens = rules.tokens.into_iter().map(identity).collect();
        let jwt = rules.jwt.map(Jwt::new).transpose()?;
        Ok(Self(Arc::new(KnownTokens { tokens, jwt })))
    }

    /// Reads the keys of JWTs again whenever their files change; new files that can't be used are
    /// told of in the log, and the keys from before still hold. Never ends.
    pub async fn follow_files(&self) {
        match &self.0.jwt {
            Some(jwt) => jwt.follow_files().await,
            None => std::future::pending().await,
        }
    }

    /// Who brings this token.
    pub fn identify(&self, token: &str) -> Result<Arc<TokenIdentity>, TokenRejected> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenRejected::because("it is too long to be a token"));
        }
        // A static token has no dot, a JWT has two.
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
    /// Looks at every token, so that the time taken doesn't tell which one it was.
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

/// Nothing of what it knows.
impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(authority)")
    }
}

/// One and the same.
impl PartialEq for TokenVerifier {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TokenVerifier {}
