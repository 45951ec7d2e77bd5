//! When to try again, and when trying again is pointless: pure.

use std::time::Duration;

use crate::lsn::Lsn;

/// Counts failures.
#[derive(Debug)]
pub(super) struct Retry {
    /// The next pause, before jitter.
    pause: Duration,
    /// Where the stream stood when its content made it fail, and how often it did so there.
    stuck: (Lsn, u32),
}

impl Retry {
    /// The first pause before connecting again; it doubles up to [`Retry::PAUSE_MAX`].
    const PAUSE_MIN: Duration = Duration::from_millis(100);
    /// The longest pause before connecting again; who lasted longer than this begins anew.
    pub(super) const PAUSE_MAX: Duration = Duration::from_secs(10);
    /// A stream whose content makes it fail so often at one position will never pass it.
    const STUCK_MAX: u32 = 10;

    pub(super) fn new() -> Self {
        Self { pause: Self::PAUSE_MIN, stuck: (Lsn::ZERO, 0) }
    }

    /// How long to wait after an attempt that lasted this long. Jittered between half and the
    /// whole, so that many instances don't come back at once.
    pub(super) fn pause(&mut self, lasted: Duration) -> Duration {
        if lasted > Self::PAUSE_MAX {
            self.pause = Self::PAUSE_MIN;
        }
        let pause = self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(Self::PAUSE_MAX);
        pause
    }

    /// Takes note that the content of the stream made it fail after `position`; answers whether it
    /// has done so too often.
    pub(super) fn is_stuck(&mut self, position: Lsn) -> bool {
        let (at, times) = self.stuck;
        let times = if at == position { times + 1 } else { 1 };
        let is_stuck = times >= Self::STUCK_MAX;
        self.stuck = (position, if is_stuck { 0 } else { times });
        is_stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_vary() {
        let mut retry = Retry::new();
        let pauses: Vec<_> = (0..12).map(|_| retry.pause(Duration::ZERO)).collect();
        assert!(pauses[0] >= Retry::PAUSE_MIN / 2 && pauses[0] <= Retry::PAUSE_MIN);
        let last = &pauses[8..];
        assert!(last.iter().all(|p| *p >= Retry::PAUSE_MAX / 2 && *p <= Retry::PAUSE_MAX));
        assert!(last.windows(2).any(|pair| pair[0] != pair[1]), "{last:?}");
        assert!(retry.pause(Duration::from_secs(11)) <= Retry::PAUSE_MIN, "it held for a while");
    }

    #[test]
    fn is_stuck_only_where_it_makes_no_progress() {
        let mut retry = Retry::new();
        for position in 1..100 {
            assert!(!retry.is_stuck(Lsn(position)));
        }
        let failures = (1..1000).find(|_| retry.is_stuck(Lsn(7)));
        assert_eq!(failures, Some(Retry::STUCK_MAX));
        assert!(!retry.is_stuck(Lsn(7)), "counting begins anew");
    }
}
