//! How long what was assembled is kept back until the catalog was looked at: pure.
//!
//! A table that joins, or gets another name, is known when a look shows it. Until then a version tells
//! nothing of it, and who was given that version goes on from there, perhaps with another instance that
//! has known the table since before and has nothing to add. So when a change of definitions is announced,
//! nothing newer is told until it is known: it is told of all together.

use std::time::{Duration, Instant};

/// The time since something is kept back.
#[derive(Debug, Default)]
pub(super) struct CommitHoldback {
    since: Option<Instant>,
}

impl CommitHoldback {
    /// A look that takes longer is not waited for: what everybody else is told is not to be late. When it
    /// comes, what it shows is announced to all instances.
    pub(super) const TIME_MAX: Duration = Duration::from_secs(2);

    /// Whether to keep back now; `awaits_look`: a look is missing.
    pub(super) fn keeps_back(&mut self, awaits_look: bool, now: Instant) -> bool {
        if !awaits_look {
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
    fn keeps_back_until_the_look_but_not_for_ever() {
        let (mut hold, now) = (CommitHoldback::default(), Instant::now());
        assert!(!hold.keeps_back(false, now));
        assert!(hold.keeps_back(true, now));
        assert!(hold.keeps_back(true, now + CommitHoldback::TIME_MAX / 2));
        assert!(!hold.keeps_back(true, now + CommitHoldback::TIME_MAX));
        assert!(!hold.keeps_back(false, now + CommitHoldback::TIME_MAX));
        assert!(hold.keeps_back(true, now + CommitHoldback::TIME_MAX), "another look");
    }
}
