//! Why a token is not taken.

/// Why a token is refused: for the log, and of no use to whoever tries tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenRejected(pub(super) String);

impl TokenRejected {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
