//! Authentication and authorization by bearer tokens.
//!
//! The [`TokenVerifier`] accepts or rejects the token of a request. The bearer of a valid token has a
//! [`TokenIdentity`]: the tables and rows that it may read ([`Access`]), whether it may use admin routes,
//! and how long the token is valid.
//!
//! Invariants:
//! - **Access is denied by default.** Only what is granted is permitted.
//! - **Secrets stay in this module.** Only a hash of a static token is stored, and neither tokens nor keys
//!   have a printable form. The reason of a rejection is logged at level debug; the client gets the same
//!   response for all reasons.
//!
//! Deliberately absent: HTTP (`http` extracts the token from a request), and users: a token stands for
//! its bearer.

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
