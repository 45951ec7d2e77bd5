//! The rejection of a token.

/// The reason why a token was rejected. For the log only: it must not help an attacker guess tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenRejected(pub(super) String);

impl TokenRejected {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
