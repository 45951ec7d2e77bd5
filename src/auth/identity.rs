//! What is known of whoever asks.

use super::access::Access;

/// The bearer of a token.
#[derive(Debug)]
pub struct Identity {
    /// What they may read.
    pub access: Access,
    /// Whether they may ask what operators ask.
    pub operator: bool,
}
