//! What is known of whoever asks.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::access::Access;
use super::keys::{KeyFingerprint, VerificationKeys};

/// The bearer of a token.
#[derive(Debug)]
pub struct TokenIdentity {
    /// What they may read.
    pub access: Access,
    /// Whether they may ask what operators ask.
    pub operator: bool,
    /// Until when this is true; `None`: as long as we run.
    pub(super) lease: Option<Validity>,
}

/// What a JWT's validity hangs on.
#[derive(Debug)]
pub(super) struct Validity {
    /// `None`: for ever.
    pub(super) until: Option<Instant>,
    /// The key that signed it.
    pub(super) key: KeyFingerprint,
    /// Those that hold now.
    pub(super) keys: watch::Receiver<Arc<VerificationKeys>>,
}

impl TokenIdentity {
    /// Whether the token can become invalid while we run.
    pub fn may_end(&self) -> bool {
        self.lease.is_some()
    }

    /// Waits until the token isn't valid any more: it has expired, or its key is gone. Cancel safe.
    pub async fn ended(&self) {
        match &self.lease {
            Some(lease) => lease.ended().await,
            None => pending().await,
        }
    }

    /// Whether that is so now.
    pub fn is_over(&self) -> bool {
        self.lease.as_ref().is_some_and(Validity::is_over)
    }
}

impl Validity {
    async fn ended(&self) {
        let expired = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        let mut keys = self.keys.clone();
        let removed = async {
            if keys.wait_for(|keys| !keys.holds(self.key)).await.is_err() {
                // Nobody reads the files any more.
                pending::<()>().await;
            }
        };
        tokio::select! {
            () = expired => {}
            () = removed => {}
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
            || !self.keys.borrow().holds(self.key)
    }
}
