//! How long assembled commits are held back until the catalog is refreshed: pure.
//!
//! A table that joins, or is renamed, is known once a refresh shows it. Until then a version
//! contains nothing about it, and a client that was given such a version continues from there,
//! perhaps with another instance that has known the table since before and has nothing to add. So
//! when a change of definitions is announced, nothing newer is reported until the definition is
//! known: all is reported together.

use std::time::{Duration, Instant};

/// The time since commits are held back.
#[derive(Debug, Default)]
pub(super) struct CommitHoldback {
    since: Option<Instant>,
}

impl CommitHoldback {
    /// Bound of the delay: a slow refresh must not delay changes of other tables. When it
    /// completes, its result is announced to all instances.
    pub(super) const TIME_MAX: Duration = Duration::from_secs(2);

    /// Whether to hold back now; `awaits_refresh`: an announced definition is not known yet.
    pub(super) fn holds_back(&mut self, awaits_refresh: bool, now: Instant) -> bool {
        if !awaits_refresh {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.duration_since(since) < Self::TIME_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_back_until_the_refresh_but_not_forever() {
        let (mut holdback, now) = (CommitHoldback::default(), Instant::now());
        assert!(!holdback.holds_back(false, now));
        assert!(holdback.holds_back(true, now));
        assert!(holdback.holds_back(true, now + CommitHoldback::TIME_MAX / 2));
        assert!(!holdback.holds_back(true, now + CommitHoldback::TIME_MAX));
        assert!(!holdback.holds_back(false, now + CommitHoldback::TIME_MAX));
        assert!(holdback.holds_back(true, now + CommitHoldback::TIME_MAX), "another refresh");
    }
}
