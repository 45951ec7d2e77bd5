//! Who asks, and what they may read.
//!
//! A request brings a token; the [`Authority`] knows it or refuses it. What it knows of the bearer is
//! an [`Identity`]: the tables that may be read and under which conditions ([`Access`]), whether
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
mod authority;
mod crypto;
mod grant;
mod identity;
mod jwt;
mod keys;
mod refused;
mod token;

pub use access::{Access, Granted};
pub use authority::{Authority, Rules};
pub use grant::{Grant, RowRule, RuleValue, Tables, same};
pub use identity::Identity;
pub use jwt::JwtRules;
pub use keys::{KeyFiles, KeysError};
pub use refused::Refused;
pub use token::{HashError, StaticToken, TokenHash};
