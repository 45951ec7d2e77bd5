//! The identity of an authenticated caller.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::access::Access;
use super::keys::{KeyFingerprint, VerificationKeys};

/// The bearer of a valid token.
#[derive(Debug)]
pub struct TokenIdentity {
    /// The tables that the bearer may read.
    pub access: Access,
    /// Whether the bearer may use admin routes.
    pub is_admin: bool,
    /// The limits of the token's validity; `None` for a static token, which never expires.
    pub(super) validity: Option<Validity>,
}

/// The limits of a JWT's validity: its expiry, and the presence of its key.
#[derive(Debug)]
pub(super) struct Validity {
    /// The expiry; `None` if it is too far in the future to be represented.
    pub(super) until: Option<Instant>,
    /// The key that verified its signature.
    pub(super) key: KeyFingerprint,
    /// The current keys.
    pub(super) keys: watch::Receiver<Arc<VerificationKeys>>,
}

impl TokenIdentity {
    /// Whether the token can become invalid while the process runs.
    pub fn can_expire(&self) -> bool {
        self.validity.is_some()
    }

    /// Waits until the token is no longer valid: it expired, or its key was removed. Cancel safe.
    pub async fn expired(&self) {
        match &self.validity {
            Some(validity) => validity.expired().await,
            None => pending().await,
        }
    }

    /// Whether the token is no longer valid now.
    pub fn has_expired(&self) -> bool {
        self.validity.as_ref().is_some_and(Validity::has_expired)
    }
}

impl Validity {
    async fn expired(&self) {
        let expiry = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        let mut keys = self.keys.clone();
        let removed = async {
            if keys.wait_for(|keys| !keys.contains(self.key)).await.is_err() {
                // The files are no longer watched, so the keys no longer change.
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = expiry => {}
            () = removed => {}
        }
    }

    fn has_expired(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
            || !self.keys.borrow().contains(self.key)
    }
}
