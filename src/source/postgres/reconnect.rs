//! When to reconnect, and when reconnecting cannot help: pure.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::lsn::Lsn;

/// Pause between streams, and detection of a stream that fails at one position every time.
#[derive(Debug)]
pub(super) struct ReconnectPolicy {
    backoff: Backoff,
    /// The position after which the content of the stream last made it fail, and how often in a row.
    stalled: (Lsn, u32),
}

impl ReconnectPolicy {
    /// The first pause; it doubles up to [`Self::PAUSE_MAX`].
    const PAUSE_MIN: Duration = Duration::from_millis(100);
    /// The longest pause. After a stream that lasted longer than this the pauses start over.
    pub(super) const PAUSE_MAX: Duration = Duration::from_secs(10);
    /// A stream whose content makes it fail this often at one position will never pass it.
    const STALLED_MAX: u32 = 10;

    pub(super) fn new() -> Self {
        let backoff = Backoff::new(Self::PAUSE_MIN, Self::PAUSE_MAX);
        Self { backoff, stalled: (Lsn::ZERO, 0) }
    }

    /// The pause after an attempt that lasted this long.
    pub(super) fn pause(&mut self, lasted: Duration) -> Duration {
        if lasted > Self::PAUSE_MAX {
            self.backoff.reset();
        }
        self.backoff.pause()
    }

    /// Counts a failure that the content of the stream caused after `position`. Returns true when
    /// there were [`Self::STALLED_MAX`] of them at that position; counting then starts over.
    pub(super) fn is_stalled(&mut self, position: Lsn) -> bool {
        let (at, times) = self.stalled;
        let times = if at == position { times + 1 } else { 1 };
        let is_stalled = times >= Self::STALLED_MAX;
        self.stalled = (position, if is_stalled { 0 } else { times });
        is_stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_start_over_after_a_stream_that_lasted() {
        let mut policy = ReconnectPolicy::new();
        let longest = (0..12).map(|_| policy.pause(Duration::ZERO)).max();
        assert!(longest >= Some(ReconnectPolicy::PAUSE_MAX / 2));
        assert!(policy.pause(Duration::from_secs(11)) <= ReconnectPolicy::PAUSE_MIN);
    }

    #[test]
    fn is_stalled_only_where_it_makes_no_progress() {
        let mut policy = ReconnectPolicy::new();
        for position in 1..100 {
            assert!(!policy.is_stalled(Lsn(position)));
        }
        let failures = (1..1000).find(|_| policy.is_stalled(Lsn(7)));
        assert_eq!(failures, Some(ReconnectPolicy::STALLED_MAX));
        assert!(!policy.is_stalled(Lsn(7)), "counting starts over");
    }
}
