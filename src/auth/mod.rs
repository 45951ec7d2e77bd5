//! Who asks, and what they may read.
//!
//! A request brings a token; the [`TokenVerifier`] knows it or refuses it. What it knows of the bearer is
//! an [`TokenIdentity`]: the tables that may be read and under which conditions ([`Access`]), whether
//! operators' routes are open, and until when all this is true.
//!
//! What always holds:
//! - **Nothing is open by mistake.** What isn't granted is refused.
//! - **Secrets stay here.** Of a static token only a hash is kept, and neither tokens nor keys have a
//!   form that can be logged. Why a token was refused is for the log at level debug; the client gets
//!   one answer for all reasons.
//!
//! Deliberately absent: HTTP (where a token stands in a request is `http`'s matter), and any list of
//! users: whoever brings the token is meant.

mod access;
mod crypto;
mod grant;
mod identity;
mod jwt;
mod keys;
mod rejected;
mod token;
mod verifier;

pub use access::{Access, Granted};
pub use grant::{Grant, GrantedTables, RowRule, RuleValue, is_same_table};
pub use identity::TokenIdentity;
pub use jwt::JwtOptions;
pub use keys::{KeyFiles, KeysError};
pub use rejected::TokenRejected;
pub use token::{HashError, StaticToken, TokenHash};
pub use verifier::{AuthOptions, TokenVerifier};
